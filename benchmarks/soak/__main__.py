"""`python -m benchmarks.soak`: one proxy under good and hostile traffic at once.

It fails where a good request was lost, a hostile one hung or was answered as it must not be, or memory, descriptors or threads
grew: each is compared between two pauses, when all clients have left, one after the first tenth of the time and one at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from .good import Client
from .hostile import PATIENCE, Attacker
from .sick import install
from .world import World, world

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"
GOOD, HOSTILE = 6, 10  # clients at once
IN_A_ROW = {"framing": 40, "odd JSON": 20, "odd form": 10, "bad link": 5, "bad upstream": 5}  # what waits for nothing
GROWTH = 8.0  # MiB between the two pauses: an allocator's play, over tens of thousands of requests
ANSWER = 60.0  # seconds that a good request may take while the machine is busy

# Short limits, so that what waits for one of them ends many times; by two ports alone may links lead to this machine.
CONFIG = """
[proxy]
listen = "127.0.0.1:0"
plugins = ["access_log", "sick", "signing", "image_edit", "sandbox", "openai_compatible"]
[proxy.limits]
body = 8388608
head_timeout = 3
body_timeout = 3
keepalive = 5
[proxy.guards.sick]
budget = 0.5
failures = 5
rest = 1
[proxy.calls]
first_byte_timeout = 5
read_timeout = 3
[proxy.routes."/v1"]
upstream = "http://127.0.0.1:{good}/v1"
[proxy.routes."/bad"]
upstream = "http://127.0.0.1:{bad}/bad"
first_byte_timeout = 2
read_timeout = 2
[plugins.image_edit.fetch]
allow_hosts = ["127.0.0.1:{good}", "127.0.0.1:{bad}"]
max_bytes = 1048576
read_timeout = 1
total_timeout = 3
retries = [0.2]
[plugins.openai_compatible.servers.soak]
base_url = "http://127.0.0.1:{good}/images/v1"
models = ["linked"]
"""


@dataclass
class Proxy:
    process: asyncio.subprocess.Process
    port: int

    def status(self, key: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
        raise LookupError(key)

    def figures(self) -> Figures:
        descriptors = len([*Path(f"/proc/{self.process.pid}/fd").iterdir()])
        return Figures(self.status("VmRSS") / 1024, descriptors, self.status("Threads"))


@dataclass(frozen=True)
class Figures:
    mebibytes: float
    descriptors: int
    threads: int


@dataclass
class Tally:
    """What was done, and what went wrong."""

    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    longest: dict[str, float] = field(default_factory=dict)

    def told(self) -> str:
        return f"{self.done.total():,} ({len(self.wrong)} not as they must be)"

    async def work(self, kinds: Mapping[str, Callable[[], Awaitable[None]]], patience: float, until: float) -> None:
        while time.monotonic() < until:
            for kind in [one for one in kinds for _ in range(IN_A_ROW.get(one, 1))]:
                once = kinds[kind]
                begun = time.monotonic()
                try:
                    async with asyncio.timeout(patience):
                        await once()
                except TimeoutError:
                    self.wrong.append(f"{kind}: not over after {patience:g} s")
                except Exception as error:  # noqa: BLE001  # a fault in here is told as one, too
                    self.wrong.append(f"{kind}: {type(error).__name__}: {error}")
                self.done[kind] += 1
                self.longest[kind] = max(self.longest.get(kind, 0), time.monotonic() - begun)
                if time.monotonic() >= until:
                    break


async def start(folder: Path, found: World) -> Proxy:
    (folder / "config.toml").write_text(CONFIG.format(good=found.good, bad=found.bad))
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "proxy_core", "run", "--config", str(folder / "config.toml"), "--log", "json"),
            cwd=folder,
            env={**os.environ, **install(folder)},
            stderr=log,
            start_new_session=True,  # an interrupt is ours to pass on
        )
    async with asyncio.timeout(30):
        while True:
            for line in (folder / "log").read_text().splitlines():
                with suppress(ValueError, KeyError):
                    return Proxy(process, int(json.loads(line)["url"].rpartition(":")[2]))
            if process.returncode is not None:
                raise SystemExit((folder / "log").read_text())
            await asyncio.sleep(0.05)


async def quiet(proxy: Proxy, pause: float) -> Figures:
    """The figures once every client has left: descriptors no longer fall."""
    found = proxy.figures()
    still = 0
    while still < 5:
        await asyncio.sleep(pause)
        now = proxy.figures()
        still = still + 1 if now.descriptors >= found.descriptors else 0
        found = now
    return found


async def load(proxy: Proxy, seconds: float, good: Tally, hostile: Tally, samples: list[float]) -> None:
    url, until = f"http://127.0.0.1:{proxy.port}", time.monotonic() + seconds
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        for n in range(GOOD):
            group.create_task(good.work(Client(http, url, f"client{n}").kinds, ANSWER, until))
        for n in range(HOSTILE):
            kinds = list(Attacker(proxy.port, f"attacker{n}").kinds.items())
            turned = dict(kinds[n:] + kinds[:n])  # not all of them the same at once
            group.create_task(hostile.work(turned, PATIENCE, until))
        while time.monotonic() < until:
            await asyncio.sleep(min(5, seconds / 4))
            samples.append(proxy.figures().mebibytes)
            told = f"good {good.told()}, hostile {hostile.told()}"
            print(f"\r{until - time.monotonic():6.0f} s left, {samples[-1]:.0f} MiB, {told} ", end="", file=sys.stderr)


async def soak(minutes: float) -> tuple[str, list[str]]:
    """The table, and what is wrong."""
    good, hostile = Tally(), Tally()
    samples: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with world() as found:
            proxy = await start(folder, found)
            try:
                await load(proxy, minutes * 6, good, hostile, samples)
                before = await quiet(proxy, min(2, minutes))
                await load(proxy, minutes * 54, good, hostile, samples)
                after = await quiet(proxy, min(2, minutes))
                proxy.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(30):
                    code = await proxy.process.wait()
            finally:
                with suppress(ProcessLookupError):
                    proxy.process.kill()
                await proxy.process.wait()
        log = (folder / "log").read_text().splitlines()
    wrong = [f"lost: {one}" for one in good.wrong] + [f"wrong: {one}" for one in hostile.wrong]
    if after.mebibytes - before.mebibytes > GROWTH:
        wrong.append(f"memory grew from {before.mebibytes:.1f} to {after.mebibytes:.1f} MiB")
    if after.descriptors > before.descriptors + 10:
        wrong.append(f"descriptors grew from {before.descriptors} to {after.descriptors}")
    if after.threads > before.threads + 4:
        wrong.append(f"threads grew from {before.threads} to {after.threads}")
    if code:
        wrong.append(f"it ended with {code}")
    for line in log:
        if not line.startswith("{") or ("Traceback" in line and "sick" not in line):
            wrong.append(f"logged: {line[:600]}")  # noqa: PERF401  # one line would be none to read
    last = len(samples) // 10
    rows = [
        f"| {label} | {kind} | {tally.done[kind]:,} | {tally.longest[kind]:.1f} s |"
        for label, tally in (("good", good), ("hostile", hostile))
        for kind in tally.done
    ]
    early, late = (f"{statistics.median(part):.0f} MiB" for part in (samples[last : 2 * last + 1], samples[-last - 1 :]))
    text = f"""{minutes:g} minutes. Good requests: {good.told()}. Hostile acts: {hostile.told()}.

| | after the first tenth of the time | at the end |
|---|---|---|
| resident memory, all clients gone | {before.mebibytes:.1f} MiB | {after.mebibytes:.1f} MiB |
| resident memory under load, median of a tenth of the time | {early} | {late} |
| open descriptors, all clients gone | {before.descriptors} | {after.descriptors} |
| threads | {before.threads} | {after.threads} |

| | what | times | the longest |
|---|---|---|---|
"""
    return text + "\n".join(rows), wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/README.md")
    args = parser.parse_args()
    text, wrong = asyncio.run(soak(args.minutes))
    print("\n" + text)
    for one, count in Counter(wrong).most_common(40):
        print(f"FAILED: {one} ({count} times)" if count > 1 else f"FAILED: {one}", file=sys.stderr)
    if args.write and not wrong:
        old = README.read_text()
        README.write_text(f"{old[: old.index(BEGIN)]}{BEGIN}\n\n{text}\n\n{old[old.index(END) :]}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
