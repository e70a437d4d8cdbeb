"""The HTTP/1.1 client: sends a request over a connection that is kept, and hands the answer on as it comes."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from contextlib import aclosing

import aiohappyeyeballs
from multidict import CIMultiDict
from yarl import URL

from .config import Timeouts
from .connection import Connection
from .errors import Failure, UpstreamError, UpstreamTimeout
from .http1 import AnswerParser, BadAnswer, request_head
from .message import Body, Data
from .tunnel import Line
from .upstream import IDEMPOTENT, Answer

_HELD = 256 * 1024  # bytes of an answer that may wait before reading stops
_AT_ONCE = 64 * 1024  # a body in hand up to here goes out with its head; any other as the upstream takes it
_IDLE = 15.0  # seconds that a connection is kept for its next request
_LOOKUP = 10.0  # seconds that a name's addresses are believed


class HttpTransport:
    """The seam over sockets: no redirects followed, no cookies kept, no proxy read from the environment.

    `tls` is what certificates are checked by; left out, it is the system's authorities. The number of connections has no
    limit here: the routes have theirs.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._places: dict[URL, _Place] = {}
        self._connections: set[Connection] = set()

    async def __aenter__(self) -> HttpTransport:
        return self

    async def __aexit__(self, *reason: object) -> None:
        for connection in list(self._connections):
            connection.abort()
            await connection.gone

    async def send(
        self, method: str, origin: URL, target: str, fields: CIMultiDict[str], body: Body, timeouts: Timeouts
    ) -> Answer:
        started = time.monotonic()
        place = self._places.get(origin) or self._places.setdefault(origin, _Place(origin))
        upgrading = "Upgrade" in fields
        _frame(method, fields, body)
        fields["Host"] = place.authority
        head = request_head(method, target, fields.items())
        kept = place.take()
        if kept is not None:
            exchange = _Exchange(place, kept, AnswerParser(method, upgrading=upgrading), timeouts, started)
            try:
                return await exchange.run(head, body)
            except UpstreamError as error:
                # Closed in the moment of asking, most likely; but the request may have been read, so it is repeated only
                # where asking twice does what asking once does.
                stale = exchange.unanswered and not isinstance(error, UpstreamTimeout)
                if not stale or method not in IDEMPOTENT or not body.in_hand:
                    raise
        connection = await self._connect(place, timeouts)
        return await _Exchange(place, connection, AnswerParser(method, upgrading=upgrading), timeouts, started).run(head, body)

    async def _connect(self, place: _Place, timeouts: Timeouts) -> Connection:
        """Whatever fails here, no byte of the request has been sent."""
        try:
            async with asyncio.timeout(timeouts.connect_timeout) as limit:
                return await self._dial(place)
        except (OSError, UnicodeError) as error:  # a name that DNS cannot hold is a UnicodeError
            place.addresses = []
            if limit.expired():
                late = f"no connection to {place.who} within {timeouts.connect_timeout:g} s"
                raise UpstreamTimeout(late, failure=Failure.NOT_SENT) from error
            why = f"cannot connect to {place.who}: {_reason(error)}"
            raise UpstreamError(why, failure=Failure.NOT_SENT, code="upstream_unreachable") from error

    async def _dial(self, place: _Place) -> Connection:
        def lost(connection: Connection) -> None:
            self._connections.discard(connection)
            if connection in place.idle:
                place.idle.remove(connection)

        loop = asyncio.get_running_loop()
        if place.tls and self._tls is None:
            self._tls = await asyncio.to_thread(_system_authorities)  # they are read from files
        sock = await aiohappyeyeballs.start_connection(await place.lookup(), happy_eyeballs_delay=0.25, loop=loop)
        _, connection = await loop.create_connection(
            lambda: Connection(lost),
            sock=sock,
            ssl=self._tls if place.tls else None,
            server_hostname=place.host.rstrip(".") if place.tls else None,
        )
        if not connection.open:
            raise ConnectionResetError("it was closed at once")
        self._connections.add(connection)
        return connection


class _Place:
    """An origin: how it is reached, and the connections to it that wait for their next request, the latest used last."""

    def __init__(self, origin: URL) -> None:
        self.host = origin.raw_host or ""
        self.tls = origin.scheme == "https"
        self.who = f"{origin.host}:{origin.port}"
        self.authority = origin.host_port_subcomponent or ""
        self.addresses: list[aiohappyeyeballs.AddrInfoType] = []
        self.idle: list[Connection] = []
        self._port = origin.port or 80
        self._asked = 0.0
        self._asking = asyncio.Lock()  # a hundred new connections ask for the name once

    def take(self) -> Connection | None:
        while self.idle:
            connection = self.idle.pop()
            if connection.open:
                return connection
        return None

    def keep(self, connection: Connection) -> None:
        connection.receiver = None
        connection.resume_reading()  # so that its end is noticed
        connection.limit(_IDLE, connection.abort)
        self.idle.append(connection)

    async def lookup(self) -> list[aiohappyeyeballs.AddrInfoType]:
        async with self._asking:
            if not self.addresses or time.monotonic() - self._asked > _LOOKUP:
                loop = asyncio.get_running_loop()
                self.addresses = list(await loop.getaddrinfo(self.host, self._port, type=socket.SOCK_STREAM))
                self._asked = time.monotonic()
            return self.addresses


class _Exchange:
    """One request and its answer over one connection, which it gives back, or drops, when it is closed."""

    def __init__(
        self, place: _Place, connection: Connection, answer: AnswerParser, timeouts: Timeouts, started: float
    ) -> None:
        self._place = place
        self._connection = connection
        self._answer = answer
        self._timeouts = timeouts
        self._started = started
        self._until: float | None = None
        self._late = ("", 0.0)  # what is said when the limit that runs is over, and its seconds
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._upload: asyncio.Task[None] | None = None
        self._sent = False  # the whole request
        self._closed = False
        self.unanswered = True  # by as much as a byte
        connection.receiver = self

    async def run(self, head: bytes, body: Body) -> Answer:
        """The answer as soon as its head is here, be the whole request sent or not."""
        answer = self._answer
        try:
            self._send(head, body)
            while answer.fields is None:
                await self._news()
        except BaseException:
            self.close()
            raise
        self._connection.unlimit()
        total = self._timeouts.total_timeout
        if total and not answer.fields.get("Content-Type", "").startswith("text/event-stream"):
            self._until = self._started + total
        return Answer(
            status=answer.status,
            fields=answer.fields,
            chunks=self,
            close=self.close,
            tunnel=self._tunnel() if answer.status == 101 else None,
        )

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._answer.close()
        if self._upload is not None:
            self._upload.cancel()
        if self._answer.status == 101:
            self._connection.close()  # what the client said last is still to be sent
        elif self._sent and self._answer.complete and self._answer.keep and self._connection.open:
            self._place.keep(self._connection)
        else:
            self._connection.receiver = None
            self._connection.abort()
            self._fail(self._cut())  # for whoever still reads

    def _send(self, head: bytes, body: Body) -> None:
        if not body.in_hand or body.size is None or body.size > _AT_ONCE:
            self._upload = asyncio.create_task(self._send_body(head, body))
            return
        payload = body.contiguous()
        if len(payload) != body.size:
            raise ValueError("a request's body is not as long as its size")
        self._connection.write(head + payload)
        self._all_sent()

    async def _send_body(self, head: bytes, body: Body) -> None:
        connection, left = self._connection, body.size
        try:
            connection.write(head)
            async with aclosing(body.chunks()) as chunks:
                async for chunk in chunks:
                    if left is not None:
                        left -= len(chunk)
                        if left < 0:
                            raise ValueError("a request's body is longer than its size")
                        connection.write(chunk)
                    elif chunk:  # an empty one would end the body
                        connection.write(b"%x\r\n" % len(chunk), chunk, b"\r\n")
                    if connection.full:
                        await self._drain()
            if left:
                raise ValueError("a request's body is shorter than its size")
            if left is None:
                connection.write(b"0\r\n\r\n")
            await self._drain()
        except Exception as error:  # noqa: BLE001  # raised where the answer is awaited
            self._fail(error)
        else:
            self._all_sent()

    async def _drain(self) -> None:
        """Wait until the upstream takes more. After that the client's next bytes are awaited, which is not its time."""
        if self._answer.fields is None:
            self._limit("took nothing for", self._timeouts.read_timeout)
        await self._connection.drain()
        if self._answer.fields is None:
            self._connection.unlimit()

    def _all_sent(self) -> None:
        self._sent = True
        if self._answer.fields is None:
            self._limit("was silent for", self._timeouts.first_byte_timeout)

    def __aiter__(self) -> _Exchange:
        return self

    async def __anext__(self) -> Data:
        """The body, as Chunks."""
        answer = self._answer
        try:
            while not answer.held:
                if answer.complete:
                    raise StopAsyncIteration
                read = self._timeouts.read_timeout
                if self._until is not None and (left := self._until - time.monotonic()) < read:
                    self._limit("took longer than", self._timeouts.total_timeout, left)
                else:
                    self._limit("was silent for", read)
                await self._news()
        except BaseException:  # the end, too
            self.close()
            raise
        data = answer.take()
        self._connection.resume_reading()
        return data

    async def aclose(self) -> None:
        self.close()

    async def _news(self) -> None:
        """Wait until something has come. Raises what went wrong."""
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _tunnel(self) -> Line:
        line = Line(self._connection, self._connection.drain)
        if self._answer.held:
            line.feed_data(self._answer.take())
        self._connection.receiver = line
        return line

    # What the connection calls.

    def feed_data(self, data: bytes) -> None:
        self.unanswered = False
        try:
            self._answer.feed(data)
        except BadAnswer as error:
            why = f"{self._place.who} answered with something that is not HTTP: {error}"
            self._fail(UpstreamError(why, failure=Failure.UNKNOWN, code="invalid_upstream_reply"))
        if self._answer.held > _HELD:
            self._connection.pause_reading()
        self._wake()

    def feed_eof(self) -> None:
        if not self._connection.reset:  # which is nobody's way to end a body
            self._answer.feed_eof()
        self._fail(self._cut())
        self._wake()

    def _limit(self, words: str, seconds: float, left: float | None = None) -> None:
        self._late = (words, seconds)
        self._connection.limit(seconds if left is None else left, self._expire)

    def _expire(self) -> None:
        words, seconds = self._late
        self._fail(UpstreamTimeout(f"{self._place.who} {words} {seconds:g} s", failure=Failure.UNKNOWN))

    def _fail(self, error: Exception) -> None:
        if self._error is None and not self._answer.complete:
            self._error = error
            self._connection.abort()
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _cut(self) -> UpstreamError:
        did = "closed the connection without an answer" if self._answer.fields is None else "cut its answer"
        return UpstreamError(f"{self._place.who} {did}", failure=Failure.UNKNOWN, code="upstream_cut")


def _frame(method: str, fields: CIMultiDict[str], body: Body) -> None:
    """Say in `fields` how long `body` is, and let nobody else say it."""
    fields.popall("Content-Length", None)
    fields.popall("Transfer-Encoding", None)
    if body.size is None:
        fields["Transfer-Encoding"] = "chunked"
    elif body.size or not body.in_hand or method in ("POST", "PUT", "PATCH"):
        fields["Content-Length"] = str(body.size)


def _system_authorities() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno:
        return os.strerror(error.errno)  # asyncio's own words name the call that failed, not why
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
