"""One config come alive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

from .chain import compose
from .loader import Loaded, call
from .state import State
from .upstream import Transport, Upstream

log = logging.getLogger("darkroom")


class Stage:
    """One config: its plugins' lifespans are open, its middlewares folded into `handler`.

    A task of its own opens and closes the lifespans, for what they hold may belong to the task that opened it.
    """

    def __init__(self, loaded: Loaded, state: State, transport: Transport, background: set[asyncio.Future[object]]) -> None:
        self.loaded = loaded
        self._background = background
        self.limits = loaded.config.proxy.limits
        self._state = state
        self._transport = transport
        self._held = 0
        self._retired = False
        self._over = asyncio.Event()
        self._life: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the lifespans. Raises what one of them raises, with those before it closed again."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(ready))
        try:
            await asyncio.wait([self._life, ready], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._life.cancel()
            raise
        if not ready.done():
            await self._life

    async def _live(self, ready: asyncio.Future[None]) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._transport)
            for _, lifespan in self.loaded.having("proxy_lifespan"):
                await stack.enter_async_context(call(lifespan, state=self._state))
            middlewares = [(name, call(make)) for name, make in self.loaded.having("proxy_middleware")]
            self.handler = compose(
                [(name, made) for name, made in middlewares if made is not None],
                Upstream(self.loaded.config.proxy.routes, self._transport, self.loaded.config.proxy.calls),
                self.loaded.config.proxy.guards,
            )
            ready.set_result(None)
            await self._over.wait()

    def enter(self) -> None:
        """A request, or work it left in the background, needs this stage until it calls `leave`."""
        self._held += 1

    def leave(self) -> None:
        self._held -= 1
        if self._retired and not self._held:
            self._over.set()

    def spawn(self, work: Coroutine[Any, Any, object]) -> object:
        """Work in the background that needs this stage until it ends."""
        task: asyncio.Future[object] = asyncio.ensure_future(work)
        self._background.add(task)
        self.enter()
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Future[object]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("background work failed", exc_info=task.exception())
        self.leave()

    async def retire(self) -> None:
        """Close the lifespans once nobody needs them any more."""
        self._retired = True
        if not self._held:
            self._over.set()
        if self._life is not None:
            await self._life
