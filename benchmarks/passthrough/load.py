"""The load: wrk, one connection pool, and what it tells. A run with any failed request is an error, never a figure."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

BODY = '{"model": "some-text-model", "messages": [{"role": "user", "content": "%s"}]}' % ("words and words " * 16)
UPLOAD = 10 * 1024 * 1024


@dataclass(frozen=True)
class Workload:
    """One kind of request: `unit` is what one of it is called, `connections` how many are made at once."""

    name: str
    unit: str
    method: str
    path: str
    body: str  # Lua
    connections: int
    share: float  # of the seconds given
    received: int  # bytes of each answer's body, at least

    def script(self) -> str:
        return f"""
wrk.method = "{self.method}"
wrk.path = "{self.path}"
wrk.headers["Content-Type"] = "application/json"
wrk.body = {self.body}
"""


WORKLOADS = (
    Workload("small JSON", "request", "POST", "/v1/chat/completions", f"[[{BODY}]]", 32, 1.0, 500),
    Workload("events", "stream", "POST", "/v1/events", f"[[{BODY}]]", 64, 1.0, 3000),
    Workload("10 MB up", "upload", "POST", "/v1/upload", f'string.rep("x", {UPLOAD})', 8, 0.7, 500),
    Workload("10 MB down", "download", "GET", "/v1/download", "nil", 8, 0.7, 10 * 1024 * 1024),
)


@dataclass(frozen=True)
class Run:
    """One run of wrk. Latencies are milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float


class LoadError(RuntimeError):
    """Requests failed, or came back short."""


def press(
    port: int, workload: Workload, seconds: float, cores: set[int], folder: Path, *, connections: int | None = None
) -> Run:
    """Load a port for some seconds."""
    script = folder / "load.lua"
    script.write_text(workload.script())
    at_once = connections or workload.connections
    command = ["wrk", "-t1", f"-c{at_once}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "--latency", "-s", str(script)]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    out = done.stdout
    total = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m), ([\d.]+)([KMG]?)B read", out)
    wrong = re.search(r"Socket errors: .*|Non-2xx.*", out)
    if done.returncode or total is None or wrong:
        raise LoadError(f"{workload.name}: {wrong[0] if wrong else out + done.stderr}")
    requests = int(total[1])
    received = float(total[4]) * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[total[5]]
    if not requests or received < 0.9 * requests * workload.received:
        raise LoadError(f"{workload.name}: {requests} requests, {received:.0f} bytes read: answers are short")
    return Run(requests, _ms(total[2], total[3]) / 1000, *(_latency(out, percent) for percent in (50, 99)))


def _latency(out: str, percent: int) -> float:
    found = re.search(rf"^ +{percent}% +([\d.]+)(us|ms|s|m)$", out, re.MULTILINE)
    return _ms(found[1], found[2]) if found else 0.0


def _ms(number: str, unit: str) -> float:
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[unit]
