"""One answer's seal: what was seen of the request, what came of it, and the one signature over both."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from plugins.image_edit import Image, Job, Link, Result, Sent, c2pa
from proxy_core import RECEIPT, Data, Exchange, Piece

from .chain import Chain, EventClaim, digest_of
from .envelope import EVENT, seal
from .keys import SigningKey
from .origin import OriginKey
from .statement import (
    Asked,
    Called,
    Chained,
    Forwarded,
    ImagePredicate,
    Input,
    Output,
    Upstream,
    canonical,
    image_statement,
    words,
)
from .store import Store, new_id

Still = Callable[[SigningKey, float], SigningKey]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen of a request while its bytes were in hand."""

    path: str
    sha256: str
    length: int
    media_type: str
    nonce: str | None
    origin_hash: asyncio.Task[bytes] | None = None  # for the origin's fields, where they are wanted


class ImageSeal:
    """The seal of one answer with pictures. The key is chosen at its beginning, and signs all of it.

    But for the receipt of an answer that is made while the key's time ends: `still` then gives its successor.
    """

    def __init__(
        self,
        seen: Seen,
        exchange: Exchange,
        *,
        key: SigningKey,
        issuer: str,
        store: Store,
        origin: OriginKey | None,
        still: Still = lambda key, now: key,
    ) -> None:
        self._seen = seen
        self._exchange = exchange
        self._key = key
        self._keyid = key.public.id
        self._issuer = issuer
        self._store = store
        self._origin = origin
        self._still = still
        self._receipt = new_id()
        self._chain = Chain(self._receipt)

    async def image(self, image: Image, *, preview: bool) -> Mapping[str, object]:
        claim = EventClaim(
            head=self._chain.head,
            image=await image.sha256(),
            keyid=self._keyid,
            kind="preview" if preview else "image",
            receipt=self._receipt,
            sequence=self._chain.events,
        )
        return {"darkroom_event": await seal(canonical(claim), self._key, EVENT)}

    async def sent(self, data: Sequence[Data | Piece]) -> None:
        self._chain.add(await digest_of(data))

    async def end(self, result: Result) -> tuple[Mapping[str, object], Mapping[str, str]]:
        salt = secrets.token_bytes(32)
        digests = [await image.sha256() for image in result.images]
        now = time.time()
        key = self._still(self._key, now)
        payload = image_statement(digests, await self._predicate(result, salt, key.public.id, now))
        envelope = await seal(payload, key)
        fields: dict[str, object] = {"darkroom_receipt": envelope, "darkroom_prompt_salt": salt.hex()}
        if self._origin is not None and self._seen.origin_hash is not None:
            fields |= await self._origin.fields(await self._seen.origin_hash, payload)
        self._exchange[RECEIPT] = self._receipt
        await self._store.keep(self._receipt, orjson.dumps(envelope))
        return fields, {"Darkroom-Receipt": self._receipt}

    async def _predicate(self, result: Result, salt: bytes, keyid: str, now: float) -> ImagePredicate:
        job = result.job
        return ImagePredicate(
            receipt=self._receipt,
            issuer=words(self._issuer),
            keyid=keyid,
            timeMs=int(now * 1000),
            nonce=self._seen.nonce,
            request=Asked(
                id=words(self._exchange.id),
                path=words(self._seen.path),
                sha256=self._seen.sha256,
                length=self._seen.length,
                mediaType=words(self._seen.media_type),
                promptCommitment=commitment(salt, job.prompt),
                inputs=await _inputs(job),
            ),
            forwarded=Forwarded(
                calls=[_called(call) for call in result.calls],
                # A service's own words may repeat the prompt, which nobody is to learn from a receipt.
                changes=[words(result.discreet.get(one, one)) for one in result.warnings],
            ),
            upstream=Upstream(
                provider=result.provider,
                plugin=result.plugin or None,
                package=result.package or None,
                version=result.version or None,
                modelAsked=words(job.name),
                modelSent=words(job.model),
                modelReported=words(result.model),
                requestId=words(result.request_id) if result.request_id else None,
            ),
            outputs=[_output(image) for image in result.images],
            outcome="complete" if len(result.images) >= job.n else "partial",
            asked=job.n,
            usage=_counts(result.usage),
            cost={name: words(str(value)) for name, value in (result.cost or {}).items() if value is not None} or None,
            stream=Chained(events=self._chain.events, head=self._chain.head) if job.stream else None,
        )


def commitment(salt: bytes, prompt: str) -> str:
    """Hex HMAC-SHA256 of the prompt: it can be shown to be the one by who has it and the salt, and guessed by nobody."""
    return hmac.new(salt, prompt.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


async def _inputs(job: Job) -> list[Input]:
    found = [await _input("reference", place, one) for place, one in enumerate(job.references)]
    return [*found, await _input("mask", 0, job.mask)] if job.mask is not None else found


async def _input(role: str, index: int, one: Image | Link) -> Input:
    place = {"role": role, "index": index}
    if isinstance(one, Link):
        # Links may be pre-signed, and a receipt is made to be shown around: it holds only their digest.
        digest = hashlib.sha256(one.url.encode("utf-8", "surrogatepass")).hexdigest()
        return Input(**place, observed="link", urlSha256=digest)  # type: ignore[arg-type]
    observed = "fetched" if one.host else "bytes"
    return Input(**place, observed=observed, sha256=await one.sha256(), length=one.size, mediaType=one.media_type)  # type: ignore[arg-type]


def _called(call: Sent) -> Called:
    back = {"answerSha256": call.answer_sha256, "answerLength": call.answer_length} if call.answer_sha256 else {}
    status = {"status": call.status} if call.status else {}
    return Called(
        method=call.method, origin=words(call.origin), sha256=call.sha256, length=call.length, **status, **back  # type: ignore[arg-type]
    )


def _output(image: Image) -> Output:
    width, height = image.pixels or (None, None)
    return Output(
        length=image.size,
        mediaType=image.media_type,
        width=width,
        height=height,
        delivery="fetched" if image.host else "inline",
        host=words(image.host) if image.host else None,
        c2pa=c2pa(image),
    )


def _counts(usage: Mapping[str, object] | None) -> dict[str, object] | None:
    """Whole numbers alone, at any depth: a service's usage may hold anything."""
    found: dict[str, object] = {}
    for name, value in (usage or {}).items():
        if isinstance(value, Mapping):
            inner = _counts(value)
            if inner:
                found[words(str(name))] = inner
        elif type(value) is int and abs(value) < 2**53:
            found[words(str(name))] = value
    return found or None
