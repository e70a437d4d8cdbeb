"""The endpoint: where a request leaves for its upstream, chosen by route."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from .config import Route, Timeouts
from .errors import Failure, UpstreamError
from .message import Body, Chunks, Request, Response, Tunnel, end_to_end, upgrades
from .routes import RoutePool, Routes, Target, set_credentials, set_forwarded, target_on

# RFC 9110 9.2.2: asking twice does what asking once does.
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An upstream's answer whose head is here and whose body is still on its way."""

    status: int
    fields: CIMultiDictProxy[str]
    chunks: Chunks
    close: Callable[[], None]  # drops the connection unless the body was read to its end; may be called again
    tunnel: Tunnel | None = None  # of a 101


class Transport(Protocol):
    """The seam to the HTTP client. Errors are UpstreamError; `failure` says whether anything was sent."""

    async def send(
        self, method: str, origin: URL, target: str, fields: CIMultiDict[str], body: Body, timeouts: Timeouts
    ) -> Answer: ...

    async def __aenter__(self) -> Transport: ...

    async def __aexit__(self, *reason: object) -> None: ...


class Upstream:
    """Sends a request to the upstream whose turn it is, by its longest matching route; a plugin's call to its own origin."""

    def __init__(self, routes: Mapping[str, Route], transport: Transport, calls: Timeouts | None = None) -> None:
        self._transport = transport
        self._routes = Routes(routes)
        self._calls = calls or Timeouts()

    async def __call__(self, request: Request) -> Response:
        headers = end_to_end(request.headers)
        headers.popall("Host", None)
        headers.popall("Expect", None)  # answered by the server, hop by hop
        if request.method == "GET" and upgrades(request.headers):
            headers.update({"Connection": "Upgrade", "Upgrade": "websocket"})  # asked hop by hop, and so asked again
        if request.origin is not None:
            answer = await self._send(request, request.origin, request.target, headers, self._calls)
            return _response(request, answer, answer.close)
        pool = self._routes.match(request.path)
        set_credentials(headers, pool.route)
        if pool.route.forwarded:
            set_forwarded(headers, request)
        return await self._turns(request, pool, headers)

    async def _turns(self, request: Request, pool: RoutePool, headers: CIMultiDict[str]) -> Response:
        """Ask the upstreams by turns. The next one is asked only where that is provably safe."""
        last: UpstreamError | None = None
        left = pool.candidates()
        while (target := await pool.enter(left, wait=last is None)) is not None:
            try:
                answer = await self._send(request, target.origin, target_on(pool, target, request), headers.copy(), pool.route)
            except BaseException as error:
                target.leave()
                if not isinstance(error, UpstreamError):
                    raise
                pool.failed(target)
                last = error
                again = request.method in IDEMPOTENT and request.body.in_hand
                if error.failure is not Failure.NOT_SENT and not again:
                    raise
            else:
                pool.worked(target)
                return _response(request, answer, _leaving(target, answer))
        assert last is not None  # noqa: S101  # one is entered at least, or that none was free is raised
        raise last

    async def _send(
        self, request: Request, origin: URL, target: str, headers: CIMultiDict[str], timeouts: Timeouts
    ) -> Answer:
        begun = time.monotonic()
        try:
            return await self._transport.send(request.method, origin, target, headers, request.body, timeouts)
        finally:
            request.exchange.upstream += time.monotonic() - begun


def _leaving(target: Target, answer: Answer) -> Callable[[], None]:
    """`answer.close`, and once, however often it is called, out of the target's gate."""
    inside = True

    def close() -> None:
        nonlocal inside
        answer.close()
        if inside:
            inside = False
            target.leave()

    return close


def _response(request: Request, answer: Answer, close: Callable[[], None]) -> Response:
    # A middleware may drop a response without reading it: the end of the exchange closes it all the same.
    request.exchange.on_end(lambda ended: close())
    size = _length(answer.fields) if request.method != "HEAD" else None
    body = Body.stream(answer.chunks, size, close)
    return Response(status=answer.status, headers=end_to_end(answer.fields), body=body, tunnel=answer.tunnel)


def _length(fields: CIMultiDictProxy[str]) -> int | None:
    value = fields.get("Content-Length", "")
    return int(value) if value.isascii() and value.isdigit() and "Transfer-Encoding" not in fields else None
