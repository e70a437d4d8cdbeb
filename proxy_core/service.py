"""A server under an operator's orders: reload, drain and stop, by signal or by a changed file."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path

from .config import ProxyConfig
from .errors import ConfigError
from .loader import Loaded
from .server import Server
from .stalls import Stalls

log = logging.getLogger("darkroom")

AT_START = ("listen", "socket_mode", "workers", "stall", "state_dir")  # what a reload leaves as it is


class Orders:
    """What an operator wants of this process. `cut` is called by a second order to stop."""

    def __init__(self, cut: Callable[[], object]) -> None:
        self.reload = asyncio.Event()
        self.stop = asyncio.Event()
        self.cut = cut

    def stop_or_cut(self) -> None:
        if self.stop.is_set():
            self.cut()
        else:
            self.stop.set()


@contextlib.contextmanager
def on_signals(handlers: Mapping[signal.Signals, Callable[[], object]]) -> Iterator[None]:
    """Call a handler in the event loop for each signal, for as long as the context is open."""
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        with contextlib.suppress(NotImplementedError):  # an event loop without signals
            loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)


def by_signals(orders: Orders) -> contextlib.AbstractContextManager[None]:
    """SIGHUP reloads, SIGTERM and SIGINT stop; one of these once more cuts."""
    stop = orders.stop_or_cut
    return on_signals({signal.SIGHUP: orders.reload.set, signal.SIGTERM: stop, signal.SIGINT: stop})


def notify(*lines: str) -> None:
    """Tell systemd, where it started us with Type=notify (sd_notify(3)); else nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] in ("/", "@"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.sendto("\n".join(lines).encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)


@contextlib.asynccontextmanager
async def while_open(work: Coroutine[object, object, None], name: str) -> AsyncIterator[None]:
    """Have work run beside what is in the context; it is cancelled at its end."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_told_if_failed)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _told_if_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("%s ended, which it should not", task.get_name(), exc_info=task.exception())


class Watch:
    """Looks at the files of a config every `watch` seconds, and calls `changed` when one of them is another."""

    def __init__(self, path: Path, proxy: Callable[[], ProxyConfig], changed: Callable[[], object]) -> None:
        self._path = path
        self._proxy = proxy
        self._changed = changed
        self.forget()

    def forget(self) -> None:
        """Take the files as they are now for known."""
        self._known = self._seen = self._marks(self._proxy())

    def learn(self, proxy: ProxyConfig) -> None:
        """Know the files that a new config brought, too."""
        self._known = {**self._marks(proxy), **self._known}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._proxy().watch or 1.0)
            if self._proxy().watch:
                self.look()

    def look(self) -> None:
        """Look once."""
        now = self._marks(self._proxy())
        # Only what is the same at two looks: an editor may still be writing.
        if now == self._seen and any(self._known.get(path, mark) != mark for path, mark in now.items()):
            self._known = {**self._known, **now}
            self._changed()
        self._seen = now

    def _marks(self, proxy: ProxyConfig) -> Mapping[Path, object]:
        tls = proxy.tls
        marks: dict[Path, object] = {}
        for path in (self._path, *(tls.files if tls else [])):
            with contextlib.suppress(OSError):  # gone for the moment: some editors move a new file into its place
                found = path.stat()
                marks[path] = (found.st_mtime_ns, found.st_size, found.st_ino)
        return marks


def fixed_at_start(old: ProxyConfig, new: ProxyConfig) -> list[str]:
    """The keys that differ and that a reload does not take over."""
    return [f"proxy.{name}" for name in AT_START if getattr(old, name) != getattr(new, name)]


def refused(error: Exception) -> None:
    """Log that a new config is not taken, and why."""
    if isinstance(error, ConfigError):
        faults = [str(fault) for fault in error.faults]
        log.error("the new config is refused, and the old one kept: %s", "; ".join(faults), extra={"faults": faults})
    else:
        log.error("the new config cannot be started, and the old one is kept", exc_info=error)


async def serve(
    server: Server, orders: Orders, reread: Callable[[], Loaded], told: Callable[[str], object] = lambda outcome: None
) -> None:
    """Serve until a stop is ordered; then let what is in flight end.

    `reread` gives the config of the moment for a reload. `told` hears `ready`, `reloaded` or `refused`, and `stopping`.
    """
    async with server:
        told("ready")
        first = server.loaded.config.proxy

        async def reloads() -> None:
            while True:
                await orders.reload.wait()
                orders.reload.clear()
                told("reloaded" if await _reload(server, reread, first) else "refused")

        stall = first.stall
        async with while_open(reloads(), "reloads"), contextlib.AsyncExitStack() as stack:
            if stall:
                await stack.enter_async_context(Stalls(stall, lambda: server.loaded.by_name))
            await orders.stop.wait()
        limits = server.loaded.config.proxy.limits
        told("stopping")
        log.info("stopping: requests in flight have up to %g s to end; a second signal cuts them", limits.drain)
        await server.drain()


async def _reload(server: Server, reread: Callable[[], Loaded], first: ProxyConfig) -> bool:
    begun = time.monotonic()
    try:
        # In a thread: a plugin that was off until now is imported, which may take long.
        loaded = await asyncio.to_thread(reread)
        await server.reload(loaded)
    except Exception as error:  # noqa: BLE001  # whatever a plugin raises as it starts, the old one serves on
        refused(error)
        return False
    for key in fixed_at_start(first, loaded.config.proxy):
        log.warning("%s has changed, which takes effect at the next start", key)
    plugins = ", ".join(loaded.config.proxy.plugins)
    log.info("the config is loaded anew", extra={"plugins": plugins, "took_ms": round((time.monotonic() - begun) * 1000)})
    return True


async def run_alone(path: Path, loaded: Loaded, load: Callable[[Path], Loaded], listen: str | None) -> int:
    """One process, without a supervisor. Returns the exit status."""
    serving = asyncio.current_task()
    assert serving is not None  # noqa: S101  # for the type checker: this is a coroutine of a task
    orders = Orders(serving.cancel)
    server = Server(loaded, listen=listen)
    watch = Watch(path, lambda: server.loaded.config.proxy, orders.reload.set)

    def reread() -> Loaded:
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        watch.forget()
        loaded = load(path)
        watch.learn(loaded.config.proxy)
        return loaded

    def told(outcome: str) -> None:
        if outcome == "ready":
            announce(server.addresses, loaded)
        notify("STOPPING=1" if outcome == "stopping" else "READY=1")

    with by_signals(orders):
        async with while_open(watch.run(), "watch"):
            await serve(server, orders, reread, told)
    return 0


def announce(addresses: Sequence[object], loaded: Loaded) -> None:
    """Log where the proxy listens."""
    proxy = loaded.config.proxy
    scheme = "https" if proxy.tls else "http"
    places = [str(one) if str(one).startswith("unix:") else f"{scheme}://{one}" for one in addresses]
    plugins = ", ".join(proxy.plugins)
    log.info("listening on %s", ", ".join(places), extra={"url": places[0], "plugins": plugins, "workers": proxy.workers})
