"""Several serving processes on the same sockets: started, told, replaced when one dies, and stopped together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from .config import read
from .listen import address_of, bound
from .loader import Loaded, load_text
from .service import Orders, Watch, announce, by_signals, fixed_at_start, notify, refused, while_open
from .worker import Channel

log = logging.getLogger("darkroom")

RESTART = 0.1, 30.0  # seconds before a worker that died young is replaced: at first, and at most, doubling in between
YOUNG = 10.0  # seconds
SPARE = 10.0  # seconds beyond the drain time after which a worker that does not end is killed
ANSWER = 60.0  # seconds in which a worker should have taken a new config over

# Run without the working directory on the path: what lies there must not pass for ours. Where the proxy is run from a checkout
# that is not installed, its folder comes last.
_ROOT = Path(__file__).resolve().parent.parent
_START = "import sys; sys.path.append(sys.argv.pop(1)); from proxy_core.worker import main; sys.exit(main(int(sys.argv[1])))"


class Worker:
    """One serving process, and what it told of itself."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self.number = number
        self.process = process
        self.channel = channel
        self.started = time.monotonic()
        self.ready = False
        self.text = ""  # the config it was last told
        self.told: asyncio.Queue[str] = asyncio.Queue()

    async def ended(self) -> str:
        """Wait for its end, and say how it ended."""
        code = await self.process.wait()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"


class Supervisor:
    """Binds the sockets, which the workers inherit: what waits to be accepted waits for all of them, and outlives each."""

    def __init__(self, path: Path, text: str, loaded: Loaded, *, listen: str | None = None, form: str = "json") -> None:
        self._path = path
        self._text = text
        self._loaded = loaded
        self._listen = listen
        self._form = form
        self._workers: dict[int, Worker] = {}
        self._stopping = asyncio.Event()
        self._failed = self._was_cut = False
        self._all_ready = asyncio.Event()

    async def run(self) -> int:
        """Until SIGTERM or SIGINT. Returns the exit status: 1 if the workers could not be started or did not end well."""
        proxy = self._loaded.config.proxy
        orders = Orders(self._cut)
        watch = Watch(self._path, lambda: self._loaded.config.proxy, orders.reload.set)
        with bound(self._loaded.config.addresses(self._listen), proxy.socket_mode) as sockets, by_signals(orders):
            addresses = [address_of(one) for one in sockets]
            keepers = [asyncio.create_task(self._keep(number, sockets)) for number in range(1, proxy.workers + 1)]
            stop: asyncio.Future[Any] = asyncio.create_task(orders.stop.wait())
            ready: asyncio.Future[Any] = asyncio.create_task(self._all_ready.wait())
            ended: asyncio.Future[Any] = asyncio.gather(*keepers)
            await asyncio.wait([stop, ready, ended], return_when=asyncio.FIRST_COMPLETED)
            if self._all_ready.is_set():
                announce(addresses, self._loaded)
                notify("READY=1")
            async with while_open(watch.run(), "watch"), while_open(self._reloads(orders, watch), "reloads"):
                await asyncio.wait([stop, ended], return_when=asyncio.FIRST_COMPLETED)
            notify("STOPPING=1")
            for one in sockets:
                one.close()  # the workers take what waits, and then nobody is left who would
            await self._stop(ended)
            stop.cancel()
            ready.cancel()
            await asyncio.gather(stop, ready, return_exceptions=True)
        return 1 if self._failed else 130 if self._was_cut else 0

    async def _keep(self, number: int, sockets: list[socket.socket]) -> None:
        """Have a worker of this number, as long as the supervisor is not stopping."""
        wait = 0.0
        while not self._stopping.is_set():
            try:
                worker = await self._start(number, sockets)
            except OSError as error:  # no process, memory or file descriptor to be had
                if not self._all_ready.is_set():
                    raise
                wait = min(RESTART[1], wait * 2 or RESTART[0])
                log.error("worker %d cannot be started: %s; it is tried again in %g s", number, error, wait)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), wait)
                continue
            async with while_open(self._hear(worker), "a worker's words"):
                how = await worker.ended()
            worker.channel.close()
            del self._workers[number]
            if self._stopping.is_set():
                self._failed |= worker.process.returncode not in (0, 130)
                return
            if not self._all_ready.is_set():
                # What keeps one from starting keeps all: the operator is at hand, and has been told why.
                log.error("worker %d ended %s before it could serve", number, how)
                self._failed = True
                self._stopping.set()
                self._order("stop")
                return
            lived = time.monotonic() - worker.started
            wait = 0.0 if lived > YOUNG else min(RESTART[1], wait * 2 or RESTART[0])
            log.error("worker %d (process %d) ended %s; another takes its place", number, worker.process.pid, how)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)

    async def _start(self, number: int, sockets: list[socket.socket]) -> Worker:
        numbers = [one.fileno() for one in sockets]  # now: a stop closes them here, while the process is being made
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-c", _START, str(_ROOT), str(theirs.fileno()),
                pass_fds=[theirs.fileno(), *numbers],
                # A group of its own: Ctrl-C at a terminal is for the supervisor, which then tells the workers.
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"},
            )  # fmt: skip
        worker = self._workers[number] = Worker(number, process, await Channel.over(ours))
        worker.text = self._text
        worker.channel.send(path=str(self._path), text=self._text, sockets=numbers, form=self._form, number=number)
        if self._stopping.is_set():
            worker.channel.send(order="stop")
        return worker

    async def _hear(self, worker: Worker) -> None:
        while (message := await worker.channel.receive()) is not None:
            if message["told"] == "ready":
                worker.ready = True
                log.info("worker %d serves", worker.number, extra={"pid": worker.process.pid})
                wanted = self._loaded.config.proxy.workers if not self._all_ready.is_set() else 0
                if sum(one.ready for one in self._workers.values()) >= wanted:
                    self._all_ready.set()
            else:
                worker.told.put_nowait(message["told"])

    def _order(self, order: str, **more: str) -> None:
        for worker in self._workers.values():
            worker.channel.send(order=order, **more)

    async def _reloads(self, orders: Orders, watch: Watch) -> None:
        first = self._loaded.config.proxy
        while True:
            await orders.reload.wait()
            orders.reload.clear()
            notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            watch.forget()
            try:
                # Checked once, here, before any worker hears of it; they are sent these very words.
                text = await asyncio.to_thread(read, self._path)
                loaded = await asyncio.to_thread(load_text, text, self._path)
            except Exception as error:  # noqa: BLE001  # whatever a plugin raises as it is built, the old config serves on
                refused(error)
            else:
                watch.learn(loaded.config.proxy)
                before, self._text, self._loaded = (self._text, self._loaded), text, loaded
                if await self._tell(text, list(self._workers.values())):
                    for key in fixed_at_start(first, loaded.config.proxy):
                        log.warning("%s has changed, which takes effect at the next start", key)
                else:
                    # A worker that is replaced later must not be given what others could not start.
                    self._text, self._loaded = before
                    await self._tell(self._text, [one for one in self._workers.values() if one.text != self._text])
            notify("READY=1")

    async def _tell(self, text: str, asked: list[Worker]) -> bool:
        """Whether no worker refused a config. One that is only starting hears of it too: it was given the one before."""
        for worker in asked:
            worker.text = text
            worker.told = asyncio.Queue()  # an answer that came too late is none to this
            worker.channel.send(order="reload", text=text)
        answers = await asyncio.gather(*(self._answer(worker) for worker in asked))
        taken = answers.count("reloaded")
        refused = taken < len(answers) - answers.count("ended")
        log.log(
            logging.ERROR if refused else logging.INFO,
            "the config is loaded anew by %d of %d workers%s",
            *(taken, len(asked), "; all of them go back to the one before" if refused else ""),
        )
        return not refused

    async def _answer(self, worker: Worker) -> str:
        """What a worker says to a reload; one that ends meanwhile is replaced by one that starts with the new config."""
        said, ended = asyncio.ensure_future(worker.told.get()), asyncio.ensure_future(worker.process.wait())
        try:
            await asyncio.wait([said, ended], timeout=ANSWER, return_when=asyncio.FIRST_COMPLETED)
            return said.result() if said.done() else "ended" if ended.done() else "no answer"
        finally:
            said.cancel()
            ended.cancel()

    async def _stop(self, ended: asyncio.Future[Any]) -> None:
        self._stopping.set()
        limits = self._loaded.config.proxy.limits
        log.info("stopping: requests in flight have up to %g s to end; a second signal cuts them", limits.drain)
        self._order("stop")
        try:
            await asyncio.wait_for(asyncio.shield(ended), limits.shutdown_delay + limits.drain + SPARE)
        except TimeoutError:
            self._failed = True
            for worker in self._workers.values():
                log.error("worker %d does not end, and is killed", worker.number)
                worker.process.kill()
            await ended

    def _cut(self) -> None:
        self._was_cut = True
        self._order("cut")
