"""The server: what outlives a config. It listens, hands each request to the stage of the day, drains and reloads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, nullcontext
from typing import Any

import orjson
from aiohttp import web
from yarl import URL

from .chain import answer
from .client import HttpTransport
from .config import Limits, Tls
from .errors import ConfigError, Fault, Overloaded
from .listen import BACKLOG, Address, address_of, bound
from .loader import Loaded
from .message import Exchange, Memory, Response
from .protocol import HttpServer
from .stage import Stage
from .state import State
from .upstream import Transport
from .wire import Writer, receive

log = logging.getLogger("darkroom")

# Asked by whoever watches the process; answered before any plugin, and not counted or logged as a request.
HEALTH = frozenset({"/healthz", "/readyz"})

IDLE_GRACE = 1.0  # seconds after an answer in which a client may already be sending its next request


class Server:
    """Sockets, memory and state: what outlives a Stage.

    Used as an async context manager. It listens on `sockets`, which stay the caller's, or on sockets of its own at `listen`,
    else where the config says.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        sockets: Sequence[socket.socket] | None = None,
        listen: str | None = None,
        transport: Callable[[], Transport] = HttpTransport,
    ) -> None:
        proxy = loaded.config.proxy
        self.memory = Memory(proxy.limits.memory, proxy.limits.memory_wait)
        self._given = sockets
        self._addresses = loaded.config.addresses(listen)
        self._mode = proxy.socket_mode
        self._context: ssl.SSLContext | None = None
        self._state = State(proxy.state_dir)
        self._transport = transport
        self._serving = 0
        self._background: set[asyncio.Future[object]] = set()
        self._retiring: set[asyncio.Future[None]] = set()
        self._adopting: set[asyncio.Future[object]] = set()
        self._stage = self._staged(loaded)
        self._listening: list[asyncio.Server] = []
        self._stack = AsyncExitStack()

    @property
    def loaded(self) -> Loaded:
        return self._stage.loaded

    @property
    def draining(self) -> bool:
        """Whether it is stopping: `/readyz` is red, and nothing new is taken."""
        return self._http.ending

    @property
    def addresses(self) -> list[Address]:
        """Where it listens, with the real ports."""
        return [address_of(one) for one in self._sockets]

    @property
    def url(self) -> URL:
        """Of the first TCP address."""
        first = next(address for address in self.addresses if address.path is None)
        return URL.build(scheme="https" if self._context else "http", host=first.host, port=first.port)

    async def __aenter__(self) -> Server:
        async with AsyncExitStack() as stack:
            own = bound(self._addresses, self._mode) if self._given is None else nullcontext(list(self._given))
            self._sockets = stack.enter_context(own)
            self._http = HttpServer(self.handle, self._stage.limits)
            self._context = _context(self.loaded.config.proxy.tls)
            await self._stage.start()
            stack.push_async_callback(self._end)
            self._listening = await self._listen(self._context, self._stage.limits)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self._stack.aclose()

    async def _listen(self, context: ssl.SSLContext | None, limits: Limits) -> list[asyncio.Server]:
        """Accept on every socket. On copies, so that what accepts can be replaced while connections go on waiting."""
        loop = asyncio.get_running_loop()
        listening: list[asyncio.Server] = []
        for one in self._sockets:
            options: dict[str, Any] = {"sock": one.dup(), "backlog": BACKLOG}
            if one.family == socket.AF_UNIX:
                if sys.version_info >= (3, 13):
                    options["cleanup_socket"] = False  # the file belongs to who bound it
                listening.append(await loop.create_unix_server(self._http, **options))
                continue
            if context is not None:
                options |= {"ssl": context, "ssl_handshake_timeout": limits.head_timeout}
            listening.append(await loop.create_server(self._http, **options))
        return listening

    async def reload(self, loaded: Loaded) -> None:
        """Serve by another config from the next request on; those in flight end by the one they began with.

        Raises what a lifespan or the TLS files raise; the present config then stays. `listen`, `socket_mode` and `state_dir`
        are not looked at: they belong to the process.
        """
        proxy = loaded.config.proxy
        context = _context(proxy.tls)
        stage = self._staged(loaded)
        await stage.start()
        if context is not None or self._context is not None:
            try:
                listening = await self._listen(context, proxy.limits)
                await self._stop_listening()
            except BaseException:
                await stage.retire()
                raise
            self._listening, self._context = listening, context
        self._stage, old = stage, self._stage
        self._http.bound(proxy.limits)
        self.memory.bound(proxy.limits.memory, proxy.limits.memory_wait)
        self._retire(old)

    def _retire(self, stage: Stage) -> None:
        retiring = asyncio.ensure_future(stage.retire())
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retired)

    def _retired(self, task: asyncio.Future[None]) -> None:
        self._retiring.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a plugin failed as it was closed", exc_info=task.exception())

    def _staged(self, loaded: Loaded) -> Stage:
        return Stage(loaded, self._state, self._transport(), self._background)

    async def _stop_listening(self) -> None:
        listening, self._listening = self._listening, []
        loop = asyncio.get_running_loop()
        if isinstance(loop, asyncio.SelectorEventLoop):
            # It accepts in one turn and makes the transport in the next, where it would fail, and drop the connection in
            # silence, if the server is closed in between.
            for one in listening:
                for accepting in one.sockets:
                    loop.remove_reader(accepting.fileno())
            await asyncio.sleep(0)
        for one in listening:
            one.close()

    async def drain(self, *, grace: float = IDLE_GRACE, delay: float | None = None) -> None:
        """Take nothing new, and let every request in flight end by itself, for `proxy.limits.drain` seconds.

        Readiness is red at once; new connections are still taken for `delay` seconds (`proxy.limits.shutdown_delay`). A
        connection is closed `grace` seconds after its last answer, or with the next one.
        """
        limits = self._stage.limits
        self._http.ending = True
        await asyncio.sleep(limits.shutdown_delay if delay is None else delay)
        try:
            async with asyncio.timeout(limits.drain):
                await self._take_waiting()
                await self._http.end_connections(grace)
                while self._background:
                    await asyncio.wait(self._background)
        except TimeoutError:
            left = self._http.count, len(self._background)
            log.warning("cut after %g s: %d connections and %d background works had not ended", limits.drain, *left)

    async def _take_waiting(self) -> None:
        """Stop listening. A connection that waits to be accepted stands already for its client; closing would reset it."""
        await self._stop_listening()
        for one in self._sockets:
            context = self._context if one.family != socket.AF_UNIX else None
            with contextlib.suppress(OSError):  # BlockingIOError: there are no more
                while True:
                    connection, _ = one.accept()
                    # Side by side: a TLS handshake that never ends must hold up nobody.
                    adopting: asyncio.Future[object] = asyncio.ensure_future(self._adopt(connection, context))
                    self._adopting.add(adopting)
                    adopting.add_done_callback(self._adopting.discard)
            one.close()
        await asyncio.sleep(0)  # so that all of them are known to be coming

    async def _adopt(self, connection: socket.socket, context: ssl.SSLContext | None) -> None:
        connection.setblocking(False)
        options: dict[str, Any] = {}
        if context is not None:
            options = {"ssl": context, "ssl_handshake_timeout": self._stage.limits.head_timeout}
        with contextlib.suppress(OSError):  # gone, or not TLS: as when accepted in the ordinary way
            await asyncio.get_running_loop().connect_accepted_socket(self._http, connection, **options)

    async def _end(self) -> None:
        if not self.draining:
            await self.drain(grace=0, delay=0)
        await self._stop_listening()
        await self._http.cut_connections()
        for task in self._background | self._adopting:
            task.cancel()
        self._retire(self._stage)
        await asyncio.gather(*self._background, *self._adopting, *self._retiring, return_exceptions=True)

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """One exchange, from the head of the request to the last byte of the answer."""
        if http.raw_path in HEALTH and http.method in ("GET", "HEAD"):
            return self._health(http)
        stage = self._stage
        protocol: Any = http.protocol
        exchange = Exchange(
            method=http.method,
            target=http.raw_path,
            client=http.remote or "",
            scheme="https" if protocol.ssl_context else "http",
            asked_id=http.headers.get("X-Request-ID"),
            memory=self.memory.lease(),
            spawn=stage.spawn,
        )
        exchange.head = protocol.head_time
        writer = Writer(http, exchange, self._http)
        error: str | None = None
        self._serving += 1
        stage.enter()
        try:
            response = await self._respond(stage, http, exchange)
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
            stage.leave()
        return writer.http

    def _health(self, http: web.BaseRequest) -> web.Response:
        """`/healthz` says that the process lives, `/readyz` whether it may be sent new requests."""
        ready = not self.draining
        red = http.raw_path == "/readyz" and not ready
        body = orjson.dumps({"status": "ready" if ready else "draining"})
        response = web.Response(status=503 if red else 200, body=body, content_type="application/json")
        response.headers["Cache-Control"] = "no-store"
        response.headers["Server"] = "darkroom"
        if self.draining:
            response.force_close()
        return response

    async def _respond(self, stage: Stage, http: web.BaseRequest, exchange: Exchange) -> Response:
        try:
            if self._serving > stage.limits.requests:
                raise Overloaded("the proxy serves as many requests as it may (proxy.limits.requests); try again soon")
            return await stage.handler(receive(http, exchange, stage.limits))
        except Exception as error:  # noqa: BLE001  # this is where everything becomes an answer
            return answer(error, exchange.id)


def _context(tls: Tls | None) -> ssl.SSLContext | None:
    try:
        return tls.context() if tls is not None else None
    except ValueError as error:  # the files were good when the config was read
        key, _, what = str(error).partition(": ")
        raise ConfigError([Fault(f"proxy.tls.{key}", what)]) from None
