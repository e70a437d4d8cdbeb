"""The upstream behind every gateway: answers that were made beforehand, so that it costs next to nothing.

`python upstream.py PORT`. POST /v1/chat/completions is answered with small JSON, POST /v1/events with 50 server-sent events two
milliseconds apart, POST /v1/upload reads a body of any size, GET /v1/download sends 10 MB.
"""

from __future__ import annotations

import asyncio
import sys

import orjson
import uvloop

EVENTS, GAP = 50, 0.002
DOWNLOAD = 10 * 1024 * 1024

_JSON = orjson.dumps({"id": "chatcmpl-1", "object": "chat.completion", "choices": [{"message": {"content": "word " * 100}}]})
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"
SMALL = _HEAD % b"application/json" + b"Content-Length: %d\r\n\r\n" % len(_JSON) + _JSON
_EVENT = b"data: " + orjson.dumps({"choices": [{"delta": {"content": "word " * 8}}]}) + b"\n\n"
EVENT = b"%x\r\n" % len(_EVENT) + _EVENT + b"\r\n"
STREAM = _HEAD % b"text/event-stream" + b"Transfer-Encoding: chunked\r\n\r\n"
LARGE = _HEAD % b"application/octet-stream" + b"Content-Length: %d\r\n\r\n" % DOWNLOAD


class Upstream(asyncio.Protocol):
    """One connection, kept alive. Requests come one after another, as gateways send them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]  # uvloop's is no subclass
        self._head = b""
        self._left = 0  # bytes of the body still to come; -1 until the end of a chunked one
        self._path = b""

    def data_received(self, data: bytes) -> None:
        if self._left == 0:
            self._head += data
            head, end, rest = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = b""
            self._path = head.split(b" ", 2)[1]
            lowered = head.lower()
            if b"transfer-encoding: chunked" in lowered:
                self._left = -1
            else:
                _, found, length = lowered.partition(b"content-length: ")
                self._left = int(length.partition(b"\r\n")[0]) if found else 0
            data = rest
        if self._left < 0:
            if not data.endswith(b"0\r\n\r\n"):
                return
            self._left = 0
        else:
            self._left -= len(data)
        if self._left == 0:
            self._answer()

    def _answer(self) -> None:
        if self._path == b"/v1/events":
            self._transport.write(STREAM)
            asyncio.get_running_loop().call_later(GAP, self._event, EVENTS)
        elif self._path == b"/v1/download":
            self._transport.write(LARGE + b"x" * DOWNLOAD)
        else:
            self._transport.write(SMALL)

    def _event(self, left: int) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(EVENT)
        if left > 1:
            asyncio.get_running_loop().call_later(GAP, self._event, left - 1)
        else:
            self._transport.write(b"0\r\n\r\n")


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
