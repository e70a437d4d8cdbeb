"""Answers that only pass through, signed where the operator wants it: a comment in an event stream, before `[DONE]`."""

from __future__ import annotations

import hashlib
import re
import time

import orjson
from multidict import CIMultiDict

from proxy_core import RECEIPT, Body, Chunks, Data, Exchange, Request, Response

from .envelope import seal
from .keys import SigningKey
from .seal import Still
from .statement import Answered, Asked, StreamPredicate, stream_statement, words
from .store import Store, new_id

COMMENT = b": darkroom-receipt "
_DONE = (b"data: [DONE]", b"data:[DONE]")
_LONGEST = max(map(len, _DONE))
_LINE_END = re.compile(rb"[\r\n]")
# What an upstream says of its bytes, and what is no longer true with a comment among them.
_OF_THE_WHOLE = ("Content-Length", "Content-Digest", "Repr-Digest", "Digest", "Content-MD5", "Content-Range", "ETag")


class Hashed:
    """A request's body on its way: the same chunks, hashed."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._hash = hashlib.sha256()
        self.length = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def __aiter__(self) -> Hashed:
        return self

    async def __anext__(self) -> Data:
        chunk = await anext(self._chunks)
        self._hash.update(chunk)
        self.length += len(chunk)
        return chunk

    async def aclose(self) -> None:
        await self._chunks.aclose()


def watch(request: Request) -> tuple[Request, Hashed]:
    """`request` with its body hashed on the way, and where the digest will be found."""
    hashed = Hashed(request.body.chunks())
    return request.with_body(Body.stream(hashed, request.body.size)), hashed


class StreamSeal:
    """Signs one stream that passes."""

    def __init__(
        self,
        request: Request,
        hashed: Hashed,
        *,
        key: SigningKey,
        issuer: str,
        store: Store,
        nonce: str | None,
        still: Still = lambda key, now: key,
    ) -> None:
        self._request = request
        self._hashed = hashed
        self._key = key
        self._issuer = issuer
        self._store = store
        self._nonce = nonce
        self._still = still

    def response(self, response: Response) -> Response:
        """The same answer, its stream with a receipt in it."""
        headers = CIMultiDict(response.headers)
        for name in _OF_THE_WHOLE:
            headers.popall(name, None)
        self._status, self._type = response.status, headers.get("Content-Type", "")
        return Response(status=response.status, headers=headers, body=Body.stream(_Sealed(response.body, self)))

    async def comment(self, digest: str, length: int) -> bytes:
        """The line that holds the receipt."""
        exchange: Exchange = self._request.exchange
        receipt = new_id()
        now = time.time()
        key = self._still(self._key, now)
        predicate = StreamPredicate(
            receipt=receipt,
            issuer=words(self._issuer),
            keyid=key.public.id,
            timeMs=int(now * 1000),
            nonce=self._nonce,
            request=Asked(
                id=words(exchange.id),
                path=words(self._request.path),
                sha256=self._hashed.sha256,
                length=self._hashed.length,
                mediaType=words(self._request.headers.get("Content-Type", "")),
            ),
            answer=Answered(length=length, status=self._status, mediaType=words(self._type)),
        )
        envelope = orjson.dumps(await seal(stream_statement(digest, predicate), key))
        exchange[RECEIPT] = receipt
        await self._store.keep(receipt, envelope)
        return COMMENT + envelope + b"\n"


class _Sealed:
    """A stream's bytes as they come, and the receipt before `[DONE]` or at the end. Only what may be `[DONE]` waits."""

    def __init__(self, body: Body, seal: StreamSeal) -> None:
        self._body = body
        self._chunks = body.chunks()
        self._seal = seal
        self._hash = hashlib.sha256()
        self._length = 0
        self._held = b""  # the beginning of a line that may become `[DONE]`
        self._line_start = True
        self._signed = False
        self._ended = False

    def __aiter__(self) -> _Sealed:
        return self

    async def __anext__(self) -> Data:
        while not self._ended:
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                self._ended = True
                if self._signed:
                    break
                rest = self._passed(self._held)
                # A line's end, not an event's: what the upstream left incomplete stays so.
                return rest + self._passed(b"" if self._line_start else b"\n") + await self._comment()
            if self._signed:
                return chunk
            out = await self._scan(self._held + bytes(chunk))
            if out:
                return out
        raise StopAsyncIteration

    async def _scan(self, data: bytes) -> bytes:
        """What of `data` may go on."""
        self._held = b""
        start = 0 if self._line_start else _next_line(data, 0)
        while start < len(data):
            rest = data[start : start + _LONGEST + 1]
            if any(rest.startswith(done) and rest[len(done) : len(done) + 1] in (b"\n", b"\r") for done in _DONE):
                before = self._passed(data[:start])
                self._signed = True
                return before + await self._comment() + data[start:]
            if any(done.startswith(rest) or rest == done for done in _DONE):
                self._held = data[start:]
                break
            start = _next_line(data, start)
        ready = data[: len(data) - len(self._held)]
        return self._passed(ready)

    def _passed(self, data: bytes) -> bytes:
        self._hash.update(data)
        self._length += len(data)
        if data:
            self._line_start = data[-1:] in (b"\n", b"\r")
        return data

    async def _comment(self) -> bytes:
        return await self._seal.comment(self._hash.hexdigest(), self._length)

    async def aclose(self) -> None:
        await self._chunks.aclose()


def _next_line(data: bytes, start: int) -> int:
    """Where the line after the one at `start` begins; the end of `data` if it has not ended."""
    found = _LINE_END.search(data, start)
    return found.end() if found else len(data)
