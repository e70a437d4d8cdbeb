"""The endpoint: where a request leaves for its upstream. The only room that knows the HTTP client."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from .config import Route, Timeouts
from .errors import Failure, ProxyError, UpstreamError, UpstreamTimeout
from .message import Body, Data, Request, Response, Tunnel, end_to_end, upgrades
from .routes import RoutePool, Routes, Target, set_credentials, set_forwarded, target_on
from .tunnel import Line

# RFC 9110 9.2.2: asking twice does what asking once does.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An upstream's answer whose head is here and whose body is still on its way."""

    status: int
    fields: CIMultiDictProxy[str]
    chunks: AsyncGenerator[Data, None]
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
                again = request.method in _IDEMPOTENT and request.body.in_hand
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


class ClientTransport:
    """The seam over `aiohttp.ClientSession`: no redirects followed, no cookies kept, no proxy read from the environment."""

    async def __aenter__(self) -> ClientTransport:
        self._session = aiohttp.ClientSession(
            # The default connector allows 100 connections in all: 150 open streams would starve every other request.
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            read_bufsize=256 * 1024,
            max_line_size=64 * 1024,
            max_field_size=64 * 1024,
        )
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self._session.close()

    async def send(
        self, method: str, origin: URL, target: str, fields: CIMultiDict[str], body: Body, timeouts: Timeouts
    ) -> Answer:
        failed: list[Exception] = []  # what the request's own body raised: the client's fault, not the upstream's
        clock = _Clock(timeouts)
        payload: AsyncGenerator[bytes, None] | None = None
        fields.popall("Content-Length", None)
        if not body.in_hand or body.size:
            payload = _payload(body, failed, clock)
            if body.size is not None:
                fields["Content-Length"] = str(body.size)
        elif method in ("POST", "PUT", "PATCH"):
            fields["Content-Length"] = "0"
        started = time.monotonic()
        try:
            async with clock.running(sending=payload is not None):
                response = await self._session.request(
                    method,
                    # The whole target as "path", already encoded: parsed apart, an empty query would lose its mark.
                    URL.build(scheme=origin.scheme, host=origin.raw_host or "", port=origin.port, path=target, encoded=True),
                    headers=fields,
                    data=payload,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect_timeout),
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if failed:
                raise failed[0] from None
            raise _shaped(error, origin, timeouts, clock) from error
        streams = response.headers.get("Content-Type", "").startswith("text/event-stream")
        deadline = started + timeouts.total_timeout if timeouts.total_timeout and not streams else None
        return Answer(
            status=response.status,
            fields=response.headers,
            chunks=_chunks(response, origin, timeouts, failed, deadline),
            close=response.close,
            tunnel=_tunnel(response) if response.status == 101 else None,
        )


def _tunnel(response: aiohttp.ClientResponse) -> Tunnel:
    connection = response.connection
    if connection is None or connection.protocol is None:
        raise UpstreamError("the upstream left after it agreed to upgrade", failure=Failure.UNKNOWN, code="upstream_cut")
    line = Line(connection.protocol)
    connection.protocol.set_parser(line, line)
    return line


class _Clock:
    """Bounds each phase of a request: a write to the upstream, then the wait for its head. Waiting for the client's own next
    bytes is not the upstream's time, and is bounded by the server."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._timer: asyncio.Timeout | None = None
        self.sent = False

    @contextlib.asynccontextmanager
    async def running(self, *, sending: bool) -> AsyncIterator[None]:
        async with asyncio.timeout(None) as self._timer:
            try:
                if not sending:
                    # The connection has a limit of its own; until it stands, nothing is owed.
                    self._set(self._timeouts.connect_timeout + self._timeouts.first_byte_timeout)
                yield
            finally:
                self._timer = None

    def wrote(self) -> None:
        """A chunk has been taken; the client's next one is awaited."""
        self._set(None)

    def writes(self) -> None:
        self._set(self._timeouts.read_timeout)

    def done(self) -> None:
        self.sent = True
        self._set(self._timeouts.first_byte_timeout)

    def _set(self, seconds: float | None) -> None:
        if self._timer is not None and not self._timer.expired():
            self._timer.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)


async def _payload(body: Body, failed: list[Exception], clock: _Clock) -> AsyncGenerator[bytes, None]:
    try:
        async with contextlib.aclosing(body.chunks()) as chunks:
            async for chunk in chunks:
                clock.writes()
                # aiohttp's writer takes any bytes-like object; its annotation names only one.
                yield chunk  # type: ignore[misc]
                clock.wrote()
        clock.done()
    except Exception as error:
        failed.append(error)
        raise


async def _chunks(
    response: aiohttp.ClientResponse, origin: URL, timeouts: Timeouts, failed: list[Exception], deadline: float | None
) -> AsyncGenerator[Data, None]:
    loop = asyncio.get_running_loop()
    late = False
    try:
        while True:
            wait = timeouts.read_timeout
            if deadline is not None and (left := deadline - time.monotonic()) < wait:
                late, wait = True, left
            async with asyncio.timeout_at(loop.time() + wait):
                chunk = await response.content.readany()
            if not chunk:
                return
            yield chunk
    except TimeoutError as error:
        if late:
            who = f"{origin.host}:{origin.port}"
            raise UpstreamTimeout(f"{who} took longer than {timeouts.total_timeout:g} s", failure=Failure.UNKNOWN) from error
        raise _shaped(error, origin, timeouts) from error
    except (aiohttp.ClientError, OSError) as error:
        if failed:
            raise failed[0] from None
        raise _shaped(error, origin, timeouts, begun=True) from error
    finally:
        response.close()  # a response read to its end has given its connection back already


def _shaped(
    error: Exception, origin: URL, timeouts: Timeouts, clock: _Clock | None = None, *, begun: bool = False
) -> ProxyError:
    """What the HTTP client raised, in our words. Only a connection that never stood is known to have sent nothing."""
    who = f"{origin.host}:{origin.port}"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return UpstreamTimeout(f"no connection to {who} within {timeouts.connect_timeout:g} s", failure=Failure.NOT_SENT)
    if isinstance(error, aiohttp.ClientConnectorError):
        return UpstreamError(
            f"cannot connect to {who}: {_reason(error)}", failure=Failure.NOT_SENT, code="upstream_unreachable"
        )
    if isinstance(error, TimeoutError):
        waited = timeouts.first_byte_timeout if clock is not None else timeouts.read_timeout
        return UpstreamTimeout(f"{who} was silent for {waited:g} s", failure=Failure.UNKNOWN)
    if begun:
        return UpstreamError(f"{who} cut its answer", failure=Failure.UNKNOWN, code="upstream_cut")
    if isinstance(error, aiohttp.ClientResponseError):
        return UpstreamError(
            f"{who} answered with something that is not HTTP", failure=Failure.UNKNOWN, code="invalid_upstream_reply"
        )
    return UpstreamError(f"{who} closed the connection without an answer", failure=Failure.UNKNOWN, code="upstream_cut")


def _reason(error: aiohttp.ClientConnectorError) -> str:
    cause = error.os_error
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {cause.reason or cause}"
    return cause.strerror or str(cause) or type(cause).__name__
