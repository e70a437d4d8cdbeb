"""A witness for the framing battery: it reads HTTP/1.1 so strictly that a byte with two meanings is a fault, and keeps it all.

Nothing here is shared with what is tested: no library, no lenience, no limit but the test's own time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_REQUEST_LINE = re.compile(rb"([A-Z][A-Z-]*) (/[\x21\x22\x24-\x7e\x80-\xff]*) HTTP/1\.1")  # origin-form, no fragment
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2}) [\t\x20-\x7e\x80-\xff]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t\x20-\x7e\x80-\xff]*)")
_COUNT = re.compile(rb"0|[1-9][0-9]{0,18}")  # one way to write each number
_SIZE = re.compile(rb"0|[1-9a-fA-F][0-9a-fA-F]{0,14}")


class Ambiguous(Exception):
    """These bytes can be read in two ways, or in none."""


@dataclass
class Message:
    """A request or an answer, whole."""

    start: tuple[bytes, ...]  # (method, target), or (status,)
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""

    def all(self, name: bytes) -> list[bytes]:
        return [value for found, value in self.fields if found.lower() == name.lower()]


def _head(data: bytes, line: re.Pattern[bytes]) -> tuple[Message, bytes] | None:
    """(head, what follows); None while it is not whole. No byte of it is forgiven."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    first, *lines = head.split(b"\r\n")
    start = line.fullmatch(first)
    if start is None:
        raise Ambiguous(f"first line {first!r}")
    message = Message(start.groups(), [])
    for one in lines:
        found = _FIELD.fullmatch(one)
        if found is None or found[2].strip(b" \t") != found[2]:
            raise Ambiguous(f"header line {one!r}")
        message.fields.append((found[1], found[2]))
    return message, rest


def _framed(message: Message, rest: bytes) -> tuple[Message, bytes] | None:
    """With its body, by the one field that may say its length; None while it is not whole."""
    counts, codings = message.all(b"Content-Length"), message.all(b"Transfer-Encoding")
    if len(counts) + len(codings) > 1:
        raise Ambiguous(f"{len(counts)} Content-Length and {len(codings)} Transfer-Encoding")
    if codings:
        if codings != [b"chunked"]:
            raise Ambiguous(f"Transfer-Encoding {codings[0]!r}")
        return _chunked(message, rest)
    if counts:
        if _COUNT.fullmatch(counts[0]) is None:
            raise Ambiguous(f"Content-Length {counts[0]!r}")
        size = int(counts[0])
        if len(rest) < size:
            return None
        message.body, rest = rest[:size], rest[size:]
    return message, rest


def _chunked(message: Message, rest: bytes) -> tuple[Message, bytes] | None:
    """Chunks without extensions, and no trailers."""
    while True:
        line, end, after = rest.partition(b"\r\n")
        if not end:
            if len(line) > 20:
                raise Ambiguous(f"chunk size {line[:40]!r}")
            return None
        if _SIZE.fullmatch(line) is None:
            raise Ambiguous(f"chunk size {line[:40]!r}")
        size = int(line, 16)
        if len(after) < size + 2:
            return None
        if after[size : size + 2] != b"\r\n":
            raise Ambiguous(f"after a chunk {after[size : size + 2]!r}")
        message.body += after[:size]
        rest = after[size + 2 :]
        if size == 0:
            return message, rest


def read_request(data: bytes) -> tuple[Message, bytes] | None:
    """(request, what follows); None while it is not whole."""
    read = _head(data, _REQUEST_LINE)
    if read is None:
        return None
    hosts = read[0].all(b"Host")
    if len(hosts) != 1 or not re.fullmatch(rb"[A-Za-z0-9.-]+(:[0-9]+)?", hosts[0]):
        raise Ambiguous(f"Host {hosts!r}")
    return _framed(*read)


def read_answers(data: bytes, *methods: str) -> list[Message]:
    """Every answer to requests of these methods on a connection that has ended; `data` must hold them, and not a byte more.

    An interim answer stands in the list as itself.
    """
    answers: list[Message] = []
    left = list(methods)
    while data:
        read = _head(data, _STATUS_LINE)
        if read is None:
            raise Ambiguous(f"half an answer: {data[:200]!r}")
        message, rest = read
        status = int(message.start[0])
        if status >= 200:
            method = left.pop(0) if left else "GET"
            if method != "HEAD" and status not in (204, 304):
                framed = _framed(message, rest)
                if framed is None:
                    raise Ambiguous(f"half a body: {data[:200]!r}")
                if rest and not message.all(b"Content-Length") and not message.all(b"Transfer-Encoding"):
                    if message.all(b"Connection") != [b"close"]:
                        raise Ambiguous(f"a body without an end: {data[:200]!r}")
                    framed = Message(message.start, message.fields, rest), b""
                message, rest = framed
        elif message.all(b"Content-Length") or message.all(b"Transfer-Encoding"):
            raise Ambiguous(f"an interim answer with a length: {data[:200]!r}")
        answers.append(message)
        data = rest
    return answers


@dataclass
class Seen:
    """One connection to the witness."""

    data: bytes = b""  # every byte that came
    requests: list[Message] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    open: bool = True


Answering = Callable[[Message, asyncio.Transport], None]


class _Line(asyncio.Protocol):
    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._left = b""
        self.seen = Seen()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._witness.lines.append(self)

    def data_received(self, data: bytes) -> None:
        self._witness.received += len(data)
        self._witness.news.set()
        self.seen.data += data
        self._left += data
        try:
            read = read_request(self._left)
        except Ambiguous as fault:
            self.seen.faults.append(f"{fault} in {self._left[:300]!r}")
            self.transport.abort()
            return
        if read is None:
            return
        message, self._left = read
        self.seen.requests.append(message)
        if self._left:
            # The proxy asks one thing at a time: whatever follows a request before its answer was smuggled.
            self.seen.faults.append(f"bytes after a request: {self._left[:300]!r}")
        self._witness.answer(message, self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.seen.open = False
        self._witness.ended.set()


class Witness:
    """An upstream that answers each request it can read in one single way."""

    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        self.lines: list[_Line] = []
        self.ended = asyncio.Event()
        self.news = asyncio.Event()
        self.url = ""
        self.received = 0  # bytes

    def take(self) -> list[Message]:
        """The whole requests since last asked, in the order of their connections; a fault fails."""
        found: list[Message] = []
        for line in self.lines:
            assert not line.seen.faults, line.seen.faults
            found += line.seen.requests
            line.seen.requests = []
        self.lines = [line for line in self.lines if line.seen.open]
        return found

    def forget(self) -> None:
        """What an earlier test that failed has left."""
        self.lines = [line for line in self.lines if line.seen.open and not line.seen.faults]
        for line in self.lines:
            line.seen.requests = []

    async def until_more(self, than: int) -> None:
        """Wait until more bytes have come in all."""
        async with asyncio.timeout(5):
            while self.received <= than:
                self.news.clear()
                await self.news.wait()

    async def until_cut(self) -> None:
        """Wait until no connection is in the midst of a request."""
        async with asyncio.timeout(5):
            while any(line._left and line.seen.open for line in self.lines):
                self.ended.clear()
                await self.ended.wait()


@asynccontextmanager
async def witnessing(answer: Answering) -> AsyncIterator[Witness]:
    witness = Witness(answer)
    server = await asyncio.get_running_loop().create_server(lambda: _Line(witness), "127.0.0.1", 0)
    witness.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield witness
    finally:
        server.close()
        for line in witness.lines:
            line.transport.abort()


class Client(asyncio.Protocol):
    """A client that sends bytes as they are, and keeps what comes until the other side closes."""

    def __init__(self) -> None:
        self.data = b""
        self.transport: asyncio.Transport
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._news = asyncio.Event()

    @classmethod
    async def connect(cls, port: int) -> Client:
        _, client = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set_result(None)
        self._news.set()

    async def send(self, data: bytes, *, dripping: bool = False) -> None:
        """In one piece, or so that each byte is read by itself."""
        if not dripping:
            self.transport.write(data)
            return
        for at in range(len(data)):
            if self._ended.done():
                return
            self.transport.write(data[at : at + 1])
            await asyncio.sleep(0)  # a turn of the loop, in which the proxy reads it

    async def until(self, what: bytes) -> bytes:
        """What came up to here, once it holds `what`; it is taken."""
        async with asyncio.timeout(5):
            while what not in self.data:
                assert not self._ended.done(), self.data
                self._news.clear()
                await self._news.wait()
        at = self.data.index(what) + len(what)
        taken, self.data = self.data[:at], self.data[at:]
        return taken

    async def to_end(self) -> bytes:
        """What came until the other side closed."""
        async with asyncio.timeout(5):
            await asyncio.shield(self._ended)
        return self.data

    def close(self) -> None:
        self.transport.abort()
