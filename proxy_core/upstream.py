"""The endpoint: where a request leaves for its upstream. The only room that knows the HTTP client."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from .config import Route
from .errors import ClientError, Failure, NotFound, ProxyError, UpstreamError, UpstreamTimeout
from .message import Body, Data, Request, Response, end_to_end


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds."""

    connect: float = 10.0
    read: float = 600.0  # until the answer's head, and between two reads of its body


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An upstream's answer whose head is here and whose body is still on its way."""

    status: int
    fields: CIMultiDictProxy[str]
    chunks: AsyncGenerator[Data, None]
    close: Callable[[], Awaitable[None]]  # drops the connection unless the body was read to its end


class Transport(Protocol):
    """The seam to the HTTP client. Errors are UpstreamError; `failure` says whether anything was sent."""

    async def send(
        self, method: str, origin: URL, target: str, fields: CIMultiDict[str], body: Body, timeouts: Timeouts
    ) -> Answer: ...

    async def __aenter__(self) -> Transport: ...

    async def __aexit__(self, *reason: object) -> None: ...


class Upstream:
    """Resolves a request by its longest matching route, and sends it."""

    def __init__(self, routes: Mapping[str, Route], transport: Transport) -> None:
        self._transport = transport
        # Longest prefix first, so that the first match is the one.
        self._routes = sorted(routes.items(), key=lambda item: len(item[0]), reverse=True)

    async def __call__(self, request: Request) -> Response:
        origin, target, headers, timeouts = self.resolve(request)
        begun = time.monotonic()
        try:
            answer = await self._transport.send(request.method, origin, target, headers, request.body, timeouts)
        finally:
            request.exchange.upstream += time.monotonic() - begun
        size = _length(answer.fields) if request.method != "HEAD" else None
        return Response(
            status=answer.status,
            headers=end_to_end(answer.fields),
            body=Body.stream(answer.chunks, size),
        )

    def resolve(self, request: Request) -> tuple[URL, str, CIMultiDict[str], Timeouts]:
        """Where a request goes: origin, target, and the headers that may go there. Raises NotFound, ClientError."""
        headers = end_to_end(request.headers)
        headers.popall("Host", None)
        headers.popall("Expect", None)  # answered by the server, hop by hop
        if request.origin is not None:
            return request.origin, request.target, headers, Timeouts()
        prefix, route = self._match(request.path)
        base = route.upstream.raw_path.rstrip("/")
        # As in nginx: an upstream with a path puts it in the prefix's place; one without leaves the target as it came.
        target = base + request.target[len(prefix.rstrip("/")) :] if base else request.target
        _set_credentials(headers, route)
        timeouts = Timeouts(connect=route.connect_timeout, read=route.read_timeout)
        return route.upstream.origin(), target, headers, timeouts

    def _match(self, path: str) -> tuple[str, Route]:
        for prefix, route in self._routes:
            bare = prefix.rstrip("/")
            if path == bare or path.startswith(bare + "/"):
                if _leaves(path[len(bare) :]):
                    raise ClientError(f"the path's dot segments lead out of {prefix}", code="invalid_path")
                return prefix, route
        raise NotFound(f"nothing is served at {path[:200]}: no plugin takes this path, and no route leads on (proxy.routes)")


def _leaves(rest: str) -> bool:
    """Whether a server behind could read `rest` as leading out of its start, plain, percent-encoded, even twice, or with
    backslashes. What goes on is the path as it came, so what is meant must be beyond doubt."""
    for _ in range(3):
        depth = 0
        for segment in rest.replace("\\", "/").split("/"):
            name = segment.partition(";")[0]
            depth += -1 if name == ".." else 0 if name in ("", ".") else 1
            if depth < 0:
                return True
        if "%" not in rest:
            return False
        rest = unquote(rest)
    return False


def _set_credentials(headers: CIMultiDict[str], route: Route) -> None:
    whose = route.credentials or ("api_key" if route.api_key else "client")
    if whose == "client":
        return
    for name in ("Authorization", "api-key", "x-api-key", route.api_key_header):
        headers.popall(name, None)
    if whose == "api_key" and route.api_key is not None:
        bearer = route.api_key_header.lower() == "authorization"
        headers.update(route.api_key.bearer() if bearer else {route.api_key_header: route.api_key.reveal()})


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
        payload: AsyncGenerator[bytes, None] | None = None
        empty = body.in_hand and body.size == 0
        fields.popall("Content-Length", None)
        if not empty:
            payload = _payload(body, failed)
            if body.size is not None:
                fields["Content-Length"] = str(body.size)
        elif method in ("POST", "PUT", "PATCH"):
            fields["Content-Length"] = "0"
        try:
            response = await self._session.request(
                method,
                # The whole target as "path", already encoded: parsed apart, an empty query would lose its mark.
                URL.build(scheme=origin.scheme, host=origin.raw_host or "", port=origin.port, path=target, encoded=True),
                headers=fields,
                data=payload,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect, sock_read=timeouts.read),
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if failed:
                raise failed[0] from None
            raise _shaped(error, origin, timeouts) from error
        return Answer(
            status=response.status,
            fields=response.headers,
            chunks=_chunks(response, origin, timeouts, failed),
            close=_closer(response),
        )


async def _payload(body: Body, failed: list[Exception]) -> AsyncGenerator[bytes, None]:
    try:
        async with contextlib.aclosing(body.chunks()) as chunks:
            async for chunk in chunks:
                # aiohttp's writer takes any bytes-like object; its annotation names only one.
                yield chunk  # type: ignore[misc]
    except Exception as error:
        failed.append(error)
        raise


async def _chunks(
    response: aiohttp.ClientResponse, origin: URL, timeouts: Timeouts, failed: list[Exception]
) -> AsyncGenerator[Data, None]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        if failed:
            raise failed[0] from None
        raise _shaped(error, origin, timeouts, begun=True) from error
    finally:
        response.close()  # a response read to its end has given its connection back already


def _closer(response: aiohttp.ClientResponse) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        response.close()

    return close


def _shaped(error: Exception, origin: URL, timeouts: Timeouts, *, begun: bool = False) -> ProxyError:
    """What the HTTP client raised, in our words. Only a connection that never stood is known to have sent nothing."""
    who = f"{origin.host}:{origin.port}"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return UpstreamTimeout(f"no connection to {who} within {timeouts.connect:g} s", failure=Failure.NOT_SENT)
    if isinstance(error, aiohttp.ClientConnectorError):
        return UpstreamError(
            f"cannot connect to {who}: {_reason(error)}", failure=Failure.NOT_SENT, code="upstream_unreachable"
        )
    if isinstance(error, TimeoutError):
        return UpstreamTimeout(f"{who} was silent for {timeouts.read:g} s", failure=Failure.UNKNOWN)
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

