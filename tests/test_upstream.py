"""What the HTTP client raises, in the proxy's words: whether anything was sent is what retries and fallback hang on."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aioresponses import aioresponses
from multidict import CIMultiDict
from yarl import URL

from proxy_core import Body, Exchange, Failure, NotFound, Request, UpstreamError, UpstreamTimeout
from proxy_core.config import Route, Timeouts
from proxy_core.routes import Routes, target_on
from proxy_core.upstream import ClientTransport

ORIGIN = URL("http://api.example:8443")


@pytest.fixture
async def transport() -> AsyncIterator[ClientTransport]:
    async with ClientTransport() as transport:
        yield transport


def connector_error(kind: type[aiohttp.ClientConnectorError], cause: OSError) -> aiohttp.ClientConnectorError:
    key: Any = SimpleNamespace(host="api.example", port=8443, ssl=True, is_ssl=True)
    return kind(key, cause)


@pytest.mark.parametrize(
    ("raised", "kind", "failure", "words"),
    [
        (
            connector_error(aiohttp.ClientConnectorError, OSError(errno.ECONNREFUSED, "Connection refused")),
            UpstreamError,
            Failure.NOT_SENT,
            "cannot connect to api.example:8443: Connection refused",
        ),
        (
            connector_error(aiohttp.ClientConnectorDNSError, OSError(-2, "Name or service not known")),
            UpstreamError,
            Failure.NOT_SENT,
            "Name or service not known",
        ),
        (aiohttp.ConnectionTimeoutError("x"), UpstreamTimeout, Failure.NOT_SENT, "api.example:8443 within 3 s"),
        (aiohttp.SocketTimeoutError("x"), UpstreamTimeout, Failure.UNKNOWN, "api.example:8443 was silent for 7 s"),
        (aiohttp.ServerDisconnectedError(), UpstreamError, Failure.UNKNOWN, "closed the connection without an answer"),
        (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), UpstreamError, Failure.UNKNOWN, "closed the connection"),
    ],
)
async def test_failures_before_the_answer(
    transport: ClientTransport, raised: Exception, kind: type[UpstreamError], failure: Failure, words: str
) -> None:
    timeouts = Timeouts(connect_timeout=3, first_byte_timeout=7)
    with aioresponses() as mocked:
        mocked.post("http://api.example:8443/v1/x", exception=raised)
        with pytest.raises(kind) as caught:
            await transport.send("POST", ORIGIN, "/v1/x", CIMultiDict(), Body(b"{}"), timeouts)
    assert caught.value.failure is failure
    assert words in caught.value.message
    assert (caught.value.headers.get("x-should-retry") == "false") is (failure is Failure.UNKNOWN)


async def test_status_headers_and_body_come_through(transport: ClientTransport) -> None:
    with aioresponses() as mocked:
        mocked.get("http://api.example:8443/v1/x", status=418, body=b"tea", headers={"X-A": "1"})
        answer = await transport.send("GET", ORIGIN, "/v1/x", CIMultiDict(), Body(), Timeouts())
        assert (answer.status, answer.fields["X-A"]) == (418, "1")
        assert b"".join([bytes(chunk) async for chunk in answer.chunks]) == b"tea"


def request(target: str, **headers: str) -> Request:
    return Request(exchange=Exchange(), method="GET", target=target, headers=CIMultiDict(headers), body=Body())


ROUTES = {"/v1": Route(upstream=URL("https://one.example")), "/v1/images/": Route(upstream=URL("https://two.example/api"))}


@pytest.mark.parametrize(
    ("target", "origin", "sent"),
    [
        ("/v1", "https://one.example", "/v1"),
        ("/v1/chat?a=%2F", "https://one.example", "/v1/chat?a=%2F"),
        ("/v1/images/x", "https://two.example", "/api/x"),
        ("/v1/images", "https://two.example", "/api"),
    ],
)
def test_the_longest_prefix_decides(target: str, origin: str, sent: str) -> None:
    asked = request(target)
    pool = Routes(ROUTES).match(asked.path)
    (found,) = pool.candidates()
    assert (found.origin, target_on(pool, found, asked)) == (URL(origin), sent)


@pytest.mark.parametrize("target", ["/", "/v2", "/v1x", "/V1/x"])
def test_what_no_route_takes_is_not_found(target: str) -> None:
    with pytest.raises(NotFound):
        Routes(ROUTES).match(target)

