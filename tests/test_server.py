"""What passes through passes byte for byte, both ways; what breaks is told, or cut so that nobody takes it for whole."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import logging
from typing import Any

import aiohttp
import openai
import pytest
from yarl import URL

from proxy_core import Handler, Middleware, Request, Response, hookimpl
from proxy_core.testing import plug, running
from tests.upstream import Peer, answering, exchange, upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


def routed(url: str, **route: Any) -> dict[str, Any]:
    return {"proxy": {"plugins": ["access_log"], "routes": {"/v1": {"upstream": url, **route}}}}


def raw(text: str, body: bytes = b"") -> bytes:
    """A request's bytes, closing after its answer."""
    lines = [*text.strip().split("\n"), "Host: client.example", "Connection: close"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}


def port(url: URL) -> int:
    assert url.port is not None
    return url.port


@pytest.mark.parametrize(
    "target",
    ["/v1/a%2Fb?x=%2F&y=+%20", "/v1//two", "/v1/a;p=1?", "/v1/%E2%82%AC?q=%zz", "/v1/x?a=b?c=d", "/v1", "/v1?q", "/v1/a/../b"],
)
async def test_method_path_query_and_body_arrive_byte_for_byte(target: str) -> None:
    body = bytes(range(256)) * 40
    async with upstream(answering(OK)) as up, running(routed(up.url)) as url:
        request = raw(f"PATCH {target} HTTP/1.1\nContent-Length: {len(body)}\nX-Thing:  a  b ", body)
        answer = await exchange(port(url), request)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n{}")
    (peer,) = up.peers
    assert peer.head.split(b"\r\n")[0] == f"PATCH {target} HTTP/1.1".encode()
    assert peer.body == body
    sent = fields(peer.head)
    assert sent["x-thing"] == "a  b"
    assert sent["host"] == up.url.removeprefix("http://")
    assert "user-agent" not in sent  # nothing is added that the client did not send
    assert "accept-encoding" not in sent


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
async def test_a_request_without_a_body_is_sent_without_one(method: str) -> None:
    async with upstream(answering(OK)) as up, running(routed(up.url)) as url:
        await exchange(port(url), raw(f"{method} /v1/x HTTP/1.1"))
    assert fields(up.peers[0].head).keys() == {"host"}


async def test_hop_by_hop_headers_stay_behind_both_ways() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nConnection: X-Private, close\r\nX-Private: 1\r\nKeep-Alive: timeout=9\r\nX-Public: 2\r\n"
        b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    )
    async with upstream(answering(answer)) as up, running(routed(up.url)) as url:
        request = "GET /v1/x HTTP/1.1\nConnection: X-Mine\nX-Mine: 1\nTE: trailers\nProxy-Authorization: secret\nX-Kept: 2"
        read = await exchange(port(url), raw(request))
    sent = fields(up.peers[0].head)
    assert not {"x-mine", "te", "proxy-authorization", "keep-alive"} & sent.keys()
    assert sent["x-kept"] == "2"
    assert b"X-Private" not in read
    assert b"Keep-Alive" not in read
    assert b"X-Public: 2\r\n" in read
    assert read.count(b"Set-Cookie: ") == 2


@pytest.mark.parametrize("encoding", ["gzip", "br"])
async def test_a_compressed_body_passes_as_it_is(encoding: str) -> None:
    packed = gzip.compress(b"hello" * 1000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    answer = head % (encoding.encode(), len(packed)) + packed
    async with upstream(answering(answer)) as up, running(routed(up.url)) as url:
        request = raw(f"POST /v1/x HTTP/1.1\nContent-Encoding: {encoding}\nContent-Length: {len(packed)}", packed)
        read = await exchange(port(url), request)
    assert up.peers[0].body == packed
    assert fields(up.peers[0].head)["content-encoding"] == encoding
    assert f"Content-Encoding: {encoding}\r\n".encode() in read
    assert read.endswith(packed)


async def test_a_chunked_body_passes_and_100_continue_is_answered() -> None:
    async with upstream(answering(OK)) as up, running(routed(up.url)) as url, aiohttp.ClientSession() as http:

        async def parts() -> Any:
            for _ in range(20):
                yield b"x" * 50_000

        async with http.post(url / "v1/x", data=parts(), expect100=True) as response:
            assert response.status == 200
    assert up.peers[0].body.count(b"x") == 1_000_000
    assert "expect" not in fields(up.peers[0].head)


@pytest.mark.parametrize(
    ("expects", "version", "told"),
    [("100-continue", "1.1", 1), ("100-Continue", "1.1", 1), ("100-continue", "1.0", 0), ("x", "1.1", 0), ("x", "1.0", 0)],
)
async def test_who_is_told_to_continue(expects: str, version: str, told: int) -> None:
    async with upstream(answering(OK)) as up, running(routed(up.url)) as url:
        body = b"a" * 200_000  # in several reads, of which one answers
        answer = await exchange(port(url), raw(f"POST /v1/x HTTP/{version}\nExpect: {expects}\nContent-Length: 200000", body))
    assert answer.count(b"HTTP/1.1 100 Continue\r\n\r\n") == told
    assert b"HTTP/1.1 200 OK\r\n" in answer or b"HTTP/1.0 200 OK\r\n" in answer
    assert up.peers[0].body == body


async def test_bytes_that_are_no_chunks_are_no_body() -> None:
    async with upstream(answering(OK)) as up, running(routed(up.url)) as url, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port(url))
        writer.write(raw("POST /v1/x HTTP/1.1\nTransfer-Encoding: chunked", b"5\r\nhello\r\n"))
        await up.accepted.wait()
        writer.write(b"zz\r\n")
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert error_of(answer)["code"] == "invalid_body"


async def test_an_event_stream_arrives_event_by_event() -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for n in range(3):
            await go.wait()
            go.clear()
            event = b'data: {"n": %d}\n\n' % n
            await peer.send(b"%x\r\n%b\r\n" % (len(event), event))
        await peer.send(b"0\r\n\r\n")

    async with upstream(script) as up, running(routed(up.url)) as url, aiohttp.ClientSession() as http:
        async with http.get(url / "v1/stream") as response:
            for n in range(3):
                go.set()  # the next event is not sent before the last one arrived
                assert await response.content.readuntil(b"\n\n") == b'data: {"n": %d}\n\n' % n
            assert await response.content.read() == b""


async def test_a_stream_that_breaks_raises_in_the_sdk() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        chunk = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        await peer.send(head + b"%x\r\n%b\r\n" % (len(chunk), chunk))

    async with upstream(script) as up, running(routed(up.url)) as url:
        async with openai.AsyncOpenAI(base_url=str(url / "v1"), api_key="x") as client:
            messages: Any = [{"role": "user", "content": "hi"}]
            stream = await client.chat.completions.create(model="gpt", messages=messages, stream=True)
            with pytest.raises(openai.APIError) as caught:
                _ = [chunk async for chunk in stream]
    assert caught.value.code == "upstream_cut"


async def test_a_cut_answer_is_cut_for_the_client_too() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"
    async with upstream(answering(answer)) as up, running(routed(up.url)) as url, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientPayloadError):
            async with http.get(url / "v1/x") as response:
                await response.read()


async def test_a_client_that_leaves_cancels_the_upstream() -> None:
    peers: asyncio.Queue[Peer] = asyncio.Queue()

    async def script(peer: Peer) -> None:
        await peer.read_request()
        peers.put_nowait(peer)
        await peer.until_gone()

    async with upstream(script) as up, running(routed(up.url)) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", port(url))
        writer.write(b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        peer = await peers.get()
        writer.close()
        await asyncio.wait_for(peer.gone.wait(), 1)


async def test_a_slow_client_slows_the_upstream() -> None:
    sent = 0
    stalled = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (256 << 20))
        while sent < 256 << 20:
            peer.writer.write(b"x" * 65536)
            try:
                await asyncio.wait_for(peer.writer.drain(), 1)
            except TimeoutError:
                stalled.set()
                return
            sent += 65536

    async with upstream(script) as up, running(routed(up.url)) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", port(url), limit=1024)
        writer.write(raw("GET /v1/x HTTP/1.1"))
        await asyncio.wait_for(stalled.wait(), 20)  # nobody reads, so the upstream comes to a stand
        assert sent < 32 << 20
        writer.transport.abort()


async def test_an_early_answer_reaches_a_client_that_still_sends() -> None:
    early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"

    async def script(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(early)
        await peer.until_gone()

    async with upstream(script) as up, running(routed(up.url)) as url, aiohttp.ClientSession() as http:
        async with http.post(url / "v1/x", data=io.BytesIO(b"x" * (8 << 20))) as response:
            assert (response.status, await response.read()) == (413, b"big")


@pytest.mark.parametrize(
    ("route", "sent"),
    [
        ({}, "Bearer client"),
        ({"credentials": "client"}, "Bearer client"),
        ({"credentials": "none"}, None),
        ({"api_key": "env:KEY"}, "Bearer operator"),
        ({"api_key": "env:KEY", "api_key_header": "api-key"}, None),
    ],
)
async def test_whose_credentials_go_on_is_the_operators_choice(route: dict[str, str], sent: str | None) -> None:
    async with upstream(answering(OK)) as up, running(routed(up.url, **route), environ={"KEY": "operator"}) as url:
        await exchange(port(url), raw("GET /v1/x HTTP/1.1\nAuthorization: Bearer client"))
    head = fields(up.peers[0].head)
    assert head.get("authorization") == sent
    assert head.get("api-key") == ("operator" if "api_key_header" in route else None)


async def test_the_longest_prefix_wins_and_a_path_may_be_replaced() -> None:
    async with upstream(answering(OK)) as up, upstream(answering(OK)) as other:
        routes = {"/v1": {"upstream": up.url}, "/v1/images": {"upstream": f"{other.url}/api/paas/v4"}}
        async with running({"proxy": {"routes": routes}}) as url:
            for path in ("/v1/imagesque", "/v1/images/generations", "/v1"):
                await exchange(port(url), raw(f"GET {path} HTTP/1.1"))
    assert [peer.head.split()[1] for peer in up.peers] == [b"/v1/imagesque", b"/v1"]
    assert [peer.head.split()[1] for peer in other.peers] == [b"/api/paas/v4/generations"]


@pytest.mark.parametrize(
    "target",
    ["/v1/x#a", "/v1/../x", "/v1/a/../../x", "/v1/%2e%2e/x", "/v1/%252e%252e/x", "/v1/..%2fx", "/v1/..%5cx", "/v1/..;a/x"],
)
async def test_a_path_that_would_leave_its_route_is_refused(target: str) -> None:
    async with upstream(answering(OK)) as up, running(routed(up.url)) as url:
        answer = await exchange(port(url), raw(f"GET {target} HTTP/1.1"))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"invalid_path"' in answer
    assert not up.peers


def error_of(answer: bytes) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


async def test_with_no_route_a_path_is_not_found() -> None:
    async with running({}) as url:
        answer = await exchange(port(url), raw("GET /v1/models HTTP/1.1\nX-Request-ID: mine-1"))
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert error_of(answer)["code"] == "unknown_url"
    assert b"X-Request-ID: mine-1\r\n" in answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET /v1 HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 400),
        (b"POST /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n", 413),
    ],
    ids=["no request line", "a huge header", "two lengths", "a huge body"],
)
async def test_what_is_refused_is_told_in_openais_shape(request_: bytes, status: int) -> None:
    async with upstream(answering(OK)) as up, running(routed(up.url)) as url:
        answer = await exchange(port(url), request_)
    assert int(answer.split()[1]) == status
    error_of(answer)
    assert not up.peers


async def test_an_upstream_that_is_not_there() -> None:
    async with upstream(answering(OK)) as up:
        dead = up.url
    async with running(routed(dead)) as url:
        answer = await exchange(port(url), raw("POST /v1/x HTTP/1.1\nContent-Length: 0"))
    assert answer.startswith(b"HTTP/1.1 502 ")
    error = error_of(answer)
    assert error["code"] == "upstream_unreachable"
    assert dead.removeprefix("http://") in error["message"]
    assert b"x-should-retry" not in answer.lower()  # nothing was sent, so it may be asked again


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [(b"", 502, "upstream_cut"), (b"garbage\r\n\r\n", 502, "invalid_upstream_reply")],
    ids=["nothing", "garbage"],
)
async def test_an_upstream_that_fails_before_its_head(said: bytes, status: int, code: str) -> None:
    async with upstream(answering(said)) as up, running(routed(up.url)) as url:
        answer = await exchange(port(url), raw("POST /v1/x HTTP/1.1\nContent-Length: 2", b"{}"))
    assert int(answer.split()[1]) == status
    assert error_of(answer)["code"] == code
    assert b"x-should-retry: false\r\n" in answer.lower()
    assert len(up.peers) == 1  # a POST is never sent again


async def test_a_silent_upstream() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.until_gone()

    async with upstream(script) as up, running(routed(up.url, first_byte_timeout=0.2)) as url:
        answer = await exchange(port(url), raw("POST /v1/x HTTP/1.1\nContent-Length: 2", b"{}"))
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert "silent for 0.2 s" in error_of(answer)["message"]


async def test_a_client_that_stops_sending() -> None:
    config = routed("http://127.0.0.1:9")
    config["proxy"]["limits"] = {"body_timeout": 0.2}

    async def script(peer: Peer) -> None:
        await peer.read_head()
        await peer.until_gone()

    async with upstream(script) as up:
        config["proxy"]["routes"]["/v1"]["upstream"] = up.url
        async with running(config) as url:
            answer = await exchange(port(url), raw("POST /v1/x HTTP/1.1\nContent-Length: 9", b"{}"))
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_large_body_streams_through_unharmed() -> None:
    body = bytes(range(256)) * (64 << 12)  # 64 MiB

    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(peer.body))
        await peer.send(peer.body)

    async with upstream(script) as up, running(routed(up.url)) as url, aiohttp.ClientSession() as http:
        async with http.post(url / "v1/x", data=io.BytesIO(body)) as response:
            read = await response.read()
    assert hashlib.sha256(read).digest() == hashlib.sha256(body).digest()


async def test_a_plugins_fault_is_logged_not_told(caplog: pytest.LogCaptureFixture) -> None:
    from dataclasses import dataclass

    @dataclass(kw_only=True)
    class Broken:
        @hookimpl
        def proxy_middleware(self) -> Middleware:
            async def middleware(request: Request, next: Handler) -> Response:
                raise RuntimeError("a detail for the operator")

            return middleware

    async with running({"proxy": {"plugins": ["broken"]}}, plug(broken=Broken)) as url:
        answer = await exchange(port(url), raw("GET /v1/x HTTP/1.1"))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert error_of(answer)["message"] == "internal error"
    assert b"detail" not in answer
    assert "plugin broken failed" in caplog.text
    assert "a detail for the operator" in caplog.text


async def test_the_access_log_has_figures_and_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "darkroom.access")
    async with upstream(answering(OK)) as up, running(routed(up.url)) as url:
        request = raw("POST /v1/x?key=very-secret HTTP/1.1\nAuthorization: Bearer very-secret\nContent-Length: 5", b"hello")
        await exchange(port(url), request)
    (record,) = [record for record in caplog.records if record.name == "darkroom.access"]
    logged: Any = record
    assert (logged.method, logged.target, logged.status) == ("POST", "/v1/x", 200)
    assert (logged.received, logged.sent) == (5, 2)
    assert logged.total_ms >= logged.upstream_ms > 0
    assert "very-secret" not in str(vars(record))


async def test_requests_are_told_apart_by_id() -> None:
    async with running({}) as url, aiohttp.ClientSession() as http:
        ids = []
        for sent in ("mine", "two words", "x" * 200, None):
            async with http.get(url / "x", headers={"X-Request-ID": sent} if sent else {}) as response:
                ids.append(response.headers["X-Request-ID"])
    assert ids[0] == "mine"
    assert all(one.startswith("req_") for one in ids[1:])
    assert len(set(ids)) == 4


FULL = ["access_log", "signing", "image_edit", "sandbox"]


async def test_text_passes_byte_for_byte_with_every_plugin_on() -> None:
    said = b'data: {"choices": [{"index": 0, "delta": {"content": "hi"}}]}\n\n: comment\n\ndata: [DONE]\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n"
    # Odd spacing, key order and number forms: parsed and written again, they would not survive.
    body = b'{ "messages":[{"role":"user","content":"x"}] ,"model" : "gpt-5", "temperature":1.0, "stream": true, "n":1e0 }'
    async with upstream(answering(head % len(said) + said)) as up:
        async with running({"proxy": {"plugins": FULL, "routes": {"/v1": {"upstream": up.url}}}}) as url:
            request = f"POST /v1/chat/completions HTTP/1.1\nContent-Type: application/json\nContent-Length: {len(body)}"
            answer = await exchange(port(url), raw(request, body))
    assert answer.endswith(b"\r\n\r\n" + said)
    assert up.peers[0].body == body


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"model": 7}', b'{"model": null, "prompt": "x"}', b'{"model":"gpt-image-2"}', b"\xff\xfe"]
)
async def test_what_is_not_ours_is_passed_on_and_the_upstream_judges(body: bytes) -> None:
    async with upstream(answering(OK)) as up:
        async with running({"proxy": {"plugins": FULL, "routes": {"/v1": {"upstream": up.url}}}}) as url:
            for path in ("chat/completions", "images/generations", "images/edits"):
                request = f"POST /v1/{path} HTTP/1.1\nContent-Type: application/json\nContent-Length: {len(body)}"
                assert (await exchange(port(url), raw(request, body))).startswith(b"HTTP/1.1 200 ")
    assert [peer.body for peer in up.peers] == [body] * 3


async def test_trailers_do_not_become_headers_or_body() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\nConnection: close\r\n\r\n"
        b"2\r\nok\r\n0\r\nX-End: 1\r\n\r\n"
    )
    body = b"3\r\nabc\r\n0\r\nX-Mine: 1\r\n\r\n"

    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(answer)

    async with upstream(script) as up, running(routed(up.url)) as url, aiohttp.ClientSession() as http:
        reader, writer = await asyncio.open_connection("127.0.0.1", port(url))
        writer.write(b"POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Mine\r\n\r\n" + body)
        read = await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 5)
        writer.close()
        del http
    assert read.endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    assert b"X-End" not in read
    assert b"X-Mine" not in up.peers[0].head
    assert up.peers[0].body == b"3\r\nabc\r\n0\r\n\r\n"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_answers_without_a_body(method: str, status: int) -> None:
    length = b"" if status == 204 else b"Content-Length: 1234\r\n"
    async with upstream(answering(b"HTTP/1.1 %d X\r\nETag: a\r\n%b\r\n" % (status, length))) as up:
        async with running(routed(up.url)) as url:
            reader, writer = await asyncio.open_connection("127.0.0.1", port(url))
            for _ in range(2):  # the connection stays in step
                writer.write(f"{method} /v1/x HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
                assert head.startswith(f"HTTP/1.1 {status} ".encode())
                assert (b"Content-Length: 1234\r\n" in head) is (method == "HEAD")
                assert b"etag: a\r\n" in head.lower()
            writer.close()
    assert len(up.peers) == 2


@pytest.mark.parametrize("hosts", [b"", b"Host: a\r\nHost: b\r\n"], ids=["no Host", "two Hosts"])
async def test_exactly_one_host(hosts: bytes) -> None:
    async with upstream(answering(OK)) as up, running(routed(up.url)) as url:
        answer = await exchange(port(url), b"GET /v1/x HTTP/1.1\r\n" + hosts + b"\r\n")
    assert answer.split()[1] == b"400"
    assert error_of(answer)["code"] == "invalid_http"
    assert not up.peers


async def test_an_absolute_target_is_read_as_its_path() -> None:
    async with upstream(answering(OK)) as up, running(routed(up.url)) as url:
        await exchange(port(url), b"GET http://elsewhere.example/v1/x?y=%2F HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")
    assert up.peers[0].head.startswith(b"GET /v1/x?y=%2F HTTP/1.1\r\n")


@pytest.mark.parametrize("size", [60_000, 200_000])
async def test_an_upstreams_large_headers(size: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\nX-Large: " + b"y" * size + b"\r\nContent-Length: 0\r\n\r\n"
    async with upstream(answering(answer)) as up, running(routed(up.url)) as url:
        read = await exchange(port(url), raw("GET /v1/x HTTP/1.1"))
    if size < 64 * 1024:
        assert b"X-Large: " + b"y" * size in read
    else:
        assert read.startswith(b"HTTP/1.1 502 ")
        assert error_of(read)["code"] == "invalid_upstream_reply"


def resetting(after: bytes) -> Any:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        if after:
            await peer.send(after)
            await asyncio.sleep(0)
        sock = peer.writer.get_extra_info("socket")
        sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER of 0 seconds: closing resets
        peer.writer.transport.abort()

    return script


async def test_an_upstream_that_resets_before_its_head() -> None:
    async with upstream(resetting(b"")) as up, running(routed(up.url)) as url:
        answer = await exchange(port(url), raw("POST /v1/x HTTP/1.1\nContent-Length: 2", b"{}"))
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert error_of(answer)["code"] == "upstream_cut"
    assert len(up.peers) == 1


async def test_an_upstream_that_resets_within_its_body() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
    async with upstream(resetting(head)) as up, running(routed(up.url)) as url, aiohttp.ClientSession() as http:
        async with http.get(url / "v1/x") as response:
            # The reset may overtake what was sent before it; then the head never came, and that is told.
            if response.status == 200:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await response.read()
            else:
                assert response.status == 502


async def test_a_stale_connection_does_not_repeat_a_post() -> None:
    """The upstream closes a kept connection in the moment of the next request: that request may have been read."""
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.read_request()
        heads.append(peer.head.split(b"\r\n")[0])
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await peer.read_request()
        heads.append(peer.head.split(b"\r\n")[0])

    async with upstream(script) as up, running(routed(up.url)) as url:
        first = await exchange(port(url), raw("POST /v1/1 HTTP/1.1\nContent-Length: 2", b"{}"))
        second = await exchange(port(url), raw("POST /v1/2 HTTP/1.1\nContent-Length: 2", b"{}"))
    assert first.endswith(b"{}")
    assert second.startswith(b"HTTP/1.1 502 ")
    assert heads == [b"POST /v1/1 HTTP/1.1", b"POST /v1/2 HTTP/1.1"]
