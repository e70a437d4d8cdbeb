"""What is behind the proxy in a soak: a text service, an image service that gives links, and a host that does its worst."""

from __future__ import annotations

import asyncio
import hashlib
import random
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

EVENTS = 20
STREAM = b"".join(b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % n for n in range(EVENTS))
DONE = b"data: [DONE]\n\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def picture(mark: str, size: int = 20_000) -> bytes:
    """A PNG that bears `mark` and is the same for the same mark."""
    noise = random.Random(mark).randbytes(size)
    pixels = zlib.compress(b"".join(b"\0" + noise[:192] for _ in range(64)))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))
    rest = chunk(b"tEXt", b"mark\0" + mark.encode()) + chunk(b"prVt", noise) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + rest


class World:
    """`good` is the port of the services that behave, `bad` that of what does not."""

    def __init__(self) -> None:
        self.good = self.bad = 0

    async def text(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if b'"stream": true' not in body:  # be it JSON or not
            return web.Response(body=body, content_type="application/json")
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for event in STREAM.split(b"\n\n")[:-1]:
            await answer.write(event + b"\n\n")
            await asyncio.sleep(0.005)
        await answer.write(DONE)
        return answer

    async def generate(self, request: web.Request) -> web.Response:
        """The prompt is a place: below our own host, or, where it is a link, anywhere at all."""
        return self._linked((await request.json())["prompt"])

    async def edit(self, request: web.Request) -> web.Response:
        """The picture's mark is the digest of the reference that arrived."""
        digest = ""
        async for part in await request.multipart():
            data = bytes(await part.read())  # type: ignore[union-attr]
            if getattr(part, "filename", None):
                digest = hashlib.sha256(data).hexdigest()
        return self._linked(f"good/{digest}")

    def _linked(self, place: str) -> web.Response:
        port = self.good if place.startswith("good/") else self.bad
        link = place if ":" in place else f"http://127.0.0.1:{port}/{place}"
        return web.json_response({"created": 1, "data": [{"url": link}]})

    async def result(self, request: web.Request) -> web.Response:
        return web.Response(body=picture(request.match_info["mark"]), content_type="image/png")

    async def nothing(self, _: web.Request) -> web.Response:
        """What the proxy passes on for the service to judge."""
        error = {"message": "no such thing", "type": "invalid_request_error", "param": None, "code": None}
        return web.json_response({"error": error}, status=404)


async def _misbehave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """By the path's last word: as an upstream, or as the host of a result."""
    head = await reader.readuntil(b"\r\n\r\n")
    word = head.split(b" ")[1].rsplit(b"/", 1)[-1].decode("latin-1")
    data = picture("bad")
    ok = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
    answers: dict[str, bytes] = {
        "html": ok + b"Content-Length: 15\r\n\r\n<!doctype html>",
        "svg": ok + b"Content-Length: 42\r\n\r\n<svg xmlns='http://www.w3.org/2000/svg'/>  ",
        "empty": ok + b"Content-Length: 0\r\n\r\n",
        "cut": ok + b"Content-Length: %d\r\n\r\n" % (2 * len(data)) + data,
        "chunks": ok + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + data,
        "lengths": ok + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "both": ok + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "garbage": b"\0\xff" * 500 + b"\r\n\r\n",
        "fold": b"HTTP/1.1 200 OK\r\nX-A: b\r\n c: d\r\nContent-Length: 0\r\n\r\n",
        "bomb": ok + b"Content-Length: %d\r\n\r\n" % len(data) + data[:16] + b"\x7f\xff\xff\xff\x7f\xff\xff\xff" + data[24:],
        "loop": b"HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n",
        "inward": b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n",
        "queue": (ok + b"Content-Length: 2\r\n\r\nab") * 3,
        "server-error": b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
        "nothing": b"",
    }
    if word in answers:
        writer.write(answers[word])
        await writer.drain()
    elif word == "endless-head":
        while True:
            writer.write(b"X-More: " + b"x" * 4000 + b"\r\n")
            await writer.drain()
    elif word == "endless":
        writer.write(ok + b"\r\n" + data)
        while True:
            writer.write(bytes(65536))
            await writer.drain()
    elif word == "drip":
        writer.write(ok + b"Content-Length: %d\r\n\r\n" % len(data))
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.1)
    elif word == "reset":
        writer.transport.abort()
    else:  # it says nothing, until the other side leaves
        while await reader.read(65536):
            pass


BAD_ANSWERS = ["cut", "chunks", "lengths", "both", "garbage", "fold", "queue", "nothing", "endless-head", "reset", "silent"]
BAD_RESULTS = [*BAD_ANSWERS, "html", "svg", "empty", "bomb", "loop", "inward", "server-error", "endless", "drip"]
BAD_LINKS = [
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.1:22/",
    "http://[::1]/x.png",
    "http://[::ffff:127.0.0.1]/x.png",
    "http://[64:ff9b::7f00:1]/x.png",
    "http://2130706433/x.png",
    "http://0x7f.1/x.png",
    "http://0.0.0.0/x.png",
    "http://user:pass@93.184.216.34/x.png",
    "http://93.184.216.34:8080/x.png",
    "file:///etc/passwd",
    "gopher://127.0.0.1/x",
    "http://10.0.0.1/x.png",
    "http://nowhere.invalid/x.png",
    "http://127.0.0.1\t/x.png",
    "data:text/html,x",
]


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _quietly(script: Script) -> Script:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the proxy left, as it should
        finally:
            writer.close()

    return serve


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    found = World()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/chat/completions", found.text)
    app.router.add_post("/images/v1/images/generations", found.generate)
    app.router.add_post("/images/v1/images/edits", found.edit)
    app.router.add_get("/good/{mark}", found.result)
    app.router.add_route("*", "/{place:.*}", found.nothing)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    found.good = runner.addresses[0][1]
    server = await asyncio.start_server(_quietly(_misbehave), "127.0.0.1", 0, backlog=1024)
    found.bad = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        await runner.cleanup()
