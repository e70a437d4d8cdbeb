"""A streamed answer: its events leave while its pictures are made."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from multidict import CIMultiDict

from proxy_core import Body, Chunks, Data, Exchange, Failure, PluginFault, ProxyError, Response, UpstreamError

from .ask import Event, Events, Extra, Pieces
from .model import Job, Preview, Result, Seal
from .outcome import Outcome, Tell
from .picture import Image
from .wire import event_pieces, json_pieces

log = logging.getLogger("darkroom.image_edit")

KEEP_ALIVE = b": keep-alive\n\n"  # a comment, which clients pass over, and which keeps timers on the way from running out
Collect = Callable[[Tell], Awaitable[None]]
Headers = Callable[[Result, Mapping[str, str]], CIMultiDict[str]]
GiveUp = Callable[[Result, BaseException], Coroutine[Any, Any, ProxyError]]


class Stream:
    """One answer to a client that streams.

    Its headers are held until there is something to send, or for `commit_after` seconds: an error before that keeps its
    status, which one within a stream has not. From then on a comment is sent after every `keep_alive` silent seconds.
    """

    def __init__(
        self,
        events: Events,
        seal: Seal | None,
        exchange: Exchange,
        *,
        give_up: GiveUp,
        commit_after: float,
        keep_alive: float,
    ) -> None:
        self._events = events
        self._seal = seal
        self._exchange = exchange
        self._give_up = give_up  # what is done with pictures that could not be signed, and the error to tell
        self._commit_after = commit_after
        self._keep_alive = keep_alive
        self._queue: asyncio.Queue[Pieces | None] = asyncio.Queue()
        self._begun = asyncio.Event()  # there is something to send before all is done
        self._previews: Counter[int] = Counter()
        self._made = 0
        self._unsigned: Exception | None = None  # why nothing may be sent any more
        self._committed = False

    async def respond(self, job: Job, outcome: Outcome, collect: Collect, headers: Headers) -> Response:
        """The answer, begun. `collect` makes the pictures; `headers` are those of an answer whose result is known."""
        self._job = job
        task = asyncio.create_task(self._tell(outcome, collect, headers))
        task.add_done_callback(lambda _: self._queue.put_nowait(None))
        begun = asyncio.create_task(self._begun.wait())
        try:
            await asyncio.wait({task, begun}, timeout=self._commit_after, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _ended(task)
            raise
        finally:
            begun.cancel()
        if task.done():
            if self._begun.is_set():
                _seen(task.exception())
            whole = CIMultiDict(task.result())  # or its error, with a status of its own
            return Response(status=200, headers=whole, body=Body(*self._all()))
        told = CIMultiDict({"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"})
        told["X-Accel-Buffering"] = "no"  # or nginx would collect the events
        self._committed = True
        return Response(status=200, headers=told, body=Body.stream(_Chunks(self._queue, task, self._keep_alive)))

    def _all(self) -> Pieces:
        pieces: Pieces = []
        while not self._queue.empty():
            pieces += self._queue.get_nowait() or []
        return pieces

    async def _tell(self, outcome: Outcome, collect: Collect, headers: Headers) -> CIMultiDict[str]:
        """Make the pictures and queue their events. Returns the headers of the whole."""
        try:
            await collect(self._add)
            return await self._end(outcome.result(self._exchange), headers)
        except Exception as error:
            fault = error if isinstance(error, ProxyError) else PluginFault("image_edit")
            if self._committed:  # it ends in the frame of a ProxyError, and nobody else would log what was behind it
                log.warning("a stream broke off: %s", error, exc_info=error, extra={"request_id": self._exchange.id})
            if fault is error:
                raise
            raise fault from error

    async def _end(self, result: Result, headers: Headers) -> CIMultiDict[str]:
        extra: Extra = {}
        fields: Mapping[str, str] = {}
        if self._seal is not None and self._unsigned is None:
            try:
                extra, fields = await self._seal.end(result)
            except asyncio.CancelledError as left:
                self._exchange.later(self._give_up(result, left))  # a signer that hung, and a client that will ask again
                raise
            except Exception as error:  # noqa: BLE001  # whatever it was, the pictures are kept
                self._unsigned = error
        await self._put(self._events.end(result, extra))
        if self._unsigned is not None:
            raise await self._give_up(result, self._unsigned)
        return headers(result, fields)

    async def _add(self, output: Preview | Image) -> None:
        if isinstance(output, Preview):
            number = self._previews[output.index]
            self._previews[output.index] += 1
            await self._put(self._events.preview(output.image, index=output.index, number=number))
            return
        self._made += 1
        # With the last one everything is known in a moment, the receipt too: its headers are worth waiting for.
        await self._put(self._events.image(output), begin=self._made < self._job.n)

    async def _put(self, events: Sequence[Event], *, begin: bool = True) -> None:
        """Queue events, each sealed in the order in which they go out. Where one cannot be, nothing goes out any more."""
        for event in events:
            try:
                pieces = await self._sealed(event) if self._unsigned is None else []
            except Exception as error:  # noqa: BLE001  # raised when all is made: here it would pass for the provider's
                self._unsigned = error
                return
            if pieces:
                self._queue.put_nowait(pieces)
                if begin:
                    self._begun.set()

    async def _sealed(self, event: Event) -> Pieces:
        if event.value is None:
            return [b"data: [DONE]\n\n"]
        if self._seal is None:
            return event_pieces(json_pieces(event.value), event=event.name)
        if event.image is not None and event.place is not None:
            event.place.update(await self._seal.image(event.image, preview=event.preview))
        data = json_pieces(event.value)
        await self._seal.sent(data)
        return event_pieces(data, event=event.name)


def _seen(error: BaseException | None) -> None:
    """A picture came before this, if only a preview: it may be charged, and its events are sealed in a chain that has begun.
    So nobody else is asked for it."""
    if isinstance(error, UpstreamError):
        error.failure = Failure.UNKNOWN
        error.headers.setdefault("x-should-retry", "false")


async def _ended(task: asyncio.Task[object]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # or asyncio would complain that nobody asked


class _Chunks:
    """The body: events as they are queued, and comments while there are none."""

    def __init__(self, queue: asyncio.Queue[Pieces | None], task: asyncio.Task[object], keep_alive: float) -> None:
        self._queue = queue
        self._task = task
        self._keep_alive = keep_alive
        self._open: Chunks | None = None

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> Data:
        while True:
            if self._open is not None:
                try:
                    return await anext(self._open)
                except StopAsyncIteration:
                    self._open = None
            try:
                async with asyncio.timeout(self._keep_alive):
                    pieces = await self._queue.get()
            except TimeoutError:
                return KEEP_ALIVE
            if pieces is None:
                self._task.result()  # raises what went wrong
                raise StopAsyncIteration
            self._open = Body(*pieces).chunks()

    async def aclose(self) -> None:
        """Nobody reads on: what is still being made is given up."""
        await _ended(self._task)
