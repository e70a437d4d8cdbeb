"""A scripted upstream on a raw socket: it answers with exactly these bytes, and keeps exactly what it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Script = Callable[["Peer"], Awaitable[None]]


@dataclass
class Peer:
    """One connection to the upstream."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes = b""
    body: bytes = b""
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def read_head(self) -> None:
        self.head = await self.reader.readuntil(b"\r\n\r\n")

    async def read_request(self) -> None:
        """Head and counted or chunked body, as it stands on the wire."""
        await self.read_head()
        lowered = self.head.lower()
        if b"transfer-encoding: chunked" in lowered:
            while not self.body.endswith(b"0\r\n\r\n"):
                chunk = await self.reader.read(65536)
                if not chunk:
                    raise asyncio.IncompleteReadError(self.body, None)
                self.body += chunk
        elif b"content-length:" in lowered:
            size = int(lowered.split(b"content-length:")[1].split(b"\r\n")[0])
            self.body = await self.reader.readexactly(size)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until_gone(self) -> None:
        """Wait for the other side to close."""
        while await self.reader.read(65536):
            pass
        self.gone.set()


@dataclass
class Upstream:
    url: str
    peers: list[Peer] = field(default_factory=list)
    accepted: asyncio.Event = field(default_factory=asyncio.Event)


def answering(data: bytes) -> Script:
    """Read the request, answer with `data`, close."""

    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(data)

    return script


@asynccontextmanager
async def upstream(script: Script) -> AsyncIterator[Upstream]:
    """An upstream that runs `script` for every connection."""
    found = Upstream("")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(reader, writer)
        found.peers.append(peer)
        found.accepted.set()
        try:
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            peer.gone.set()
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def exchange(port: int, request: bytes) -> bytes:
    """Send raw bytes to a port of this machine; the answer, to the end of its counted body or until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    try:
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            _, counted, rest = head.lower().partition(b"content-length:")
            return head + await (reader.readexactly(int(rest.split(b"\r\n")[0])) if counted else reader.read())
    finally:
        writer.close()
        await writer.wait_closed()
