"""Several upstreams for one route: whose turn it is, when the next one may be asked, and who is left alone."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from multidict import CIMultiDict
from yarl import URL

from proxy_core import Body, ConfigError, Exchange, Request, UpstreamError
from proxy_core.config import Route, Weighted
from proxy_core.routes import RoutePool, set_forwarded
from proxy_core.testing import loaded, running
from tests.upstream import Peer, answering, exchange, upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
GET = b"GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


def pool(*weights: int, **route: Any) -> RoutePool:
    upstreams = [Weighted(url=URL(f"http://up{n}.example"), weight=weight) for n, weight in enumerate(weights)]
    return RoutePool("/v1", Route(upstreams=upstreams, **route))


def firsts(targets: RoutePool, count: int) -> list[str]:
    return [targets.candidates()[0].url.host or "" for _ in range(count)]


def test_turns_follow_the_weights_and_are_spread() -> None:
    turns = firsts(pool(5, 1, 1), 70)
    assert Counter(turns) == {"up0.example": 50, "up1.example": 10, "up2.example": 10}
    assert turns[:7] != ["up0.example"] * 5 + ["up1.example", "up2.example"]  # smooth, not in bursts


def test_one_that_keeps_failing_rests_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("proxy_core.routes.time.monotonic", lambda: now)
    targets = pool(1, 1, failures=2, rest=10)
    bad, good = targets.targets
    targets.failed(bad)
    assert set(firsts(targets, 4)) == {"up0.example", "up1.example"}  # once is no habit
    targets.failed(bad)
    assert set(firsts(targets, 4)) == {"up1.example"}
    now += 10
    assert set(firsts(targets, 4)) == {"up0.example", "up1.example"}
    targets.worked(bad)
    targets.failed(bad)
    assert "up0.example" in firsts(targets, 2)
    for target in (bad, good):
        targets.failed(target)
        targets.failed(target)
    with pytest.raises(UpstreamError) as caught:
        targets.candidates()[0]
    assert caught.value.status == 503
    assert caught.value.headers == {"Retry-After": "10"}
    assert "up0.example:80, up1.example:80" in caught.value.message


def test_a_lone_upstream_is_always_asked() -> None:
    targets = pool(1, failures=1)
    targets.failed(targets.targets[0])
    assert firsts(targets, 1) == ["up0.example"]


def table(*urls: str, **route: Any) -> dict[str, Any]:
    return {"proxy": {"routes": {"/v1": {"upstreams": [{"url": url} for url in urls], **route}}}}


async def dead() -> str:
    async with upstream(answering(OK)) as up:
        return up.url


@pytest.mark.parametrize("request_", [GET, POST])
async def test_where_nothing_was_sent_the_next_one_is_asked(request_: bytes) -> None:
    async with upstream(answering(OK)) as up, running(table(await dead(), up.url, failures=1, rest=60)) as url:
        for _ in range(4):
            assert (await exchange(url.port or 0, request_)).endswith(b"{}")
    assert len(up.peers) == 4


def counted(then: Callable[[Peer], Awaitable[None]], counts: Counter[bytes]) -> Callable[[Peer], Awaitable[None]]:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        counts[peer.head.split()[0]] += 1
        await then(peer)

    return script


async def cut(peer: Peer) -> None:
    """Take the request and say nothing."""


async def test_a_post_is_never_sent_twice_and_a_get_may_be() -> None:
    counts: Counter[bytes] = Counter()
    async with upstream(counted(cut, counts)) as one, upstream(counted(cut, counts)) as two:
        async with running(table(one.url, two.url, failures=100)) as url:
            answer = await exchange(url.port or 0, POST)
            assert answer.startswith(b"HTTP/1.1 502 ")
            assert counts == {b"POST": 1}
            await exchange(url.port or 0, GET)
    assert counts[b"GET"] >= 2
    assert counts[b"POST"] == 1


async def test_when_none_is_left_it_is_told() -> None:
    async with running(table(await dead(), await dead(), failures=1, rest=60)) as url:
        first = await exchange(url.port or 0, POST)
        second = await exchange(url.port or 0, POST)
    assert json.loads(first.partition(b"\r\n\r\n")[2])["error"]["code"] == "upstream_unreachable"
    assert json.loads(second.partition(b"\r\n\r\n")[2])["error"]["code"] == "no_upstream_left"
    assert b"Retry-After: " in second


async def test_a_request_still_being_sent_goes_to_the_next_one_whole() -> None:
    body = b"x" * (1 << 20)
    async with upstream(answering(OK)) as up, running(table(await dead(), up.url)) as url:
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", url.port or 0)
            writer.write(b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
            writer.close()
    assert [len(peer.body) for peer in up.peers] == [1 << 20] * 2


def test_who_asks_is_told_on() -> None:
    headers = CIMultiDict({"X-Forwarded-For": "10.0.0.1", "Via": "1.0 other"})
    asked = CIMultiDict({"Host": "proxy.example"})
    request = Request(exchange=Exchange(client="192.0.2.7"), method="GET", target="/", headers=asked, body=Body())
    set_forwarded(headers, request)
    assert dict(headers) == {
        "X-Forwarded-For": "10.0.0.1, 192.0.2.7",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "proxy.example",
        "Via": "1.0 other, 1.1 darkroom",
    }


@pytest.mark.parametrize("forwarded", [True, False])
async def test_forwarding_headers_are_the_operators_choice(forwarded: bool) -> None:
    async with upstream(answering(OK)) as up:
        async with running({"proxy": {"routes": {"/v1": {"upstream": up.url, "forwarded": forwarded}}}}) as url:
            await exchange(url.port or 0, GET)
    assert (b"X-Forwarded-For: 127.0.0.1\r\n" in up.peers[0].head) is forwarded
    assert (b"Via: 1.1 darkroom\r\n" in up.peers[0].head) is forwarded


@pytest.mark.parametrize(
    ("route", "where"),
    [
        ({}, "upstream"),
        ({"upstream": "http://a", "upstreams": [{"url": "http://b"}]}, "upstream"),
        ({"upstreams": [{"url": "http://b", "weight": 0}]}, "upstreams[0].weight"),
        ({"upstreams": [{"url": "ftp://b"}]}, "upstreams[0].url"),
        ({"upstream": "http://user@a"}, "upstream"),
        ({"upstream": "http://a", "connect_timeout": 0}, "connect_timeout"),
        ({"upstream": "http://a", "api_key": "k", "credentials": "none"}, "api_key"),
        ({"upstream": "http://a", "credentials": "api_key"}, "credentials"),
    ],
)
def test_mistakes_in_a_route_are_named(route: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded({"proxy": {"routes": {"/v1": route}}})
    assert [fault.where for fault in caught.value.faults] == [f'proxy.routes."/v1".{where}']
