"""The server: a config come alive (Stage), and each request received, handled and sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, aclosing
from typing import Any

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from .chain import answer, compose
from .config import Limits, split_listen
from .errors import BodyTimeout, ClientError, Overloaded, ProxyError, TooLarge
from .loader import Loaded, call
from .message import Body, Data, Exchange, Memory, Request, Response, Tunnel
from .protocol import HttpServer
from .state import State
from .tunnel import Line, relay
from .upstream import ClientTransport, Transport, Upstream

log = logging.getLogger("darkroom")


class Stage:
    """One config come alive: its plugins' lifespans are open, its middlewares folded into `handler`."""

    def __init__(self, loaded: Loaded, state: State, transport: Transport) -> None:
        self.loaded = loaded
        self._state = state
        self._transport = transport
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Stage:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._transport)
            for _, lifespan in self.loaded.having("proxy_lifespan"):
                await stack.enter_async_context(call(lifespan, state=self._state))
            middlewares = [(name, call(make)) for name, make in self.loaded.having("proxy_middleware")]
            self.handler = compose(
                [(name, made) for name, made in middlewares if made is not None],
                Upstream(self.loaded.config.proxy.routes, self._transport, self.loaded.config.proxy.calls),
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self._stack.aclose()


class Server:
    """Sockets, memory and state: what outlives a Stage.

    Used as an async context manager; `url` is where it listens.
    """

    def __init__(self, loaded: Loaded, *, listen: str | None = None, transport: Transport | None = None) -> None:
        proxy = loaded.config.proxy
        self._host, self._port = split_listen(listen or proxy.listen)
        self._limits: Limits = proxy.limits
        self.memory = Memory(proxy.limits.memory, proxy.limits.memory_wait)
        self._serving = 0
        self._background: set[asyncio.Future[object]] = set()
        self._stage = Stage(loaded, State(proxy.state_dir), transport or ClientTransport())
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Server:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._stage)
            stack.push_async_callback(self._drain)
            runner = web.ServerRunner(HttpServer(self.handle, self._limits), shutdown_timeout=self._limits.drain)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, self._host, self._port).start()
            port = runner.addresses[0][1]
            self.url = URL.build(scheme="http", host=self._host, port=port)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self._stack.aclose()

    async def _drain(self) -> None:
        while self._background:
            await asyncio.gather(*self._background, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, object]) -> object:
        task: asyncio.Future[object] = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Future[object]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("background work failed", exc_info=task.exception())

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """One exchange, from the head of the request to the last byte of the answer."""
        exchange = Exchange(
            method=http.method,
            target=http.raw_path,
            client=http.remote or "",
            asked_id=http.headers.get("X-Request-ID"),
            memory=self.memory.lease(),
            spawn=self._spawn,
        )
        writer = _Writer(http, exchange)
        error: str | None = None
        self._serving += 1
        try:
            response = await self._respond(http, exchange)
            error = f"answered {response.status}" if response.status >= 400 else None
            cut = await writer.send(response)
            error = cut or error
        except (ConnectionError, asyncio.CancelledError):
            error = "the client left"
            raise
        finally:
            self._serving -= 1
            for fault in exchange.end(status=writer.status, error=error):
                log.error("an on_end callback failed", exc_info=fault, extra={"request_id": exchange.id})
        return writer.http

    async def _respond(self, http: web.BaseRequest, exchange: Exchange) -> Response:
        try:
            if self._serving > self._limits.requests:
                raise Overloaded("the proxy serves as many requests as it may (proxy.limits.requests); try again soon")
            return await self._stage.handler(receive(http, exchange, self._limits))
        except Exception as error:  # noqa: BLE001  # this is where everything becomes an answer
            return answer(error, exchange.id)


def receive(http: web.BaseRequest, exchange: Exchange, limits: Limits) -> Request:
    """A Request whose body is still on its way."""
    target = http.raw_path
    if "://" in target.partition("?")[0]:  # absolute-form, RFC 9112 3.2.2: what a client sends to a forward proxy
        url = URL(target, encoded=True)
        target = url.raw_path_qs
    elif not target.startswith("/"):
        raise ClientError("the request target is not a path", code="invalid_path")
    body = Body()
    if http.body_exists:
        length = http.headers.get("Content-Length")
        size = int(length) if length is not None and length.isdigit() else None
        if size is not None and size > limits.body:
            raise TooLarge(f"the body has {size} bytes; the limit is {limits.body} (proxy.limits.body)")
        if size != 0:
            body = Body.stream(_incoming(http, exchange, limits), size)
    return Request(exchange=exchange, method=http.method, target=target, headers=http.headers, body=body)


async def _incoming(http: web.BaseRequest, exchange: Exchange, limits: Limits) -> AsyncGenerator[Data, None]:
    if http.headers.get("Expect", "").lower() == "100-continue":
        await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        http.writer.output_size = 0  # an interim answer is not part of the final one
    while True:
        try:
            async with asyncio.timeout(limits.body_timeout):
                chunk = await http.content.readany()
        except TimeoutError:
            raise BodyTimeout(f"no byte of the body came for {limits.body_timeout:g} s") from None
        except (web.RequestPayloadError, HttpProcessingError) as error:
            raise ClientError(f"the body is not valid HTTP: {error}", code="invalid_body") from None
        if not chunk:
            return
        exchange.received += len(chunk)
        if exchange.received > limits.body:
            raise TooLarge(f"the body is longer than the limit of {limits.body} bytes (proxy.limits.body)")
        yield chunk


class _Writer:
    """Writes one Response to one client."""

    def __init__(self, request: web.BaseRequest, exchange: Exchange) -> None:
        self._request = request
        self._exchange = exchange
        self.http: web.StreamResponse = web.StreamResponse()
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
        headers = CIMultiDict({**response.headers, "Connection": "Upgrade", "Upgrade": "websocket"})
        headers["X-Request-ID"] = self._exchange.id
        self.http = web.StreamResponse(status=101, headers=headers)
        await self.http.prepare(self._request)
        self.status = 101
        protocol: Any = self._request.protocol
        client = Line(protocol)
        protocol.set_parser(client)
        self._exchange.received, self._exchange.sent = await relay(client, upstream)
        self.http.force_close()
        return None

    def _head(self, response: Response) -> web.StreamResponse:
        headers = CIMultiDict(response.headers)
        if response.body.size is not None:
            headers["Content-Length"] = str(response.body.size)
        elif self._request.method != "HEAD" and response.status not in (204, 304):
            headers.popall("Content-Length", None)
        if "X-Request-ID" in headers:
            # Ours is what the log knows; the upstream's is kept beside it.
            headers["X-Upstream-Request-ID"] = headers["X-Request-ID"]
        headers["X-Request-ID"] = self._exchange.id
        headers.setdefault("Server", "darkroom")
        http = web.StreamResponse(status=response.status, headers=headers)
        if self._request.version < (1, 1) and response.body.size is None:
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
