"""One connection to an upstream: its socket's back-pressure, and one timer for whatever is being waited for."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

_AHEAD = 15.0  # seconds that the timer is set ahead at most


class Receiver(Protocol):
    """Who a connection's bytes are for."""

    def feed_data(self, data: bytes) -> object: ...

    def feed_eof(self) -> None: ...


class Connection(asyncio.Protocol):
    """A connection that is in use as long as it has a `receiver`, and idle when it has none."""

    def __init__(self, lost: Callable[[Connection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._lost = lost
        self._writable: asyncio.Future[None] | None = None
        self._paused = False
        self._deadline = math.inf
        self._then: Callable[[], None] | None = None  # what the deadline does
        self._timer: asyncio.TimerHandle | None = None
        self._rings = math.inf  # when the timer does
        self.transport: asyncio.Transport | None = None
        self.receiver: Receiver | None = None
        self.reset = False  # it ended by an error, which no body may take for its end
        self.gone: asyncio.Future[None] = self._loop.create_future()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of asyncio.Transport

    def data_received(self, data: bytes) -> None:
        if self.receiver is None:
            self.abort()  # nothing was asked: whatever this answers, it must not be taken for the next answer
        else:
            self.receiver.feed_data(data)

    def eof_received(self) -> None:
        if self.receiver is not None:
            self.receiver.feed_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self.reset = exc is not None
        self.transport = None
        self.unlimit()
        if self._timer is not None:
            self._timer.cancel()
        self.resume_writing()
        if self.receiver is not None:
            self.receiver.feed_eof()
        if not self.gone.done():
            self.gone.set_result(None)
        self._lost(self)

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # What those who use it call.

    @property
    def open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    @property
    def full(self) -> bool:
        """Whether more is waiting to be written than should."""
        return self._writable is not None

    def write(self, *data: bytes | bytearray | memoryview) -> None:
        """Raises ConnectionError if the other side is gone."""
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("the connection is gone")
        if len(data) == 1:
            self.transport.write(data[0])
        else:
            self.transport.writelines(data)

    async def drain(self) -> None:
        """Wait until there is room for more. Raises ConnectionError if the other side is gone."""
        if self._writable is not None:
            await self._writable
        if self.transport is None:
            raise ConnectionResetError("the connection is gone")

    def pause_reading(self) -> None:
        if self.transport is not None and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.transport is not None and self._paused:
            self._paused = False
            self.transport.resume_reading()

    def close(self) -> None:
        """Send what is left to be sent, and close."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def limit(self, seconds: float, then: Callable[[], None]) -> None:
        """Call `then` in so many seconds, unless another limit takes this one's place.

        The timer is left alone where it rings earlier anyway, and is never set far ahead: so it is set every few seconds,
        and not several times in every request.
        """
        now = self._loop.time()
        self._deadline, self._then = now + seconds, then
        if self._deadline < self._rings:
            if self._timer is not None:
                self._timer.cancel()
            self._wind(now)

    def unlimit(self) -> None:
        self._deadline, self._then = math.inf, None

    def _wind(self, now: float) -> None:
        self._rings = min(self._deadline, now + _AHEAD)
        self._timer = self._loop.call_at(self._rings, self._ring)

    def _ring(self) -> None:
        self._timer, self._rings = None, math.inf
        now, then = self._loop.time(), self._then
        if then is None:
            return
        if self._deadline - now > 0.002:  # uvloop's timers count milliseconds
            self._wind(now)
        else:
            self.unlimit()
            then()
