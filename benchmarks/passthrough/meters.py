"""What is read off the machine: a gateway's CPU time and memory, and how quiet the cores are."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


def family(pid: int) -> list[int]:
    """`pid` and all that descend from it."""
    found = [pid]
    for one in found:
        with suppress(OSError):
            for task in (_PROC / str(one) / "task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


@dataclass(frozen=True)
class Meter:
    """Seconds of CPU (user and system) and seconds of waiting for a core, of some processes up to now."""

    cpu: float
    waited: float

    @classmethod
    def read(cls, pids: Iterable[int]) -> Meter:
        cpu = waited = 0
        for pid in pids:
            with suppress(OSError):
                # The process's CPU clock (clock_getcpuclockid): utime + stime of /proc/PID/stat, whose ticks of 10 ms are
                # too coarse for nginx under a light load.
                cpu += time.clock_gettime_ns(~pid << 3 | 2)
                for task in (_PROC / str(pid) / "task").iterdir():
                    with suppress(OSError):
                        waited += int((task / "schedstat").read_text().split()[1])
        return cls(cpu / 1e9, waited / 1e9)


def reset_peak(pids: Iterable[int]) -> None:
    """Let the high-water mark of memory begin anew."""
    for pid in pids:
        with suppress(OSError):
            (_PROC / str(pid) / "clear_refs").write_text("5")


def peak(pids: Iterable[int]) -> float:
    """Megabytes: the high-water mark (VmHWM) since `reset_peak`, summed. What processes share is counted in each."""
    kilobytes = 0
    for pid in pids:
        with suppress(OSError):
            for line in (_PROC / str(pid) / "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    kilobytes += int(line.split()[1])
    return kilobytes * 1024 / 1e6


def allowed() -> list[int]:
    return sorted(os.sched_getaffinity(0))


@contextmanager
def on(cores: Sequence[int]) -> Iterator[None]:
    """Run on these cores; a process that is started meanwhile stays on them."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def calibrate(core: int) -> float:
    """Milliseconds that a fixed piece of pure computing takes on `core` right now: on a quiet machine always the same."""
    with on([core]):
        begun = time.perf_counter()
        value = 0
        for number in range(75_000):
            value ^= number * number
        return (time.perf_counter() - begun) * 1000
