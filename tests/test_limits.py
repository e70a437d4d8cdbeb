"""Every bound, crossed over a raw socket; and what others do meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from proxy_core.testing import running
from tests.upstream import Peer, answering, exchange, upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def config(url: str, route: dict[str, Any] | None = None, **limits: Any) -> dict[str, Any]:
    return {"proxy": {"limits": limits, "routes": {"/v1": {"upstream": url, **(route or {})}}}}


def port(url: URL) -> int:
    assert url.port is not None
    return url.port


def told(answer: bytes) -> tuple[int, str]:
    """(status, code) of an answer in OpenAI's shape."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


GET = b"GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /v1/x HTTP/1.1\r\nHost: x\r\nX-Large: " + b"y" * 3000 + b"\r\n\r\n", 400),
        (b"GET /v1/" + b"y" * 3000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /v1/x HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(20)) + b"\r\n", 400),
        (b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n" + b"y" * 101, 413),
        (b"POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + b"y" * 101 + b"\r\n0\r\n\r\n", 413),
    ],
    ids=["a header line", "the request line", "header lines", "a counted body", "a chunked body"],
)
async def test_sizes(request_: bytes, status: int) -> None:
    async with upstream(answering(OK)) as up, running(config(up.url, head=2000, headers=16, body=100)) as url:
        answer = await exchange(port(url), request_)
        assert told(answer)[0] == status
        assert (await exchange(port(url), GET)).endswith(b"{}")  # and the proxy is well


async def test_a_body_is_counted_after_decompression() -> None:
    bomb = gzip.compress(b'{"model": "sandbox", "prompt": "' + b"x" * (8 << 20) + b'"}')
    table = {"proxy": {"plugins": ["image_edit", "sandbox"]}, "plugins": {"image_edit": {"body_limit": 1 << 20}}}
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    async with running(table) as url:
        assert told(await exchange(port(url), head.encode() + bomb)) == (413, "request_too_large")


async def test_a_head_that_drips() -> None:
    async with upstream(answering(OK)) as up, running(config(up.url, head_timeout=0.3)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", port(url))
        for byte in b"GET /v1/x HT":
            writer.write(bytes([byte]))
            await writer.drain()
        assert told(await asyncio.wait_for(reader.read(), 5)) == (408, "request_timeout")
        writer.close()


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with running(config("http://127.0.0.1:9", head_timeout=0.2)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", port(url))
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_second_head_that_drips() -> None:
    async with upstream(answering(OK)) as up, running(config(up.url, head_timeout=0.3)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", port(url))
        writer.write(GET)
        await reader.readuntil(b"{}")
        writer.write(b"GET /v1")
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_an_idle_connection_is_closed() -> None:
    async with upstream(answering(OK)) as up, running(config(up.url, keepalive=0.2)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", port(url))
        writer.write(GET)
        await reader.readuntil(b"{}")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_connections_are_counted() -> None:
    async with upstream(answering(OK)) as up, running(config(up.url, connections=2)) as url:
        async with AsyncExitStack() as stack:
            for _ in range(2):
                _, writer = await asyncio.open_connection("127.0.0.1", port(url))
                stack.callback(writer.close)
                writer.write(b"GET /v1")
                await writer.drain()
            answer = await exchange(port(url), GET)
            assert told(answer) == (503, "overloaded")
            assert b"Retry-After: " in answer
        async with asyncio.timeout(5):
            while not (await exchange(port(url), GET)).startswith(b"HTTP/1.1 200 "):
                pass  # until the proxy has seen the others go


@asynccontextmanager
async def held(count: int, url: URL) -> AsyncIterator[None]:
    """So many requests under way, to an upstream that does not answer."""
    async with AsyncExitStack() as stack:
        for _ in range(count):
            _, writer = await asyncio.open_connection("127.0.0.1", port(url))
            stack.callback(writer.close)
            writer.write(GET)
            await writer.drain()
        yield


class Silent:
    """An upstream that keeps every request, and says when it has so many."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.full = asyncio.Event()
        self.count = 0

    async def __call__(self, peer: Peer) -> None:
        await peer.read_request()
        self.count += 1
        if self.count == self.wanted:
            self.full.set()
        await peer.until_gone()


async def test_requests_in_flight_are_counted() -> None:
    silent = Silent(2)
    async with upstream(silent) as up, running(config(up.url, requests=2)) as url:
        async with held(2, url):
            await silent.full.wait()
            assert told(await exchange(port(url), GET)) == (503, "overloaded")


async def test_requests_at_one_upstream_are_counted() -> None:
    silent = Silent(2)
    async with upstream(silent) as up, running(config(up.url, {"connections": 2, "connect_timeout": 0.2})) as url:
        async with held(2, url):
            await silent.full.wait()
            assert told(await exchange(port(url), GET)) == (503, "overloaded")
        # The two left: their places are free again, and the next request gets as far as the silent upstream.
        silent.wanted = 3
        async with held(1, url):
            await asyncio.wait_for(silent.full.wait(), 5)


async def test_bytes_in_flight() -> None:
    """Whoever buffers takes from one budget; above it a large request gets 503, and small ones and streams go on."""
    table = {
        "proxy": {"plugins": ["image_edit", "sandbox"], "limits": {"memory": 1 << 20, "memory_wait": 0.1}},
        "plugins": {"image_edit": {}},
    }
    half = b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + b" " * 1000
    async with running(table) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", port(url))
        writer.write(half)
        await writer.drain()
        async with aiohttp.ClientSession() as http:
            large = {"model": "sandbox", "prompt": "x" * 200_000}
            async with asyncio.timeout(20):
                while True:  # until the half-sent request holds its share
                    async with http.post(url / "v1/images/generations", json=large) as response:
                        if response.status == 503:
                            break
            assert response.headers["Retry-After"]
            small = {"model": "sandbox", "prompt": "a sun", "size": "16x16"}
            async with http.post(url / "v1/images/generations", json=small) as response:
                assert response.status == 200
        writer.close()
        del reader


async def test_a_connection_that_does_not_stand() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        async with AsyncExitStack() as stack:
            for _ in range(4):  # fill the backlog; whoever comes after waits for ever
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(address)
            async with running(config(f"http://127.0.0.1:{address[1]}", {"connect_timeout": 0.3})) as url:
                answer = await exchange(port(url), GET)
    assert told(answer) == (504, "upstream_timeout")
    assert b"x-should-retry" not in answer.lower()


async def test_an_answer_that_stops_in_the_middle_is_cut() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await peer.until_gone()

    async with upstream(script) as up, running(config(up.url, {"read_timeout": 0.3})) as url, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientPayloadError):
            async with http.get(url / "v1/x") as response:
                await response.read()


async def dripping(peer: Peer, kind: bytes) -> None:
    await peer.read_request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: 30\r\n\r\n" % kind)
    for _ in range(30):
        await peer.send(b"x")
        await asyncio.sleep(0.02)  # the drip itself


@pytest.mark.parametrize(("kind", "whole"), [(b"application/json", False), (b"text/event-stream", True)])
async def test_the_total_time_is_bounded_but_for_streams(kind: bytes, whole: bool) -> None:
    async with upstream(lambda peer: dripping(peer, kind)) as up, running(config(up.url, {"total_timeout": 0.2})) as url:
        async with aiohttp.ClientSession() as http, http.get(url / "v1/x") as response:
            if whole:
                assert await response.read() == b"x" * 30
            else:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await response.read()


async def test_an_upstream_that_does_not_read() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_head()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with upstream(script) as up, running(config(up.url, {"read_timeout": 0.3})) as url:
        body = b"x" * (32 << 20)
        reader, writer = await asyncio.open_connection("127.0.0.1", port(url))
        writer.write(b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"HTTP/1.1 504 ")
        writer.transport.abort()


async def test_many_streams_do_not_starve_a_plain_request() -> None:
    streams = 500
    full = asyncio.Event()
    count = 0

    async def script(peer: Peer) -> None:
        nonlocal count
        await peer.read_request()
        if b"/v1/stream" not in peer.head:
            await peer.send(OK)
            return
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        count += 1
        if count == streams:
            full.set()
        await peer.until_gone()

    async with upstream(script) as up, running(config(up.url)) as url, AsyncExitStack() as stack:
        for _ in range(streams):
            reader, writer = await asyncio.open_connection("127.0.0.1", port(url))
            stack.callback(writer.close)
            writer.write(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n")
            del reader
        await asyncio.wait_for(full.wait(), 30)
        assert (await exchange(port(url), GET)).endswith(b"{}")


@asynccontextmanager
async def process(tmp_path: Path, table: str) -> AsyncIterator[tuple[URL, int]]:
    """A proxy in a process of its own, so that its memory can be looked at."""
    (tmp_path / "config.toml").write_text(table)
    command = [sys.executable, "-m", "proxy_core", "run", "--listen", "127.0.0.1:0", "--log", "json"]
    running_ = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stderr=asyncio.subprocess.PIPE)
    assert running_.stderr is not None
    url = URL(json.loads(await running_.stderr.readline())["url"])

    async def drain(stream: asyncio.StreamReader) -> None:
        while await stream.read(1 << 16):
            pass

    reading = asyncio.create_task(drain(running_.stderr))
    try:
        yield url, running_.pid
    finally:
        running_.terminate()
        await asyncio.wait_for(running_.wait(), 30)
        await reading


def memory(pid: int, name: str = "VmRSS") -> int:
    """Bytes, from the kernel's own account."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


async def test_a_body_of_64_megabytes_to_a_stalled_client_costs_little_memory(tmp_path: Path) -> None:
    size = 64 << 20
    stalled = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read_request()
        if b"/v1/large" not in peer.head:
            await peer.send(OK)
            return
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 16):
            peer.writer.write(b"x" * 65536)
            try:
                await asyncio.wait_for(peer.writer.drain(), 1)
            except TimeoutError:
                stalled.set()
                await peer.until_gone()

    async with upstream(script) as up, process(tmp_path, f'[proxy.routes."/v1"]\nupstream = "{up.url}"\n') as (url, pid):
        for _ in range(20):  # warm
            await exchange(port(url), GET)
        before = memory(pid)
        _, writer = await asyncio.open_connection("127.0.0.1", port(url), limit=1024)
        writer.write(b"GET /v1/large HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(stalled.wait(), 30)
        grown = memory(pid) - before
        writer.transport.abort()
    assert grown < 4 << 20, f"{grown / (1 << 20):.1f} MiB"


async def test_idle_and_dripping_connections_do_not_slow_others(tmp_path: Path) -> None:
    """2,000 of them: the median of normal requests stays within twice what it was, noise allowed for."""
    count = 2_000
    async with upstream(answering(OK)) as up, process(tmp_path, f'[proxy.routes."/v1"]\nupstream = "{up.url}"\n') as (url, _):
        before = await median(url)
        async with AsyncExitStack() as stack:
            writers = []
            for n in range(count):
                _, writer = await asyncio.open_connection("127.0.0.1", port(url))
                stack.callback(writer.close)
                writer.write(b"" if n % 2 else b"GET /v1/x HTTP/1.1\r\nX-Drip: ")
                writers.append(writer)
            for writer in writers[::2]:
                writer.write(b"x")
            after = await median(url)
    assert after < 2 * before + 0.005, f"{before * 1000:.2f} ms -> {after * 1000:.2f} ms"


async def median(url: URL) -> float:
    loop = asyncio.get_running_loop()
    times = []
    for _ in range(50):
        begun = loop.time()
        await exchange(port(url), GET)
        times.append(loop.time() - begun)
    return sorted(times)[25]


async def mixed(peer: Peer) -> None:
    """An upstream for every kind of request in `mix`."""
    while True:
        peer.head = peer.body = b""
        await peer.read_request()
        if b"/v1/cut" in peer.head:
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            return
        if b"/v1/wait" in peer.head:
            await peer.until_gone()
            return
        if b"/v1/stream" in peer.head:
            event = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            await peer.send(event + b"9\r\ndata: 1\n\n\r\n" * 10 + b"0\r\n\r\n")
        else:
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(peer.body) + peer.body)


async def mix(url: URL, count: int) -> None:
    """So many requests: plain, streamed, large, refused, cut, and left by their client."""
    gate = asyncio.Semaphore(32)

    async def gated(http: aiohttp.ClientSession, n: int) -> None:
        async with gate:
            await one(http, url, n)

    async with aiohttp.ClientSession() as http:
        await asyncio.gather(*(gated(http, n) for n in range(count)))


async def one(http: aiohttp.ClientSession, url: URL, n: int) -> None:
    match n % 10:
        case 0:
            _, writer = await asyncio.open_connection("127.0.0.1", port(url))
            writer.write(b"POST /v1/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
            await writer.drain()
            writer.transport.abort()
        case 1:
            with pytest.raises(aiohttp.ClientPayloadError):
                async with http.get(url / "v1/cut") as response:
                    await response.read()
        case 2:
            async with http.get(url / "v2/nowhere") as response:
                assert response.status == 404
        case 3:
            async with http.get(url / "v1/stream") as response:
                assert (await response.read()).count(b"data: 1\n\n") == 10
        case 4:
            async with http.post(url / "v1/echo", data=b"x" * 200_000) as response:
                assert len(await response.read()) == 200_000
        case _:
            async with http.post(url / "v1/echo", data=b"{}") as response:
                assert await response.read() == b"{}"


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


async def test_memory_and_descriptors_are_flat_over_five_thousand_mixed_requests(tmp_path: Path) -> None:
    table = '[proxy]\nplugins = ["access_log"]\n[proxy.routes."/v1"]\nupstream = "{}"\n'
    async with upstream(mixed) as up, process(tmp_path, table.format(up.url)) as (url, pid):
        await mix(url, 1_000)
        before, open_before = memory(pid), descriptors(pid)
        await mix(url, 5_000)
        async with asyncio.timeout(10):
            while descriptors(pid) > open_before + 40:  # pooled upstream connections may differ by the gate's width
                await exchange(port(url), GET)
        grown = memory(pid) - before
    assert grown < 6 << 20, f"{grown / (1 << 20):.1f} MiB"


async def test_no_task_is_left_over() -> None:
    async with upstream(mixed) as up, running(config(up.url)) as url:
        await mix(url, 500)
        async with asyncio.timeout(10):
            # One task for each open connection on either side is as it should be; none belongs to a handler.
            while [task for task in asyncio.all_tasks() if "handle" in repr(task.get_coro())]:
                await exchange(port(url), GET)
