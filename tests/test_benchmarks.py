"""The benchmark runs, checks the answers it counts, and ends what it started. How fast anything is, is no test's business."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvloop", reason="the benchmark's servers run on uvloop")
if not sys.platform.startswith("linux"):
    pytest.skip("the benchmark reads /proc", allow_module_level=True)

from benchmarks.passthrough import load
from benchmarks.passthrough.meters import allowed, family
from benchmarks.passthrough.tables import Figures, ratios, spread, table
from benchmarks.passthrough.targets import UPSTREAM, Broken, Command, Started
from benchmarks.passthrough.workloads import WORKLOADS
from benchmarks.soak.__main__ import soak

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "benchmarks.passthrough"]


def bench(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *args], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    "generator",
    ["builtin", pytest.param("wrk", marks=pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed"))],
)
def test_a_quick_run_gives_a_table(generator: str) -> None:
    done = bench("--quick", "--targets", "yardstick", "darkroom", "--workloads", "json", "--generator", generator)
    assert done.returncode == 0, done.stderr
    heads, _, *rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in heads.split("|")][1:3] == ["target", "requests/s"]
    assert [row.split("|")[1].strip() for row in rows] == [
        "no proxy",
        "barest aiohttp proxy",
        "Darkroom, shipped plugins, access log",
    ]
    for row in rows[1:]:
        rate, _, cpu, _, peak = (cell.strip() for cell in row.split("|")[2:7])
        assert float(rate.replace(",", "")) > 0
        assert float(cpu) > 0
        assert float(peak) > 1
    assert "Noise: " in done.stdout
    assert "Failed" not in done.stdout


@pytest.mark.skipif(not shutil.which("nginx", path="/usr/sbin:/usr/bin"), reason="nginx is not installed")
def test_every_workload_through_nginx(tmp_path: Path) -> None:
    from benchmarks.passthrough.targets import COMMANDS

    nginx = next(one for one in COMMANDS if one.name == "nginx")
    with Started(tmp_path) as started:
        upstream = started.start(UPSTREAM, allowed())
        target = started.start(nginx, allowed(), upstream.port)
        for workload in WORKLOADS:
            assert load.probe(workload, target.port) > len(workload.answer)


def test_a_wrong_answer_is_never_a_figure(tmp_path: Path) -> None:
    with Started(tmp_path) as started:
        upstream = started.start(UPSTREAM, allowed())
        workload = WORKLOADS[0]
        other = type(workload)(**{**vars(workload), "body": b"{}"})  # which the upstream does not know
        with pytest.raises(load.WrongAnswer, match="400"):
            load.probe(other, upstream.port)
        assert "400" in load.run(other, upstream.port, 1, tmp_path, allowed(), "builtin").fault
        if shutil.which("wrk"):
            assert "status errors" in load.run(other, upstream.port, 1, tmp_path, allowed(), "wrk").fault


def test_failed_runs_are_named_and_left_out() -> None:
    workload = WORKLOADS[0]
    runs = {
        ("json", "yardstick"): [Figures(rate=100, cpu=1), Figures(rate=100, cpu=1)],
        ("json", "darkroom"): [Figures(rate=90, cpu=2), Figures(rate=1, cpu=9, fault="2 read errors")],
    }
    text = table(workload, {"darkroom": "Darkroom"}, runs)
    assert "**1 of 2 runs failed**" in text
    assert "| 90 | 90 % | 2 | 50 % |" in text
    assert ratios(runs, "json", "darkroom", lambda run: run.rate) == [90]


def test_a_spread_is_the_distance_of_the_extremes_from_the_median() -> None:
    assert spread([90, 100, 120]) == " (\N{MINUS SIGN}10 +20 %)"
    assert spread([100]) == ""


def test_what_does_not_serve_says_why(tmp_path: Path) -> None:
    silent = Command("silent", "silent", lambda *where: [sys.executable, "-c", "raise SystemExit('no port for me')"])
    with Started(tmp_path) as started, pytest.raises(Broken, match="no port for me"):
        started.start(silent, allowed())


def running(pid: int) -> str:
    """Its line of proc(5)'s `stat`; nothing for what has ended, be it that nobody has asked after it."""
    try:
        stat = (Path("/proc") / str(pid) / "stat").read_text()
    except OSError:
        return ""
    return "" if stat.rpartition(")")[2].split()[0] == "Z" else stat


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_no_process_behind(number: signal.Signals) -> None:
    arguments = ["--targets", "yardstick", "--workloads", "json", "--generator", "builtin"]
    process = subprocess.Popen([*COMMAND, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 30
        while len(children := family(process.pid)) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(children) == 3, "the upstream and the yardstick run"
        process.send_signal(number)
        _, told = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, told
    assert re.search("everything that was started has been ended", told)
    deadline = time.monotonic() + 30  # whoever inherits them has to notice that they ended
    while (left := [stat for pid in children if (stat := running(pid))]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def test_interrupted_in_the_moment_of_a_start_it_leaves_no_process_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    sleeper = Command("sleeper", "sleeper", lambda *where: [sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with pytest.raises(KeyboardInterrupt), Started(tmp_path) as started:
            started.start(sleeper, allowed())
    finally:
        signal.signal(signal.SIGINT, before)
    assert made[0].returncode == -signal.SIGTERM


def test_what_a_signature_costs_is_told() -> None:
    command = [sys.executable, "-m", "benchmarks.signing", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| the ")]
    assert len(rows) == 6
    assert all(float(row[2]) > 0 for row in rows)


async def test_a_short_soak_loses_nothing() -> None:
    table, wrong = await soak(0.03)
    assert not [one for one in wrong if " grew from " not in one]  # which memory and threads do until all is warm
    assert re.search(r"\| good \| picture from a link \| [1-9]", table)
    assert re.search(r"\| hostile \| framing \| [1-9]", table)
