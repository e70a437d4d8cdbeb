"""The HTTP client over real sockets: what it sends, byte for byte, what it makes of any answer, and when it asks again."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from multidict import CIMultiDict
from yarl import URL

from proxy_core import Body, Failure, UpstreamError, UpstreamTimeout
from proxy_core.client import HttpTransport
from proxy_core.config import Timeouts
from proxy_core.upstream import Answer
from tests.upstream import Peer, answering, upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    async with HttpTransport() as transport:
        yield transport
    await settled()


async def settled() -> None:
    """Nothing that was begun is left running."""
    async with asyncio.timeout(5):
        while [task for task in asyncio.all_tasks() if "client.py" in str(task.get_coro())]:
            await asyncio.sleep(0)


async def send(transport: HttpTransport, url: str, method: str = "GET", body: Body | None = None, **more: Any) -> Answer:
    fields = CIMultiDict(more.pop("fields", {}))
    target = more.pop("target", "/x")
    return await transport.send(method, URL(url), target, fields, body or Body(), Timeouts(**more))


async def read(answer: Answer) -> bytes:
    return b"".join([bytes(chunk) async for chunk in answer.chunks])


async def pieces(*chunks: bytes) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk


def again(*answers: bytes) -> Callable[[Peer], Awaitable[None]]:
    """One answer a request, on the same connection; then it is left open until the other side closes."""

    async def script(peer: Peer) -> None:
        for data in answers:
            peer.body = b""
            await peer.read_request()
            await peer.send(data)
        await peer.until_gone()

    return script


# --- what is sent ---


async def test_a_request_is_what_it_was_told_to_be(transport: HttpTransport) -> None:
    fields = [("X-A", "1"), ("X-a", "2"), ("Host", "elsewhere")]
    async with upstream(answering(OK)) as up:
        answer = await send(transport, up.url, "POST", Body(b'{"a":', b"1}"), fields=fields, target="/v1/a%2Fb?x=%20&&y")
        assert await read(answer) == b"ok"
    lines = up.peers[0].head.decode().split("\r\n")
    assert lines[0] == "POST /v1/a%2Fb?x=%20&&y HTTP/1.1"
    assert {"X-A: 1", "X-a: 2", f"Host: {up.url.removeprefix('http://')}", "Content-Length: 7"} <= set(lines)
    assert sum(line.lower().startswith("host:") for line in lines) == 1
    assert up.peers[0].body == b'{"a":1}'


async def test_a_body_of_unknown_length_is_chunked(transport: HttpTransport) -> None:
    async with upstream(answering(OK)) as up:
        await read(await send(transport, up.url, "POST", Body.stream(pieces(b"one", b"", b"two"))))
    assert b"transfer-encoding: chunked" in up.peers[0].head.lower()
    assert up.peers[0].body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_no_body_is_said_where_one_is_expected(transport: HttpTransport, method: str) -> None:
    async with upstream(answering(OK)) as up:
        await read(await send(transport, up.url, method))
    assert b"content-length: 0" in up.peers[0].head.lower()


@pytest.mark.parametrize(
    ("fields", "target", "method"),
    [
        ({"X-A": "1\r\nX-B: 2"}, "/", "GET"),
        ({"X-A": "1\nX-B: 2"}, "/", "GET"),
        ({"X-A": "1\x00"}, "/", "GET"),
        ({"X-A\r\nX-B": "1"}, "/", "GET"),
        ({"X A": "1"}, "/", "GET"),
        ({}, "/ HTTP/1.1\r\nX-B: 2\r\n\r\n", "GET"),
        ({}, "/", "GET / HTTP/1.1\r\nX:"),
    ],
)
async def test_nothing_can_be_put_into_a_head(transport: HttpTransport, fields: Any, target: str, method: str) -> None:
    async with upstream(answering(OK)) as up:
        with pytest.raises(ValueError):
            await send(transport, up.url, method, fields=fields, target=target)
        assert not up.peers


@pytest.mark.parametrize(("size", "chunks"), [(3, [b"four"]), (5, [b"four"])])
async def test_a_body_that_is_not_as_long_as_it_says_is_never_passed_off(
    transport: HttpTransport, size: int, chunks: list[bytes]
) -> None:
    async with upstream(answering(OK)) as up:
        with pytest.raises(ValueError, match="than its size"):
            await send(transport, up.url, "POST", Body.stream(pieces(*chunks), size))


async def test_what_the_body_raises_is_raised(transport: HttpTransport) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield b"some"
        raise LookupError("the client's own")

    async with upstream(answering(OK)) as up:
        with pytest.raises(LookupError, match="the client's own"):
            await send(transport, up.url, "POST", Body.stream(broken(), 100))


# --- what comes back ---


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nX-Trailer: 1\r\n\r\n", b"abc"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", b"abc"),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, b"ok"),
    ],
)
async def test_every_way_to_end_a_body(transport: HttpTransport, data: bytes, body: bytes) -> None:
    async with upstream(answering(data)) as up:
        answer = await send(transport, up.url)
        assert await read(answer) == body
        assert "X-Trailer" not in answer.fields


async def test_an_answer_to_head_has_no_body(transport: HttpTransport) -> None:
    async with upstream(again(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", OK)) as up:
        answer = await send(transport, up.url, "HEAD")
        assert (await read(answer), answer.fields["Content-Length"]) == (b"", "100")
        assert await read(await send(transport, up.url)) == b"ok"
        assert len(up.peers) == 1


async def test_repeated_and_odd_header_values_survive(transport: HttpTransport) -> None:
    head = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Name: zażółć  \r\nContent-Length: 0\r\n\r\n".encode()
    async with upstream(answering(head)) as up:
        answer = await send(transport, up.url)
        await read(answer)
    assert answer.fields.getall("set-cookie") == ["a=1", "b=2"]
    assert answer.fields["X-Name"] == "zażółć"


async def test_a_compressed_body_passes_as_it_came(transport: HttpTransport) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n"
    async with upstream(answering(head + b"\x1f\x8b\x08\x00")) as up:
        assert await read(await send(transport, up.url)) == b"\x1f\x8b\x08\x00"


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX A: 1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 3_000 + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 200,
    ],
)
async def test_what_is_not_http_is_told_as_that(transport: HttpTransport, data: bytes) -> None:
    async with upstream(answering(data)) as up:
        with pytest.raises(UpstreamError) as caught:
            await read(await send(transport, up.url))
        assert (caught.value.code, caught.value.failure) == ("invalid_upstream_reply", Failure.UNKNOWN)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
async def test_what_is_cut_is_never_passed_off_as_whole(transport: HttpTransport, data: bytes) -> None:
    async with upstream(answering(data)) as up:
        with pytest.raises(UpstreamError) as caught:
            await read(await send(transport, up.url, "POST", Body(b"{}")))
        assert (caught.value.code, caught.value.failure) == ("upstream_cut", Failure.UNKNOWN)


@pytest.mark.parametrize("flood", [b"1;" + b"x" * 1000 + b"\r\na\r\n", b"0\r\n" + b"X: 1\r\n" * 100_000])
async def test_framing_without_end_is_bounded(transport: HttpTransport, flood: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        if flood.startswith(b"1;"):
            await peer.send(b"1;" + b"x" * 2_000_000)
        await peer.send(flood)
        await peer.until_gone()

    async with upstream(script) as up:
        with pytest.raises(UpstreamError) as caught:
            await read(await send(transport, up.url))
        assert caught.value.code == "invalid_upstream_reply"


# --- the pool ---


async def test_a_connection_is_used_again(transport: HttpTransport) -> None:
    async with upstream(again(OK, OK, OK)) as up:
        for method in ("GET", "POST", "POST"):
            assert await read(await send(transport, up.url, method, Body(b"x") if method == "POST" else None)) == b"ok"
        assert len(up.peers) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok surplus",
    ],
)
async def test_a_connection_that_should_not_be_is_not_used_again(transport: HttpTransport, data: bytes) -> None:
    async with upstream(again(data)) as up:
        for _ in range(2):
            assert await read(await send(transport, up.url)) == b"ok"
        assert len(up.peers) == 2


# With the answer, in one packet: llhttp goes on to parse them, and what it finds must change nothing.
SURPLUS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nb",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nb",
    b"HTTP/1.1 2",
]


@pytest.mark.parametrize("surplus", SURPLUS)
@pytest.mark.parametrize("first", [OK, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"])
async def test_an_answer_too_many_is_dropped_with_its_connection(
    transport: HttpTransport, first: bytes, surplus: bytes
) -> None:
    async with upstream(again(first + surplus, OK)) as up:
        for _ in range(2):
            assert await asyncio.wait_for(read(await send(transport, up.url)), 5) == b"ok"
        assert len(up.peers) == 2


async def test_an_answer_left_early_gives_no_connection_back(transport: HttpTransport) -> None:
    async with upstream(again(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome", OK)) as up:
        answer = await send(transport, up.url)
        answer.close()
        answer.close()
        await asyncio.wait_for(up.peers[0].gone.wait(), 5)
        again_ = await send(transport, up.url)
        again_.close()
        assert len(up.peers) == 2


async def test_what_comes_unasked_is_no_answer(transport: HttpTransport) -> None:
    """Bytes on an idle connection would be taken for the answer to whoever asks next."""
    poison = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(OK)
        await poison.wait()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")
        await peer.until_gone()

    async with upstream(script) as up:
        await read(await send(transport, up.url))
        poison.set()
        await asyncio.wait_for(up.peers[0].gone.wait(), 5)
        assert await read(await send(transport, up.url)) == b"ok"
        assert len(up.peers) == 2


async def stale(peer: Peer) -> None:
    """Answers one request; the next on the same connection is read, and the connection closed without an answer."""
    await peer.read_request()
    await peer.send(OK)
    peer.body = b""
    await peer.read_request()


async def test_a_post_is_never_sent_twice(transport: HttpTransport) -> None:
    async with upstream(stale) as up:
        await read(await send(transport, up.url, "POST", Body(b"1")))
        with pytest.raises(UpstreamError) as caught:
            await send(transport, up.url, "POST", Body(b"2"))
        assert caught.value.failure is Failure.UNKNOWN
        assert caught.value.headers["x-should-retry"] == "false"
        assert len(up.peers) == 1


async def test_what_does_no_harm_twice_is_asked_again_on_a_stale_connection(transport: HttpTransport) -> None:
    async with upstream(stale) as up:
        await read(await send(transport, up.url))
        assert await read(await send(transport, up.url)) == b"ok"
        assert len(up.peers) == 2


async def test_a_connection_closed_while_idle_is_not_asked(transport: HttpTransport) -> None:
    """So that a POST does not meet it."""
    async with upstream(answering(OK)) as up:
        for _ in range(3):
            assert await read(await send(transport, up.url, "POST", Body(b"x"))) == b"ok"
            async with asyncio.timeout(5):
                while transport._connections:
                    await asyncio.sleep(0)
        assert [peer.body for peer in up.peers] == [b"x"] * 3


# --- early answers, back-pressure, limits, cancellation ---


async def test_an_early_answer_is_handed_on_at_once(transport: HttpTransport) -> None:
    more = asyncio.Event()

    async def slow() -> AsyncGenerator[bytes, None]:
        yield b"x" * 1000
        await more.wait()
        yield b"y" * 1000

    async def script(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await peer.until_gone()

    async with upstream(script) as up:
        answer = await asyncio.wait_for(send(transport, up.url, "POST", Body.stream(slow(), 2000)), 5)
        assert (answer.status, await read(answer)) == (413, b"no")
        await asyncio.wait_for(up.peers[0].gone.wait(), 5)  # half a request went out: nothing else may follow it


async def test_a_slow_reader_slows_the_upstream(transport: HttpTransport) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n")
        for _ in range(1024):
            await peer.send(b"x" * 65536)
            sent += 65536

    async with upstream(script) as up:
        answer = await send(transport, up.url)
        before = -1
        async with asyncio.timeout(10):
            while sent != before:  # until it is stuck
                before = sent
                for _ in range(200):
                    await asyncio.sleep(0)
        assert sent < 32 * 1024 * 1024
        assert len(await read(answer)) == 67108864


@pytest.mark.parametrize(
    ("script", "limit", "words"),
    [
        ("head", {"first_byte_timeout": 0.05}, "was silent for 0.05 s"),
        ("body", {"read_timeout": 0.05}, "was silent for 0.05 s"),
        ("drip", {"total_timeout": 0.2}, "took longer than 0.2 s"),
        ("upload", {"read_timeout": 0.05}, "took nothing for 0.05 s"),
    ],
)
async def test_each_phase_has_its_limit(transport: HttpTransport, script: str, limit: dict[str, float], words: str) -> None:
    async def act(peer: Peer) -> None:
        if script == "upload":
            await peer.read_head()
            await asyncio.sleep(60)
        await peer.read_request()
        if script == "head":
            await peer.until_gone()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        while script == "drip":
            await peer.send(b"x")
            await asyncio.sleep(0.02)
        await peer.until_gone()

    async with upstream(act) as up:
        body = Body(b"x" * (64 * 1024 * 1024)) if script == "upload" else None
        with pytest.raises(UpstreamTimeout) as caught:
            await read(await send(transport, up.url, "POST" if body else "GET", body, **limit))
        assert words in caught.value.message
        assert caught.value.failure is Failure.UNKNOWN


async def test_an_event_stream_may_last(transport: HttpTransport) -> None:
    async def act(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for _ in range(10):
            await peer.send(b"data: x\n\n")
            await asyncio.sleep(0.02)

    async with upstream(act) as up:
        assert len(await read(await send(transport, up.url, total_timeout=0.05))) == 90


async def test_a_slow_client_is_not_the_upstreams_fault(transport: HttpTransport) -> None:
    async def slow() -> AsyncGenerator[bytes, None]:
        for _ in range(5):
            yield b"x"
            await asyncio.sleep(0.03)

    async with upstream(answering(OK)) as up:
        answer = await send(transport, up.url, "POST", Body.stream(slow(), 5), read_timeout=0.02, first_byte_timeout=2)
        assert await read(answer) == b"ok"


async def test_nobody_there_and_no_such_name_sent_nothing(transport: HttpTransport) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{held.getsockname()[1]}"
        for url, words in ((gone, "refused"), ("http://no-such-host.invalid", "cannot connect to no-such-host")):
            with pytest.raises(UpstreamError) as caught:
                await send(transport, url, "POST", Body(b"x"))
            assert words in caught.value.message
            assert (caught.value.failure, caught.value.code) == (Failure.NOT_SENT, "upstream_unreachable")
            assert "x-should-retry" not in caught.value.headers


async def test_a_connection_that_never_stands_sent_nothing(transport: HttpTransport) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for one in fillers:  # the queue is full: the kernel drops what comes after
                one.setblocking(False)
                one.connect_ex(full.getsockname())
            with pytest.raises(UpstreamTimeout) as caught:
                await send(transport, f"http://127.0.0.1:{full.getsockname()[1]}", "POST", Body(b"x"), connect_timeout=0.2)
        finally:
            for one in fillers:
                one.close()
    assert caught.value.failure is Failure.NOT_SENT
    assert "within 0.2 s" in caught.value.message


@pytest.mark.parametrize("phase", ["head", "body", "upload"])
async def test_who_leaves_takes_everything_along(transport: HttpTransport, phase: str) -> None:
    async def endless() -> AsyncGenerator[bytes, None]:
        while True:
            yield b"x" * 65536

    async def act(peer: Peer) -> None:
        await peer.read_head()
        if phase == "body":
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        if phase == "upload":
            reached.set()
            await peer.until_gone()
        reached.set()
        await peer.until_gone()

    async def go() -> None:
        body = Body.stream(endless()) if phase == "upload" else None
        await read(await send(transport, up.url, "POST" if body else "GET", body))

    before = len(os.listdir("/proc/self/fd"))
    reached = asyncio.Event()
    async with upstream(act) as up:
        task = asyncio.create_task(go())
        await asyncio.wait_for(reached.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(up.peers[0].gone.wait(), 5)
        await settled()
        assert not transport._connections
    assert len(os.listdir("/proc/self/fd")) <= before + 1


async def test_what_came_with_the_upgrade_is_the_tunnels_first_read(transport: HttpTransport) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
        await peer.send(b"<" + await peer.reader.readexactly(4) + b">")

    async with upstream(script) as up:
        answer = await send(transport, up.url, fields={"Connection": "Upgrade", "Upgrade": "websocket"})
        assert answer.tunnel is not None
        assert await answer.tunnel.read() == b"first"
        await answer.tunnel.write(b"ping")
        assert await answer.tunnel.read() == b"<ping>"
        assert await answer.tunnel.read() == b""
        answer.close()


async def test_a_reset_ends_no_body(transport: HttpTransport) -> None:
    """A body without a length ends with its connection, but only if that is closed in order."""
    read_it = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nsome")
        await read_it.wait()
        peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.writer.transport.abort()

    async with upstream(script) as up:
        answer = await send(transport, up.url)
        assert await anext(answer.chunks) == b"some"
        read_it.set()
        with pytest.raises(UpstreamError, match="cut its answer"):
            await read(answer)


async def test_an_idle_connection_is_kept_for_a_while(transport: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy_core.client._IDLE", 0.05)
    async with upstream(again(OK)) as up:
        await read(await send(transport, up.url))
        await asyncio.wait_for(up.peers[0].gone.wait(), 5)
        assert not transport._connections


async def test_the_request_goes_on_beside_its_answer(transport: HttpTransport) -> None:
    """An upstream may answer as it reads; a connection on which both came to their ends is used again."""
    more = asyncio.Event()

    async def slow() -> AsyncGenerator[bytes, None]:
        yield b"one"
        await more.wait()
        yield b"two"

    async def script(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n" + await peer.reader.readexactly(3))
        await peer.send(await peer.reader.readexactly(3))
        await again(OK)(peer)

    async with upstream(script) as up:
        answer = await send(transport, up.url, "POST", Body.stream(slow(), 6))
        got = b""
        async for chunk in answer.chunks:
            got += bytes(chunk)
            more.set()
        assert got == b"onetwo"
        assert await read(await send(transport, up.url)) == b"ok"
        assert len(up.peers) == 1


async def test_what_the_body_raises_is_raised_beside_an_answer(transport: HttpTransport) -> None:
    more = asyncio.Event()

    async def broken() -> AsyncGenerator[bytes, None]:
        yield b"some"
        await more.wait()
        raise LookupError("the client's own")

    async def script(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        await peer.until_gone()

    async with upstream(script) as up:
        answer = await send(transport, up.url, "POST", Body.stream(broken(), 9))
        more.set()
        with pytest.raises(LookupError, match="the client's own"):
            await read(answer)
        await asyncio.wait_for(up.peers[0].gone.wait(), 5)


async def test_an_upstream_by_ipv6(transport: HttpTransport) -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)
        writer.close()

    try:
        server = await asyncio.start_server(serve, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await read(await send(transport, f"http://[::1]:{port}")) == b"ok"
    assert f"\r\nHost: [::1]:{port}\r\n".encode() in heads[0]


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_handshake_that_never_ends_leaves_nothing(transport: HttpTransport, leaves: bool) -> None:
    """Neither where its time is over, nor where the client leaves meanwhile."""

    async def script(peer: Peer) -> None:
        await peer.reader.readexactly(5)  # it has begun
        begun.set()
        await peer.until_gone()

    begun = asyncio.Event()
    before = len(os.listdir("/proc/self/fd"))
    async with upstream(script) as up:
        limit = 60 if leaves else 0.3
        task = asyncio.create_task(send(transport, up.url.replace("http:", "https:"), connect_timeout=limit))
        await asyncio.wait_for(begun.wait(), 5)
        if leaves:
            task.cancel()
        with pytest.raises(asyncio.CancelledError if leaves else UpstreamTimeout):
            await task
        await asyncio.wait_for(up.peers[0].gone.wait(), 5)
        assert not transport._connections
    await settled()
    assert len(os.listdir("/proc/self/fd")) <= before + 1


# --- TLS ---


@asynccontextmanager
async def secure(folder: Path, name: str) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    """(URL of a server on 127.0.0.1 with a certificate for `name`, a context that trusts it)."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    other = x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([other]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", ssl.create_default_context(cafile=str(pem))
    finally:
        server.close()


async def test_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    async with secure(tmp_path, "127.0.0.1") as (url, trusting), HttpTransport(trusting) as transport:
        assert await read(await send(transport, url)) == b"ok"


async def test_a_certificate_that_nobody_vouches_for(tmp_path: Path, transport: HttpTransport) -> None:
    async with secure(tmp_path, "127.0.0.1") as (url, _):
        with pytest.raises(UpstreamError) as caught:
            await send(transport, url, "POST", Body(b"secret"))
    assert caught.value.failure is Failure.NOT_SENT
    assert "TLS: self-signed certificate" in caught.value.message.replace("self signed", "self-signed")


async def test_a_certificate_for_somebody_else(tmp_path: Path) -> None:
    async with secure(tmp_path, "other.example") as (url, trusting), HttpTransport(trusting) as transport:
        with pytest.raises(UpstreamError) as caught:
            await send(transport, url, "POST", Body(b"secret"))
    assert caught.value.failure is Failure.NOT_SENT
    assert "127.0.0.1" in caught.value.message


def test_it_runs_on_uvloop_as_well(tmp_path: Path) -> None:
    """The tests run on asyncio's own loop, the proxy on uvloop."""

    async def go() -> None:
        async with HttpTransport() as transport:
            await test_a_connection_is_used_again(transport)
            await test_a_body_of_unknown_length_is_chunked(transport)
            await test_a_slow_reader_slows_the_upstream(transport)
            await test_a_post_is_never_sent_twice(transport)
            await test_what_came_with_the_upgrade_is_the_tunnels_first_read(transport)
            await test_a_reset_ends_no_body(transport)
            await test_the_request_goes_on_beside_its_answer(transport)
            for leaves in (True, False):
                await test_a_handshake_that_never_ends_leaves_nothing(transport, leaves)
            for phase in ("head", "body", "upload"):
                await test_who_leaves_takes_everything_along(transport, phase)
        await test_a_certificate_that_is_trusted(tmp_path)

    uvloop.run(go())
