"""The event loop that processes of the proxy run on."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Callable, Coroutine
from typing import Any


def run_loop(work: Coroutine[Any, Any, int]) -> int:
    """Run `work` to its end; on uvloop where there is one, the proxy being the same without it."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)
