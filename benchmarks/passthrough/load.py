"""The load: wrk where it is installed, else a small generator of our own; and one exchange looked at byte by byte."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .meters import on
from .workloads import Workload

_SCRIPT = """
wrk.method = "{method}"
wrk.headers["Content-Type"] = "application/json"
wrk.body = {body}
{delay}
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format("RESULT %d %d %d %d %d %d %d %d %d %d\\n", summary.requests, summary.bytes, summary.duration,
        latency:percentile(50), latency:percentile(99), e.connect, e.read, e.write, e.status, e.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """What the clients saw. `fault` is empty, or why this run must not be used."""

    requests: int
    bytes: int  # read by the clients, heads and cut answers with them
    seconds: float
    p50: float  # milliseconds
    p99: float
    fault: str = ""


class WrongAnswer(Exception):
    """A target's answer is not the upstream's."""


def generator() -> str:
    return "wrk" if shutil.which("wrk") else "builtin"


def run(workload: Workload, port: int, seconds: int, folder: Path, cores: Sequence[int], kind: str) -> Load:
    if kind == "wrk":
        return _wrk(workload, port, seconds, folder, cores)
    with on(cores):
        return asyncio.run(_builtin(workload, port, seconds))


def _wrk(workload: Workload, port: int, seconds: int, folder: Path, cores: Sequence[int]) -> Load:
    script = folder / f"{workload.name}.lua"
    if not script.exists():
        body = folder / f"{workload.name}.body"
        body.write_bytes(workload.body)
        delay = "function delay() return math.random({}, {}) end".format(*workload.pause) if workload.pause else ""
        read = f'assert(io.open("{body}", "rb")):read("*a")' if workload.body else "nil"
        script.write_text(_SCRIPT.format(method=workload.method, body=read, delay=delay), encoding="utf-8")
    command = ["wrk", "-t1", f"-c{workload.clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
    with on(cores):
        done = subprocess.run([*command, f"http://127.0.0.1:{port}{workload.path}"], capture_output=True, text=True)
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if found is None:
        return Load(0, 0, 1, 0, 0, f"wrk failed: {(done.stderr or done.stdout).strip()[-300:]}")
    requests, read_, duration, p50, p99, *errors = map(int, found[1].split())
    names = ("connect", "read", "write", "status", "timeout")
    fault = ", ".join(f"{count} {name} errors" for name, count in zip(names, errors, strict=True) if count)
    if not fault and read_ < requests * len(workload.answer):
        fault = f"{read_} bytes are too few for {requests} answers of {len(workload.answer)}"
    return Load(requests, read_, duration / 1e6, p50 / 1000, p99 / 1000, fault or ("" if requests else "no answer"))


async def _builtin(workload: Workload, port: int, seconds: float) -> Load:
    took: list[float] = []
    size = 0

    async def client() -> None:
        nonlocal size
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        try:
            while True:
                if workload.pause:
                    await asyncio.sleep(random.uniform(*workload.pause) / 1000)
                begun = time.perf_counter()
                size += await _exchange(workload, reader, writer)
                took.append((time.perf_counter() - begun) * 1000)
        finally:
            writer.close()

    begun = time.perf_counter()
    fault = ""
    clients = [asyncio.create_task(client()) for _ in range(workload.clients)]
    done, running = await asyncio.wait(clients, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    passed = time.perf_counter() - begun
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for task in done:
        fault = f"{type(task.exception()).__name__}: {task.exception()}"
    if len(took) < 2:
        return Load(len(took), size, passed, 0, 0, fault or "hardly an answer")
    cuts = statistics.quantiles(took, n=100)
    return Load(len(took), size, passed, cuts[49], cuts[98], fault)


def probe(workload: Workload, port: int) -> int:
    """Make one exchange, compare its answer byte by byte, and return its bytes on the wire."""

    async def once() -> int:
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
            try:
                return await _exchange(workload, reader, writer)
            finally:
                writer.close()

    try:
        return asyncio.run(once())
    except (OSError, ValueError, EOFError) as error:
        raise WrongAnswer(f"{workload.name}: {type(error).__name__}: {error}") from None


async def _exchange(workload: Workload, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    head = f"{workload.method} {workload.path} HTTP/1.1\r\nHost: bench\r\n"
    if workload.body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(workload.body)}\r\n"
    writer.write(head.encode() + b"\r\n")
    if workload.body:
        writer.write(workload.body)
    got = await reader.readuntil(b"\r\n\r\n")
    size = len(got)
    if not got.startswith(b"HTTP/1.1 200 "):
        raise WrongAnswer(f"{workload.name}: {got[:80]!r}")
    length = re.search(rb"\r\ncontent-length: *(\d+)\r\n", got, re.IGNORECASE)
    if length is not None:
        body = await reader.readexactly(int(length[1]))
        size += len(body)
    else:
        chunks = []
        while True:
            line = await reader.readuntil(b"\r\n")
            count = int(line, 16)
            chunk = await reader.readexactly(count + 2)
            size += len(line) + len(chunk)
            chunks.append(chunk[:-2])
            if not count:
                break
        body = b"".join(chunks)
    if body != workload.answer:
        raise WrongAnswer(f"{workload.name}: the body is not the upstream's ({len(body)} bytes)")
    return size


def ask(port: int, path: str) -> bytes:
    """The body of a small answer of the upstream's own."""

    async def once() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            return await reader.readexactly(int(length[1])) if length else b""
        finally:
            writer.close()

    return asyncio.run(once())
