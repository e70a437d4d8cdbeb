"""The upstream that everything is measured against: a bare protocol that answers bytes made beforehand.

It is strict where that is cheap: what it does not know, a chunked request or a body of the wrong length is no 200.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from typing import cast

import uvloop

from .workloads import ANSWER, CHAT, FILES, GAP, LARGE, REQUEST, STREAM, STREAM_REQUEST, TAKEN

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def _whole(body: bytes, kind: bytes = b"application/json", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (status, kind, len(body), body)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_CHAT_LINE = f"POST {CHAT} HTTP/1.1\r\n".encode()
_UP_LINE = f"POST {FILES} HTTP/1.1\r\n".encode()
_DOWN_LINE = f"GET {FILES} HTTP/1.1\r\n".encode()
_COUNT_LINE = b"GET /received HTTP/1.1\r\n"

_JSON = _whole(ANSWER)
_UP = _whole(TAKEN)
_DOWN = _whole(LARGE, b"application/octet-stream")
_REFUSED = _whole(b"", status=b"400 Bad Request")
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_EVENTS = [_HEAD + _chunk(STREAM[0]), *map(_chunk, STREAM[1:-1]), _chunk(STREAM[-1]) + b"0\r\n\r\n"]


class _Connection(asyncio.Protocol):
    """One keep-alive connection. Requests are not pipelined, so one is in hand at a time."""

    received = 0  # bytes of large bodies, over all connections: what a cut upload has carried counts too

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._head = b""
        self._kept = b""  # of a small body
        self._missing = 0
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._body(data)
            return
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        self._head = head + b"\r\n"
        length = _LENGTH.search(self._head)
        self._missing = int(length[1]) if length else 0
        self._kept = b""
        if self._missing and not rest:
            return
        self._body(rest)

    def _body(self, data: bytes) -> None:
        self._missing -= len(data)
        if self._head.startswith(_UP_LINE):
            _Connection.received += len(data)
        else:
            self._kept += data
        if self._missing <= 0:
            head, self._head = self._head, b""
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        if head.startswith(_CHAT_LINE) and self._kept == REQUEST:
            self._transport.write(_JSON)
        elif head.startswith(_CHAT_LINE) and self._kept == STREAM_REQUEST:
            self._stream(iter(_EVENTS))
        elif head.startswith(_UP_LINE) and b"\r\ncontent-length: %d\r\n" % len(LARGE) in head.lower():
            self._transport.write(_UP)
        elif head.startswith(_DOWN_LINE):
            self._transport.write(_DOWN)
        elif head.startswith(_COUNT_LINE):
            self._transport.write(_whole(b"%d" % _Connection.received))
        else:
            self._transport.write(_REFUSED)

    def _stream(self, events: Iterator[bytes]) -> None:
        event = next(events, None)
        if event is not None:
            self._transport.write(event)
            self._timer = self._loop.call_later(GAP, self._stream, events)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
