"""The event loop that processes of the proxy run on."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import importlib
import os
from collections.abc import Callable, Coroutine
from typing import Any

_M_MMAP_THRESHOLD = -3  # of glibc's mallopt(3)
_LARGE = 256 * 1024  # bytes


def give_memory_back() -> None:
    """Have every large block go back to the system as soon as it is freed, where glibc has the memory.

    By itself it raises the size that it calls large to that of any such block that was freed, up to 32 MiB: bodies and pictures
    then come from its heap, and leave holes there. Under half an hour of mixed traffic that was 50 MiB and more, of a process
    that used 13. An operator's own setting, by environment, is left alone.
    """
    if "MALLOC_MMAP_THRESHOLD_" in os.environ or "mmap_threshold" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    with contextlib.suppress(OSError, AttributeError):  # another system's C library
        ctypes.CDLL("libc.so.6").mallopt(_M_MMAP_THRESHOLD, _LARGE)


def run_loop(work: Coroutine[Any, Any, int]) -> int:
    """Run `work` to its end; on uvloop where there is one, the proxy being the same without it."""
    give_memory_back()
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        factory = importlib.import_module("uvloop").new_event_loop
    # What is loaded by now stays, and need not be looked through for circles again and again. A request makes hundreds of
    # objects and hardly a circle: Python's default would look several times a request.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)
