"""The chain over a stream's events, and what an event with a picture says of its place in it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from proxy_core import Body, Data, Piece

from .statement import HEX, RECEIPT_ID

_LONG = 1024 * 1024  # bytes after which others have their turn


@dataclass(frozen=True, kw_only=True)
class EventClaim:
    """What is signed beside a picture in a stream."""

    head: str  # of the chain before this event
    image: str  # sha256 of its picture
    keyid: str
    kind: Literal["image", "preview"]
    receipt: str
    sequence: int  # the event's number

    def __post_init__(self) -> None:
        if not (HEX.fullmatch(self.head) and HEX.fullmatch(self.image) and RECEIPT_ID.fullmatch(self.receipt)):
            raise ValueError("head, image or receipt has not its form")
        if self.sequence < 0:
            raise ValueError("sequence: is not a count")


class Chain:
    """head(0) = sha256("darkroom-stream-v1\\n" + receipt id); head(i+1) = sha256(head(i) + sha256(data of event i))."""

    def __init__(self, receipt: str) -> None:
        self.events = 0
        self._head = hashlib.sha256(b"darkroom-stream-v1\n" + receipt.encode()).digest()

    @property
    def head(self) -> str:
        return self._head.hex()

    def add(self, digest: bytes) -> None:
        """The next event, by the sha256 of its data."""
        self._head = hashlib.sha256(self._head + digest).digest()
        self.events += 1


async def digest_of(pieces: Sequence[Data | Piece]) -> bytes:
    """The sha256 of bytes that are never joined, the event loop free after each megabyte."""
    found, done = hashlib.sha256(), 0
    async for chunk in Body(*pieces).chunks():
        found.update(chunk)
        done += len(chunk)
        if done >= _LONG:
            done = 0
            await asyncio.sleep(0)
    return found.digest()
