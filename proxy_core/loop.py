"""The event loop that processes of the proxy run on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
from collections.abc import Callable, Coroutine
from typing import Any


def run_loop(work: Coroutine[Any, Any, int]) -> int:
    """Run `work` to its end; on uvloop where there is one, the proxy being the same without it."""
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
