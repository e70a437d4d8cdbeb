"""After an upgrade: bytes both ways as they are, with back-pressure, until one side is done."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from .message import Tunnel

_HELD = 256 * 1024  # bytes that may wait before reading stops


class Line:
    """One end of a tunnel: a connection, of aiohttp's server or our client, that speaks HTTP no more.

    `protocol` has a `transport`, None once it is gone, and stops and resumes reading; `drain` waits until it can be written to.
    """

    def __init__(self, protocol: Any, drain: Callable[[], Awaitable[None]]) -> None:
        self._protocol = protocol
        self._drain = drain
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._news = asyncio.Event()
        self._ended = False

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Called by the protocol, which takes this for a parser."""
        self._chunks.append(data)
        self._held += len(data)
        self._news.set()
        if self._held > _HELD:
            self._protocol.pause_reading()
        return False, b""

    def feed_eof(self) -> None:
        """Called by the protocol when the connection is gone."""
        self._ended = True
        self._news.set()

    async def read(self) -> bytes:
        """What has come, or b"" at the end."""
        while not self._chunks:
            if self._ended or self._protocol.transport is None:
                return b""
            self._news.clear()
            await self._news.wait()
        chunk = self._chunks.popleft()
        before, self._held = self._held, self._held - len(chunk)
        if before > _HELD >= self._held:
            self._protocol.resume_reading()
        return chunk

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError if the other side is gone."""
        transport = self._protocol.transport
        if transport is None:
            raise ConnectionResetError("the connection is gone")
        transport.write(data)
        await self._drain()

    def close(self) -> None:
        if self._protocol.transport is not None:
            self._protocol.transport.close()


async def relay(client: Tunnel, upstream: Tunnel) -> tuple[int, int]:
    """Carry bytes both ways until either side ends; returns (received, sent), seen from the client."""
    counts = [0, 0]

    async def carry(source: Tunnel, sink: Tunnel, place: int) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await source.read():
                await sink.write(chunk)
                counts[place] += len(chunk)

    ways = [asyncio.create_task(carry(client, upstream, 0)), asyncio.create_task(carry(upstream, client, 1))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        client.close()
        upstream.close()
    return counts[0], counts[1]
