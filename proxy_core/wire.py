"""A client's connection: the request read from it, and the answer written to it."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import aclosing
from typing import Any

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_writer import StreamWriter
from multidict import CIMultiDict, CIMultiDictProxy

from .chain import answer
from .config import Limits
from .errors import BodyTimeout, ClientError, ProxyError, TooLarge
from .http1 import HOST
from .message import Body, Data, Exchange, Request, Response, Tunnel
from .protocol import HttpServer
from .tunnel import Line, relay


def receive(http: web.BaseRequest, exchange: Exchange, limits: Limits) -> Request:
    """A Request whose body is still on its way."""
    target, headers = http.raw_path, http.headers
    if "#" in target:  # no part of a request: some servers would cut it off, and some would not
        raise ClientError("the request target has a fragment", code="invalid_path")
    if not target.startswith("/"):
        authority, target = _absolute(target)
        changed = CIMultiDict(headers)
        changed["Host"] = authority
        headers = CIMultiDictProxy(changed)
    body = Body()
    if http.body_exists:
        length = http.headers.get("Content-Length")
        size = int(length) if length is not None else None  # digits: else it is `unclear`
        if size is not None and size > limits.body:
            raise TooLarge(f"the body has {size} bytes; the limit is {limits.body} (proxy.limits.body)")
        if size != 0:
            body = Body.stream(_Incoming(http, exchange, limits), size)
    return Request(exchange=exchange, method=http.method, target=target, headers=headers, body=body)


_ABSOLUTE = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://([^/?]*)(.*)", re.DOTALL)


def _absolute(target: str) -> tuple[str, str]:
    """(authority, path and query) of what a client sends to a forward proxy; Host then counts for nothing, RFC 9112 3.2.2."""
    found = _ABSOLUTE.fullmatch(target)
    if found is None or HOST.fullmatch(found[1]) is None:
        raise ClientError("the request target is not a path", code="invalid_path")
    return found[1], found[2] if found[2].startswith("/") else f"/{found[2]}"


class _Incoming:
    """A client's body as Chunks."""

    __slots__ = ("_content", "_exchange", "_expects", "_http", "_limits")

    def __init__(self, http: web.BaseRequest, exchange: Exchange, limits: Limits) -> None:
        self._http = http
        self._content = http.content
        self._exchange = exchange
        self._limits = limits
        self._expects = "Expect" in http.headers

    def __aiter__(self) -> _Incoming:
        return self

    async def __anext__(self) -> Data:
        if self._expects:
            await self._continue()
        try:
            # What is here already is taken without a timer; a small request's body came with its head.
            chunk = self._content.read_nowait()
            if not chunk and not self._content.at_eof():
                async with asyncio.timeout(self._limits.body_timeout):
                    chunk = await self._content.readany()
        except TimeoutError:
            raise BodyTimeout(f"no byte of the body came for {self._limits.body_timeout:g} s") from None
        except (web.RequestPayloadError, HttpProcessingError) as error:
            raise ClientError(f"the body is not valid HTTP: {error}", code="invalid_body") from None
        if not chunk:
            raise StopAsyncIteration
        exchange = self._exchange
        exchange.received += len(chunk)
        exchange.body = time.monotonic() - exchange.started
        if exchange.received > self._limits.body:
            raise TooLarge(f"the body is longer than the limit of {self._limits.body} bytes (proxy.limits.body)")
        return chunk

    async def _continue(self) -> None:
        self._expects = False
        if self._http.headers["Expect"].lower() == "100-continue" and self._http.version >= (1, 1):
            await self._http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._http.writer.output_size = 0  # an interim answer is not part of the final one

    async def aclose(self) -> None:
        """Nothing is held: aiohttp reads on, or closes."""


_SMALL = 64 * 1024  # bytes of an answer whose head waits for its first chunk


class _Small(web.StreamResponse):
    """Its head and body leave in one write: as large a part of a small answer's cost as its parsing."""

    _send_headers_immediately = False


class Writer:
    """Writes one Response to one client."""

    def __init__(self, request: web.BaseRequest, exchange: Exchange, server: HttpServer) -> None:
        self._request = request
        self._exchange = exchange
        self._server = server
        self.http: web.StreamResponse
        self.status = 0

    async def send(self, response: Response) -> str | None:
        """Returns None, or why the answer was cut. The client's own leaving raises."""
        if response.status == 101 and response.tunnel is not None:
            return await self._upgrade(response, response.tunnel)
        async with aclosing(response.body.chunks()) as chunks:
            self.http = self._head(response)
            await self.http.prepare(self._request)
            self.status = response.status
            if self._request.method == "HEAD" or response.status in (204, 304):
                await response.body.aclose()
                await self.http.write_eof()
                return None
            try:
                async for chunk in chunks:
                    await self.http.write(chunk)
                    self._exchange.sent += len(chunk)
            except ProxyError as error:
                await self._cut(response, error)
                return error.message
            except ConnectionError:
                raise
            except Exception as error:  # noqa: BLE001  # the head is out: all that is left is to cut, and to say why
                shaped = answer(error, self._exchange.id)
                await self._cut(response, None)
                return f"internal error while answering {shaped.status}"
        await self.http.write_eof()
        return None

    async def _upgrade(self, response: Response, upstream: Tunnel) -> str | None:
        headers = CIMultiDict(response.headers)
        headers.update({"Connection": "Upgrade", "Upgrade": "websocket"})
        headers["X-Request-ID"] = self._exchange.id
        self.http = web.StreamResponse(status=101, headers=headers)
        await self.http.prepare(self._request)
        self.status = 101
        protocol: Any = self._request.protocol
        client = Line(protocol, StreamWriter(protocol, asyncio.get_running_loop()).drain)
        protocol.set_parser(client)
        self._exchange.received, self._exchange.sent = await relay(client, upstream)
        self.http.force_close()
        return None

    def _head(self, response: Response) -> web.StreamResponse:
        small = response.body.size is not None and response.body.size <= _SMALL
        http = (_Small if small else web.StreamResponse)(status=response.status, headers=response.headers)
        headers = http.headers
        if response.body.size is not None:
            headers["Content-Length"] = str(response.body.size)
        elif self._request.method != "HEAD" and response.status not in (204, 304):
            headers.popall("Content-Length", None)
        if "X-Request-ID" in headers:
            # Ours is what the log knows; the upstream's is kept beside it.
            headers["X-Upstream-Request-ID"] = headers["X-Request-ID"]
        headers["X-Request-ID"] = self._exchange.id
        headers.setdefault("Server", "darkroom")
        if self._server.ending or (self._request.version < (1, 1) and response.body.size is None):
            http.force_close()
        return http

    async def _cut(self, response: Response, error: ProxyError | None) -> None:
        """End the connection so that what was sent cannot be taken for the whole."""
        transport = self._request.transport
        if transport is None:
            return
        if error is not None and response.headers.get("Content-Type", "").startswith("text/event-stream"):
            # Both OpenAI SDKs raise on a frame with an `error` object; before it, an empty line ends a half-sent event.


            await self.http.write(b"\n\ndata: " + orjson.dumps(error.body()) + b"\n\n")
        # Closing leaves the chunk that ends a chunked body, or the rest of a counted one, unsent.
        self.http.force_close()
        if self._request.version < (1, 1):
            transport.abort()  # HTTP/1.0 has no other mark of a cut than a reset
        else:
            transport.close()
