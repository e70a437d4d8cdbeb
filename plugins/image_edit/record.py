"""What went out for a job and what came back, as digests: bytes are counted as they pass, and none is kept."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from proxy_core import Body, Chunks, Data

from .model import Sent
from .picture import LONG


class Record:
    """The calls of one answer, in the order in which they were sent."""

    def __init__(self) -> None:
        self._calls: list[Entry] = []

    def call(self, method: str, origin: str, target: str, body: Body) -> tuple[Body, Entry]:
        """A call that is about to be made: (the body to send in place of `body`, its entry)."""
        if method == "GET":  # of a question that is repeated, such as how a job is getting on, the last answer counts
            self._calls = [one for one in self._calls if (one.method, one.origin, one.target) != (method, origin, target)]
        counted = Counted(body)
        entry = Entry(method, origin, target, counted)
        self._calls.append(entry)
        return Body(counted) if body.size else body, entry

    @property
    def calls(self) -> list[Sent]:
        return [entry.sent for entry in self._calls]


class Counted:
    """A Piece: a body in hand, hashed while it is written. Written once more, it is counted anew."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._hash = hashlib.sha256()
        self._length = 0

    @property
    def size(self) -> int:
        return self._body.size or 0

    def chunks(self) -> Iterator[Data]:
        self._hash, self._length = hashlib.sha256(), 0
        for piece in self._body.pieces:
            for chunk in [piece] if isinstance(piece, (bytes, bytearray, memoryview)) else piece.chunks():
                self._hash.update(chunk)
                self._length += len(chunk)
                yield chunk

    @property
    def written(self) -> tuple[str, int]:
        return self._hash.hexdigest(), self._length


@dataclass(eq=False)
class Entry:
    """One call."""

    method: str
    origin: str
    target: str
    body: Counted
    status: int = 0
    sha256: str = ""
    length: int = 0

    async def answered(self, status: int, data: Data) -> None:
        """It was answered with this, as a whole."""
        self.status, self.length = status, len(data)
        found = await asyncio.to_thread(hashlib.sha256, data) if len(data) >= LONG else hashlib.sha256(data)
        self.sha256 = found.hexdigest()

    def follow(self, status: int, chunks: Chunks) -> Chunks:
        """It is being answered with these: the same chunks, counted up to where they are read."""
        self.status = status
        return _Followed(self, chunks)

    @property
    def sent(self) -> Sent:
        digest, length = self.body.written
        return Sent(
            method=self.method,
            origin=self.origin,
            sha256=digest,
            length=length,
            status=self.status,
            answer_sha256=self.sha256,
            answer_length=self.length,
        )


class _Followed:
    def __init__(self, entry: Entry, chunks: Chunks) -> None:
        self._entry = entry
        self._chunks = chunks
        self._hash = hashlib.sha256()

    def __aiter__(self) -> _Followed:
        return self

    async def __anext__(self) -> Data:
        chunk = await anext(self._chunks)
        self._hash.update(chunk)
        self._entry.length += len(chunk)
        self._entry.sha256 = self._hash.hexdigest()
        return chunk

    async def aclose(self) -> None:
        await self._chunks.aclose()
