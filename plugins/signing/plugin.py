"""The plugin: it keeps the key, signs each answer's pictures, and publishes the public key."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from multidict import CIMultiDict

from plugins.image_edit import Image, Job, Link, Result, Seal, Signer
from proxy_core import (
    RECEIPT,
    Body,
    ConfigError,
    Exchange,
    Fault,
    Handler,
    Middleware,
    Request,
    Response,
    Secret,
    State,
    hookimpl,
)

from .envelope import seal
from .keys import PrivateKey, generate
from .statement import Picture, state

JWKS_PATH = "/.well-known/darkroom/keys.json"
PEM_PATH = "/.well-known/darkroom/key.pem"
KEY_FILE = "signing/key.pem"


@dataclass(kw_only=True)
class Signing:
    """Signs the pictures of each answer, and publishes the key to check them with."""

    key: Secret | None = None
    """A P-256 private key in PEM, best as `file:PATH` or `env:NAME`; without one, a key is made on the first start and kept in
    the state directory."""
    issuer: str = "darkroom"
    """Who the receipts say made them."""

    def __post_init__(self) -> None:
        if self.key is not None:
            try:
                self._key = PrivateKey.read(self.key.reveal().encode())
            except ValueError as error:
                raise ValueError(f"key: {error}") from None

    @hookimpl
    def proxy_lifespan(self, state: State) -> AbstractAsyncContextManager[object]:
        return self._open(state)

    @asynccontextmanager
    async def _open(self, state: State) -> AsyncIterator[None]:
        if self.key is None:
            try:
                self._key = PrivateKey.read(state.obtain(KEY_FILE, generate))
            except (OSError, ValueError) as error:
                what = error.strerror or str(error) if isinstance(error, OSError) else str(error)
                raise ConfigError([Fault("plugins.signing", f"the key kept at {state.path(KEY_FILE)}: {what}")]) from None
        public = self._key.public
        self._id = public.id
        self._published = {
            JWKS_PATH: Response.json({"keys": [public.jwk]}, headers={"Cache-Control": "max-age=300"}),
            PEM_PATH: Response(
                status=200, headers=CIMultiDict({"Content-Type": "application/x-pem-file"}), body=Body(public.pem)
            ),
        }
        yield

    @hookimpl(optionalhook=True)  # where image_edit is off, there is nothing to sign, but the key stays published
    def image_edit_signer(self) -> Signer:
        return self

    @hookimpl
    def proxy_middleware(self) -> Middleware:
        async def publish(request: Request, next: Handler) -> Response:
            if request.method in ("GET", "HEAD") and request.path in self._published:
                return self._published[request.path]
            return await next(request)

        return publish

    @hookimpl
    def proxy_describe(self) -> Mapping[str, list[str]]:
        return {"signing": [f"GET {JWKS_PATH}", f"GET {PEM_PATH}"]}

    def begin(self, job: Job, exchange: Exchange) -> Seal:
        return _Seal(self._key, self.issuer, exchange)


class _Seal:
    """One answer's signature."""

    def __init__(self, key: PrivateKey, issuer: str, exchange: Exchange) -> None:
        self._key = key
        self._issuer = issuer
        self._exchange = exchange
        self._pictures: list[Picture] = []

    async def image(self, image: Image) -> Mapping[str, object]:
        picture = Picture(sha256=await image.sha256(), size=image.size, media_type=image.media_type)
        self._pictures.append(picture)
        return {}

    async def end(self, result: Result) -> tuple[Mapping[str, object], Mapping[str, str]]:
        receipt = f"rcpt_{uuid.uuid4().hex}"
        payload = state(self._pictures, await self._predicate(receipt, result))
        self._exchange[RECEIPT] = receipt
        # A P-256 signature takes some 40 us: no thread is worth it.
        return {"darkroom_receipt": seal(payload, self._key)}, {"Darkroom-Receipt": receipt}

    async def _predicate(self, receipt: str, result: Result) -> dict[str, object]:
        job = result.job
        return {
            "receipt": receipt,
            "issuer": self._issuer,
            "keyid": self._key.public.id,
            "timeMs": int(self._exchange.started_at * 1000),
            "request": {
                "id": self._exchange.id,
                "sha256": job.request_sha256,
                "references": [await _reference(place, one) for place, one in enumerate(job.references)],
                "mask": [await _reference(0, job.mask)] if job.mask else [],
            },
            "upstream": {
                "provider": result.provider,
                "modelAsked": job.name,
                "modelSent": job.model,
                "modelReported": result.model,
                "requestId": result.request_id or "",
            },
            "warnings": list(result.warnings),
        }


async def _reference(index: int, one: Image | Link) -> dict[str, object]:
    """A reference as it was seen: its bytes, or only its link."""
    if isinstance(one, Link):
        # Links may be pre-signed, so the receipt, which is made to be shown around, holds only their digest.
        return {"index": index, "observed": "link", "urlSha256": hashlib.sha256(one.url.encode()).hexdigest()}
    return {
        "index": index,
        "observed": "bytes",
        "sha256": await one.sha256(),
        "length": one.size,
        "mediaType": one.media_type,
    }
