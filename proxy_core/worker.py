"""One of several serving processes: its supervisor gives it sockets and config, and its orders, over a socket."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from .errors import ConfigError
from .loader import Loaded, load_text
from .logs import set_up
from .loop import run_loop
from .server import Server
from .service import Orders, on_signals, serve, while_open

LINE = 64 * 1024 * 1024  # bytes of one order; the longest holds a config file


class Channel:
    """The socket between a supervisor and its worker: one JSON object a line, either way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, one: socket.socket) -> Channel:
        return cls(*await asyncio.open_connection(sock=one, limit=LINE))

    def send(self, **message: object) -> None:
        if not self._writer.is_closing():
            self._writer.write(orjson.dumps(message) + b"\n")

    async def receive(self) -> Mapping[str, Any] | None:
        """The next message, or None when the other side is gone."""
        with contextlib.suppress(ConnectionError):
            if line := await self._reader.readline():
                return orjson.loads(line)  # type: ignore[no-any-return]  # our own words
        return None

    def close(self) -> None:
        self._writer.close()


def main(channel: int) -> int:
    """Serve by the orders that come over file descriptor `channel`. Returns the exit status."""
    try:
        return run_loop(_work(socket.socket(fileno=channel)))
    except asyncio.CancelledError:
        return 130


async def _work(over: socket.socket) -> int:
    channel = await Channel.over(over)
    start = await channel.receive()
    if start is None:
        return 0
    set_up(start["form"], start["number"])
    path, texts = Path(start["path"]), [start["text"]]
    try:
        loaded = load_text(texts[0], path)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    working = asyncio.current_task()
    assert working is not None  # noqa: S101  # for the type checker: this is a coroutine of a task
    orders = Orders(working.cancel)
    server = Server(loaded, sockets=[socket.socket(fileno=number) for number in start["sockets"]])

    ready = False

    def stop() -> None:
        orders.stop.set()
        if not ready:
            orders.cut()  # nothing is in flight, and what it waits for as it starts may never come

    def told(outcome: str) -> None:
        nonlocal ready
        ready = True
        channel.send(told=outcome)

    async def obey() -> None:
        while (order := await channel.receive()) is not None:
            match order["order"]:
                case "reload":
                    texts[0] = order["text"]
                    orders.reload.set()
                case "stop":
                    stop()
                case "cut":
                    orders.stop_or_cut()
        stop()  # the supervisor is gone: what is in flight ends, and nobody would replace this process

    def reread() -> Loaded:
        return load_text(texts[0], path)

    # A signal to the whole group, or to one worker, must not cut what the supervisor lets end.
    with on_signals({signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: lambda: None}):
        async with while_open(obey(), "orders"):
            await serve(server, orders, reread, told)
    channel.close()
    return 0
