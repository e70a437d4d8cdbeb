"""aiohttp's server protocol, with the bounds and the error shape that it lacks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError

from .chain import answer
from .config import Limits
from .errors import BodyTimeout, ClientError, Overloaded, ProxyError
from .http1 import FRAMING, unclear

log = logging.getLogger("darkroom")

LINGER = 5.0  # seconds that a client has at the end to close too, or to go on reading; over TLS both sides say so


class HttpServer(web.Server):
    """Counts connections, ends them when the server stops, and makes protocols that bound the time of a request's head."""

    def __init__(self, handler: Any, limits: Limits) -> None:
        super().__init__(
            handler,
            handler_cancellation=True,  # a client that leaves cancels its handler, and so the upstream
            auto_decompress=False,  # bodies pass as they came; `Request.decoded` is for who wants to read one
            access_log=None,
            lingering_time=LINGER,  # in which a client that still sends may go on, so that it reads the early answer
        )
        self._coming: WeakKeyDictionary[_HttpProtocol, float] = WeakKeyDictionary()  # accepted, but in a TLS handshake yet
        self._change: asyncio.Future[None] | None = None
        self.ending = False  # whether each connection is closed with its next answer
        self.bound(limits)

    def bound(self, limits: Limits) -> None:
        """Take these limits for connections to come; those there are keep what their parser was made with."""
        self.limits = limits
        self._kwargs.update(
            keepalive_timeout=limits.keepalive,
            max_line_size=limits.head,
            max_field_size=limits.head,
            max_headers=limits.headers,
        )

    @property
    def count(self) -> int:
        """Open connections."""
        return len(self._connections)

    def __call__(self) -> web.RequestHandler:
        made = _HttpProtocol(self, loop=self._loop, **self._kwargs)
        self._coming[made] = self._loop.time()
        return made

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        self._coming.pop(handler, None)  # type: ignore[call-overload]  # each is one of ours
        super().connection_made(handler, transport)

    def _awaits(self, now: float, grace: float) -> bool:
        """Whether there is a connection, or one has been coming for less than `grace` seconds."""
        # For longer it would not do: nobody tells of a handshake that has failed.
        return bool(self._connections) or any(now - since < grace for since in self._coming.values())

    async def end_connections(self, grace: float) -> None:
        """Wait until every connection has ended by itself: a busy one after its answer, an idle one `grace` seconds after its
        last, in which a request (or the TLS handshake before it) that is on its way may still come. aiohttp's own way would
        drop what uploads still send."""
        closing: dict[web.RequestHandler, float] = {}
        while self._awaits(now := self._loop.time(), grace):
            for one, transport in list(self._connections.items()):
                if isinstance(one, _HttpProtocol) and one not in closing and one.idle and one.idle_for(now) >= grace:
                    closing[one] = now
                    one.force_close()
                elif now - closing.get(one, now) >= LINGER and not transport.get_write_buffer_size():
                    transport.abort()
            await self._changed(0.05)

    async def cut_connections(self) -> None:
        """End every connection now; their handlers are cancelled."""
        for one in self.connections:
            if one.transport is not None:
                one.transport.abort()  # closing would first wait for a client that does not read
        while self._connections:
            await self._changed(None)

    async def _changed(self, timeout: float | None) -> None:
        self._change = self._loop.create_future()
        await asyncio.wait([self._change], timeout=timeout)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        task = handler._task_handler  # noqa: SLF001  # as in the class this extends
        super().connection_lost(handler, exc)
        if task is not None:
            task.add_done_callback(self._tell)
        else:
            self._tell()

    def _tell(self, task: object = None) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)


class _Parser:
    """aiohttp's parser of requests, and what it lacks.

    It refuses what is `unclear`, and ends a body whose framing breaks, which aiohttp would leave open. Two kinds of request are
    the last of their connection: after a chunked body aiohttp takes the last line of its trailers for a header of the next
    request, and after one that asks for another protocol it loses what came with it.
    """

    def __init__(self, parser: Any) -> None:
        self._parser = parser
        self._payload: Any = None  # of the latest request
        self._seen: int  # bytes of it when last looked at
        self._framing: int  # bytes since then
        self._broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> tuple[Sequence[Any], bool, bytes]:
        """Raises HttpProcessingError."""
        if self._broken:
            return (), False, b""  # of a connection that closes
        try:
            messages, upgraded, tail = self._parser.feed_data(data)
            clear = [(self._clear(message), payload) for message, payload in messages]
        except HttpProcessingError as error:
            self._broken = True
            if self._reading:
                self._break(error.message)
                return (), False, b""  # told by whoever reads the body
            raise
        if clear:
            self._payload, self._seen, self._framing = clear[-1][1], 0, 0
        elif self._reading:
            self._bound(len(data))
        return clear, upgraded, tail

    @property
    def _reading(self) -> bool:
        return self._payload is not None and not self._payload.is_eof()

    @staticmethod
    def _clear(message: Any) -> Any:
        why = unclear(message.method, message.version, message.headers)
        if why is not None:
            raise BadHttpMessage(why)
        return message._replace(should_close=True) if message.chunked or message.upgrade else message

    def _bound(self, size: int) -> None:
        if self._payload.total_bytes != self._seen:
            self._seen, self._framing = self._payload.total_bytes, 0
            return
        self._framing += size
        if self._framing > FRAMING:
            self._broken = True
            self._break(f"more than {FRAMING} bytes of chunk extensions or trailers")

    def _break(self, why: str) -> None:
        self._payload.set_exception(web.RequestPayloadError(why.partition("\n")[0].rstrip(": ")))
        self._payload.feed_eof()


class _HttpProtocol(web.RequestHandler):
    """One connection.

    aiohttp has no limit on the time that a head may take: its keep-alive timer only ends connections that have been
    answered before. Here a head must be whole `head_timeout` seconds after the connection, or its first byte, came.
    """

    __slots__ = ("__weakref__", "_head_began", "_head_timer", "_server", "head_time")

    def __init__(self, server: HttpServer, **more: Any) -> None:
        super().__init__(server, **more)
        self._server = server
        self._parser: Any = _Parser(self._parser)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_began: float | None = None
        self.head_time = 0.0  # seconds that the latest head took to come

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._server.count > self._server.limits.connections:
            self._refuse(Overloaded("the proxy has as many connections as it may (proxy.limits.connections)"))
        else:
            self._start_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        if self._head_began is None and (self._awaits_head or not before):
            self._head_began = self._loop.time()
        super().data_received(data)
        if self._request_count != before:
            self._stop_timer()  # a head is whole
            if self._head_began is not None:
                self.head_time, self._head_began = self._loop.time() - self._head_began, None
        elif self._head_timer is None and self._head_began is not None:
            self._start_timer()  # idle until now, and this begins a head

    @property
    def _awaits_head(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    @property
    def idle(self) -> bool:
        """Whether no request is being served, nor on its way."""
        return self._head_began is None and (self._awaits_head or not self._request_count)

    def idle_for(self, now: float) -> float:
        """Seconds since the last answer's end, or since the connection came."""
        return now - (self._next_keepalive_close_time - self._keepalive_timeout)

    def _start_timer(self) -> None:
        self._head_timer = self._loop.call_later(self._server.limits.head_timeout, self._late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        self._head_timer = None
        self._refuse(BodyTimeout(f"the request's head was not whole within {self._server.limits.head_timeout:g} s"))

    def _refuse(self, error: ProxyError) -> None:
        """Answer a connection on which no request is being served, and close it."""
        if self.transport is not None:
            response = answer(error, "")
            body = bytes(response.body.contiguous())
            head = f"HTTP/1.1 {error.status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            more = "".join(f"{name}: {value}\r\n" for name, value in error.headers.items())
            self.transport.write(f"{head}{more}Connection: close\r\n\r\n".encode() + body)
        self.force_close()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What aiohttp's own parser refuses, in OpenAI's shape."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun, and cannot become an error")
        if status >= 500:
            log.error("internal error", exc_info=exc)
            shaped = ProxyError("internal error", code="internal_error", status=status)
        else:
            reason = (message or str(exc or "")).partition("\n")[0].rstrip(": ")[:200] or "it cannot be parsed"
            shaped = ClientError(f"this is not a valid HTTP request: {reason}", status=status, code="invalid_http")
        response = answer(shaped, "")
        http = web.Response(
            status=status,
            body=response.body.contiguous(),
            content_type="application/json",
            headers={"Server": "darkroom", "Connection": "close"},
        )
        http.force_close()
        return http
