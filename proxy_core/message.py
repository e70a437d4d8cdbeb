"""What passes through the proxy: bodies in pieces, requests, responses, and the exchange they belong to."""

from __future__ import annotations

import asyncio
import os
import re
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, overload, runtime_checkable

import orjson
from multidict import CIMultiDict, CIMultiDictProxy, MultiMapping
from yarl import URL

from .errors import ClientError, Overloaded, TooLarge

T = TypeVar("T")
D = TypeVar("D")

Data = bytes | bytearray | memoryview

CHUNK = 256 * 1024  # bytes written at once; large enough to be cheap, small enough that a slow reader costs no memory

# RFC 9110 7.6.1, and the two that every proxy also drops.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def upgrades(headers: MultiMapping[str]) -> bool:
    """Whether a request asks to speak WebSocket from here on (RFC 6455 4.1)."""
    named = {name.strip().lower() for line in headers.getall("Connection", []) for name in line.split(",")}
    return "upgrade" in named and headers.get("Upgrade", "").lower() == "websocket"


def end_to_end(headers: MultiMapping[str]) -> CIMultiDict[str]:
    """`headers` without those that speak of one connection only, the ones that Connection names among them."""
    kept = CIMultiDict(headers)
    for line in kept.getall("Connection", ()):
        for name in line.split(","):
            kept.popall(name.strip(), None)
    for name in HOP_BY_HOP:
        kept.popall(name, None)
    return kept


class Memory:
    """One budget of bytes in flight for the process; whoever buffers takes from it through an exchange's `Lease`.

    `patience` is how many seconds a request that holds nothing may wait for room.
    """

    def __init__(self, limit: int, patience: float = 5.0) -> None:
        self.limit = limit
        self.patience = patience
        self.used = 0
        self.waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def bound(self, limit: int, patience: float) -> None:
        """Other bounds from now on; what is held beyond them stays held."""
        self.limit, self.patience = limit, patience
        self._admit()

    def lease(self) -> Lease:
        return Lease(self)

    def fits(self, n: int) -> bool:
        return self.used + n <= self.limit

    def give(self, n: int) -> None:
        self.used -= n
        self._admit()

    async def wait(self, n: int) -> None:
        """Wait for room for `n` bytes, first come first served, and take it."""
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append((n, turn))
        try:
            async with asyncio.timeout(self.patience):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.give(n)  # admitted in the very moment of giving up
            else:
                self.waiting.remove((n, turn))
                self._admit()
            if isinstance(error, TimeoutError):
                raise _full() from None
            raise

    def _admit(self) -> None:
        for n, turn in list(self.waiting):
            if turn.done():
                continue  # it gave up, and will take itself out of the queue
            if not self.fits(n):
                return
            self.used += n
            self.waiting.remove((n, turn))
            turn.set_result(None)


def _full() -> Overloaded:
    return Overloaded("the proxy holds as much request and image data as it may (proxy.limits.memory); try again soon")


class Lease:
    """What one exchange holds of the process's `Memory`; given back when the exchange ends."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.held = 0

    async def take(self, n: int) -> None:
        """Account for `n` bytes that are about to be held.

        Waits only while this exchange holds nothing: two half-read uploads that waited for each other would wait for ever.
        Raises Overloaded (503), or TooLarge (413) where `n` alone is over the budget.
        """
        memory = self._memory
        if n > memory.limit:
            raise TooLarge(f"this request needs {n} bytes of memory; the proxy has {memory.limit} (proxy.limits.memory)")
        if memory.fits(n) and (self.held or not memory.waiting):
            memory.used += n
        elif self.held:
            raise _full()
        else:
            await memory.wait(n)
        self.held += n

    def give(self, n: int) -> None:
        """Give `n` bytes back before the exchange ends; what was given back already is not given twice."""
        n = min(n, self.held)
        self.held -= n
        self._memory.give(n)

    def release(self) -> None:
        """Give everything back."""
        if self.held:
            self.give(self.held)


class Chunks(Protocol):
    """A body's bytes as they come, read once; close it when leaving early. An async generator is one."""

    def __aiter__(self) -> AsyncIterator[Data]: ...

    async def __anext__(self) -> Data: ...

    async def aclose(self) -> None: ...


@runtime_checkable
class Piece(Protocol):
    """Bytes that are made when they are written, as often as somebody asks: a file, the base64 of a picture."""

    @property
    def size(self) -> int: ...

    def chunks(self) -> Iterator[Data]: ...


# What `isinstance` knows fast. A Piece is what is none of these: a Protocol asked at run time costs ten times as much.
_BYTES = (bytes, bytearray, memoryview)


class Body:
    """Pieces in hand, which can be read any number of times, or a stream, which can be read once.

    `size` is the length in bytes where it is known. Nothing here joins pieces: a writer takes `chunks()`.
    """

    __slots__ = ("_close", "_stream", "_taken", "pieces", "size")

    def __init__(self, *pieces: Data | Piece) -> None:
        self.pieces = pieces
        self.size: int | None = sum(len(p) if isinstance(p, _BYTES) else p.size for p in pieces) if pieces else 0
        self._stream: Chunks | None = None
        self._close: Callable[[], None] | None = None
        self._taken = False

    @classmethod
    def stream(cls, chunks: Chunks, size: int | None = None, close: Callable[[], None] | None = None) -> Body:
        """`close` lets go of what is behind `chunks`: a generator that was never started runs no `finally` of its own."""
        body = cls()
        body._stream, body._close = chunks, close
        body.size = size
        return body

    @property
    def in_hand(self) -> bool:
        return self._stream is None

    def chunks(self) -> Chunks:
        """The bytes, in chunks of at most about 256 KiB. Close it (`aclosing`) when leaving early."""
        if self._stream is None:
            return _InHand(self.pieces)
        if self._taken:
            raise RuntimeError("this body is a stream, and has been read")
        self._taken = True
        return self._stream if self._close is None else _Closing(self._stream, self._close)

    async def read(self, memory: Lease, *, limit: int) -> Body:
        """This body in hand, as one piece, taken from `memory`. Raises TooLarge (413) over `limit` bytes."""
        if self.size is not None and self.size > limit:
            await self.aclose()
            raise TooLarge(f"the body has {self.size} bytes; the limit is {limit}")
        if self.in_hand:
            return self
        if self.size is not None:
            try:
                await memory.take(self.size)
            except BaseException:
                await self.aclose()
                raise
        data = bytearray()
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                if len(chunk) == self.size:
                    return Body(chunk)  # all of it at once, as a small body comes
                if len(data) + len(chunk) > limit:
                    raise TooLarge(f"the body is longer than the limit of {limit} bytes")
                if self.size is None:
                    await memory.take(len(chunk))
                data += chunk
        return Body(data)

    def contiguous(self) -> Data:
        """The one piece of a body that `read` brought in hand."""
        if self._stream is not None:
            raise RuntimeError("this body is a stream; read it first")
        if len(self.pieces) == 1 and isinstance(self.pieces[0], _BYTES):
            return self.pieces[0]
        return b"".join(bytes(c) for p in self.pieces for c in ([p] if isinstance(p, _BYTES) else p.chunks()))

    async def aclose(self) -> None:
        """Give up a stream that nobody will read to its end."""
        if self._stream is not None:
            await self._stream.aclose()
        if self._close is not None:
            self._close()


# Plain iterators: each async generator would be registered with the event loop, several times a request.


class _InHand:
    """Pieces as Chunks."""

    __slots__ = ("_parts",)

    def __init__(self, pieces: Sequence[Data | Piece]) -> None:
        self._parts = _parts(pieces)

    def __aiter__(self) -> _InHand:
        return self

    async def __anext__(self) -> Data:
        for part in self._parts:
            return part
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._parts.close()


def _parts(pieces: Sequence[Data | Piece]) -> Generator[Data, None, None]:
    for piece in pieces:
        if not isinstance(piece, _BYTES):
            yield from piece.chunks()
        elif len(piece) <= CHUNK:
            yield piece
        else:
            view = memoryview(piece)
            for start in range(0, len(view), CHUNK):
                yield view[start : start + CHUNK]


class _Closing:
    """Chunks after which, read to the end or not, something else is let go of."""

    __slots__ = ("_chunks", "_close")

    def __init__(self, chunks: Chunks, close: Callable[[], None]) -> None:
        self._chunks = chunks
        self._close = close

    def __aiter__(self) -> _Closing:
        return self

    async def __anext__(self) -> Data:
        try:
            return await self._chunks.__anext__()
        except BaseException:  # the end, too
            self._close()
            raise

    async def aclose(self) -> None:
        try:
            await self._chunks.aclose()
        finally:
            self._close()


_CODINGS = 4  # each may be a whole body's work; nobody needs two


async def decode(data: Data, encoding: str, memory: Lease, *, limit: int) -> Data:
    """`data` without its Content-Encoding, within `limit` bytes. Raises ClientError (400, 415) or TooLarge (413)."""
    # RFC 9110 8.4: in the order in which they were applied.
    names = [part.strip().lower() for part in encoding.split(",") if part.strip()]
    if len(names) > _CODINGS:
        what = f"the body is encoded {len(names)} times over; at most {_CODINGS} are undone"
        raise ClientError(what, code="invalid_encoding")
    for name in reversed(names):
        if name == "identity":
            continue
        if name not in ("gzip", "x-gzip", "deflate"):
            raise ClientError(
                f"Content-Encoding {name!r} is not understood here; send gzip, deflate or none",
                status=415,
                code="unsupported_encoding",
            )
        data = await _inflate(data, name, memory, limit)
    return data


async def _inflate(data: Data, name: str, memory: Lease, limit: int) -> Data:
    # "deflate" is zlib by RFC 9110 8.4.1.2, and raw deflate from some clients.
    raw = name == "deflate" and (len(data) < 2 or data[0] & 0x0F != 8 or (data[0] * 256 + data[1]) % 31)
    inflater = zlib.decompressobj(-15 if raw else 47)
    out = bytearray()
    view = memoryview(data)
    try:
        for start in range(0, len(view), CHUNK):
            rest: Data = view[start : start + CHUNK]
            piece = b"more"
            while not inflater.eof and (rest or len(piece) == CHUNK):  # behind a full piece there may be more, without input
                piece = inflater.decompress(rest, CHUNK)
                rest = inflater.unconsumed_tail
                if len(out) + len(piece) > limit:
                    raise TooLarge(f"the body is longer than the limit of {limit} bytes once decompressed")
                await memory.take(len(piece))
                out += piece
                await asyncio.sleep(0)
            if inflater.eof and (inflater.unused_data or start + CHUNK < len(view)):
                raise ClientError(f"bytes follow the end of the body's {name} stream", code="invalid_encoding")
    except zlib.error as error:
        raise ClientError(f"the body is not valid {name}: {error}", code="invalid_encoding") from None
    if not inflater.eof:
        raise ClientError(f"the body is cut: its {name} stream has no end", code="invalid_encoding")
    return out


class Key(Generic[T]):
    """Names one typed value of an exchange. Two keys of the same name are two keys."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Key({self.name!r})"


# Well-known keys: a ledger or a log may read them without knowing who wrote them.
MODEL: Key[str] = Key("model")  # what the client asked for
PROVIDER: Key[str] = Key("provider")  # who served it
USAGE: Key[Mapping[str, object]] = Key("usage")  # OpenAI's `usage` shape
COST: Key[Mapping[str, object]] = Key("cost")  # {"amount": "0.030", "currency": "USD", ...}
RECEIPT: Key[str] = Key("receipt")  # id of the signed receipt


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How an exchange ended. Times are seconds."""

    status: int  # 0 if no answer was begun
    received: int  # bytes of the request's body
    sent: int  # bytes of the answer's body
    head: float  # from the head's first byte to its last
    body: float  # from the head to the last byte of the request's body that was read
    total: float  # from the whole head to the last byte or the cut
    upstream: float  # waited for upstreams to begin their answers
    error: str | None  # why it was cut, or what was answered with an error; never a secret


_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}", re.ASCII)


@dataclass(eq=False)
class Exchange:
    """One client request's whole life; every Request that a plugin derives from it carries the same one.

    `id` is the client's `x-request-id` if it is sane, else a new one; it is returned in the answer.
    """

    method: str = "GET"
    target: str = "/"
    client: str = ""  # address of the peer
    scheme: str = "http"  # the client's: http or https
    asked_id: str | None = None
    memory: Lease = field(default_factory=lambda: Lease(Memory(1 << 30)))
    spawn: Callable[[Coroutine[Any, Any, object]], object] = asyncio.ensure_future  # where `later` puts its work

    def __post_init__(self) -> None:
        asked = self.asked_id or ""
        self.id = asked if asked and _SANE_ID.fullmatch(asked) else f"req_{os.urandom(16).hex()}"
        self.started = time.monotonic()
        self.started_at = time.time()
        self.received = 0
        self.sent = 0
        self.head = 0.0
        self.body = 0.0
        self.upstream = 0.0
        self._ended = False
        self._values: dict[Key[Any], Any] = {}
        self._callbacks: list[Callable[[Ended], None]] = []

    def __getitem__(self, key: Key[T]) -> T:
        return self._values[key]  # type: ignore[no-any-return]  # a Key[T] is only ever set with a T

    def __setitem__(self, key: Key[T], value: T) -> None:
        self._values[key] = value

    def __contains__(self, key: Key[Any]) -> bool:
        return key in self._values

    @overload
    def get(self, key: Key[T]) -> T | None: ...
    @overload
    def get(self, key: Key[T], default: D) -> T | D: ...
    def get(self, key: Key[Any], default: Any = None) -> Any:
        return self._values.get(key, default)

    def on_end(self, callback: Callable[[Ended], None]) -> None:
        """Call `callback` once, after the last byte or the cut, with every value final."""
        self._callbacks.append(callback)

    def later(self, work: Coroutine[Any, Any, object]) -> None:
        """Run `work` in the background; a server that stops waits for it."""
        self.spawn(self._background(work))

    async def _background(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        finally:
            if self._ended:
                self.memory.release()  # what was taken after the end has no other end to be given back at

    def end(self, *, status: int, error: str | None) -> list[Exception]:
        """Called by the server alone. Returns what the callbacks raised."""
        self._ended = True
        self.memory.release()
        ended = Ended(
            status=status,
            received=self.received,
            sent=self.sent,
            head=self.head,
            body=self.body,
            total=time.monotonic() - self.started,
            upstream=self.upstream,
            error=error,
        )
        raised: list[Exception] = []
        for callback in self._callbacks:
            try:
                callback(ended)
            except Exception as fault:  # noqa: BLE001  # one plugin's fault must not cost the others their record
                raised.append(fault)
        self._callbacks.clear()
        return raised


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request on its way to an upstream. `target` is path and query, byte for byte.

    `origin` is None for what the routes decide, or the origin of a call that a plugin makes with its own credentials.
    """

    exchange: Exchange
    method: str
    target: str
    headers: CIMultiDictProxy[str] | CIMultiDict[str] = field(repr=False)  # a key is among them
    body: Body
    origin: URL | None = None

    @property  # of Python 3.11's cached_property, the lock alone costs more than this
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    async def buffered(self, limit: int) -> Request:
        """This request with its body in hand, byte for byte as it came. Raises TooLarge (413)."""
        body = await self.body.read(self.exchange.memory, limit=limit)
        return self if body is self.body else self.with_body(body)

    def with_body(self, body: Body) -> Request:
        """This request with another body."""
        return Request(
            exchange=self.exchange,
            method=self.method,
            target=self.target,
            headers=self.headers,
            body=body,
            origin=self.origin,
        )

    async def decoded(self, limit: int) -> Data:
        """The body in hand without its Content-Encoding, within `limit` bytes. Raises ClientError, TooLarge."""
        body = await self.body.read(self.exchange.memory, limit=limit)
        encoding = ",".join(self.headers.getall("Content-Encoding", []))
        return await decode(body.contiguous(), encoding, self.exchange.memory, limit=limit)


class Tunnel(Protocol):
    """One end of an upgraded connection: bytes as they are. `read` gives b"" at the end."""

    async def read(self) -> bytes: ...

    async def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Response:
    """An answer on its way to the client. The server takes Content-Length from `body.size`.

    `tunnel` comes with a 101: what the upstream's end of the connection says once HTTP is over.
    """

    status: int
    headers: CIMultiDictProxy[str] | CIMultiDict[str] = field(default_factory=CIMultiDict)
    body: Body = field(default_factory=Body)
    tunnel: Tunnel | None = None

    @classmethod
    def json(cls, value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """A small JSON answer; large ones are written in pieces."""
        fields = CIMultiDict({"Content-Type": "application/json"})
        fields.update(headers or {})
        return cls(status=status, headers=fields, body=Body(orjson.dumps(value)))


Handler = Callable[[Request], Awaitable[Response]]
Middleware = Callable[[Request, Handler], Awaitable[Response]]
