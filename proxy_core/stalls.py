"""Notices when the event loop stands still, and says in whose code."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Self

log = logging.getLogger("darkroom")

_LONG = 10  # limits after which a stall is told although it has not ended: it may never


class Stalls:
    """A thread that looks at the event loop's heartbeat, as a context manager of the loop it watches.

    `plugins` gives the plugins of the moment, by name: a stall belongs to the innermost one whose code was running.
    """

    def __init__(self, limit: float, plugins: Callable[[], Mapping[str, object]]) -> None:
        self._limit = limit
        self._plugins = plugins
        self._over = threading.Event()
        self._where = ""
        self._stack = ""
        self._sampled = self._told = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._beat_at, self._cpu_at = time.monotonic(), time.thread_time()
        self._handle = self._loop.call_later(self._limit / 2, self._beat)
        self._thread = threading.Thread(target=self._watch, name="stalls", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(self, *reason: object) -> None:
        self._handle.cancel()
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        now, cpu = time.monotonic(), time.thread_time()
        late = now - self._beat_at - self._limit / 2
        if late > self._limit:
            # Much less CPU time than time says that it waited for a disk or a lock, or that the machine was busy.
            took = {"stalled_ms": round(late * 1000), "cpu_ms": round((cpu - self._cpu_at) * 1000)}
            where = self._where or "a place that was left too soon to be seen"
            log.warning("the event loop stood still for %.2f s in %s", late, where, extra={**took, "stack": self._stack})
        self._beat_at, self._cpu_at = now, cpu
        self._where = self._stack = ""
        self._sampled = self._told = False
        self._handle = self._loop.call_later(self._limit / 2, self._beat)

    def _watch(self) -> None:
        while not self._over.wait(self._limit / 4):
            late = time.monotonic() - self._beat_at - self._limit / 2
            if late > self._limit and not self._sampled:
                self._sampled = True
                frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001  # the documented way to another's stack
                self._where = place(frame, self._plugins())
                self._stack = " < ".join(f"{f.f_code.co_qualname}:{line}" for f, line in _seen(frame))
                del frame  # or it would keep what the request held, until the next stall
            if late > self._limit * _LONG and self._sampled and not self._told:
                self._told = True
                log.error("the event loop stands still since %.1f s in %s", late, self._where, extra={"stack": self._stack})


def _seen(frame: FrameType | None) -> list[tuple[FrameType, int]]:
    """The innermost eight frames, and the lines they are at."""
    return [(f, line) for f, line in traceback.walk_stack(frame)][:8]


def place(frame: FrameType | None, plugins: Mapping[str, object]) -> str:
    """Whose code a stack is in: the innermost plugin's, or the core's where it was not called by one."""
    roots = {_root(type(plugin).__module__): name for name, plugin in plugins.items()}
    for module in _modules(frame):
        if (name := roots.get(_root(module))) is not None:
            return f"plugin {name}"
        if module == "proxy_core.chain":  # between one plugin and what it passes a request on to
            return "the core"
    return "the core"


def _modules(frame: FrameType | None) -> Iterator[str]:
    for one, _ in traceback.walk_stack(frame):
        yield one.f_globals.get("__name__", "")


def _root(module: str) -> str:
    """The package that a module is of: `plugins.NAME` of those that ship with the proxy, the first name of any other."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "plugins" else parts[0]
