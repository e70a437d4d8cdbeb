"""Several workers under a supervisor: killed, replaced, reloaded and stopped, and what their clients notice of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.operating import Clients, Line, Notified, Place, Proxy, alive, darkroom, descendants, housed, until, witness

TABLE = """
    [proxy]
    listen = "127.0.0.1:0"
    workers = {workers}
    watch = {watch}
    plugins = ["access_log", "house"]
    [proxy.limits]
    drain = 10
    [proxy.routes."/v1"]
    upstream = "{upstream}"
    [plugins.house]
    folder = "."
    word = "{word}"
"""


def table(upstream: str = "http://127.0.0.1:9", *, workers: int = 2, watch: float = 0, word: str = "first") -> str:
    return TABLE.format(upstream=upstream, workers=workers, watch=watch, word=word)


async def word(line: Line) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await line.get("/word"))[2])
    return answer


async def one_each(proxy: Proxy, stack: AsyncExitStack, count: int = 2) -> dict[int, Line]:
    """A connection to each worker, by its process."""
    lines: dict[int, Line] = {}

    async def look() -> None:
        while len(lines) < count:
            line = await Place(proxy.port).connect()
            stack.callback(line.close)
            lines.setdefault((await word(line))["pid"], line)

    await asyncio.wait_for(look(), 20)
    return lines


async def words(proxy: Proxy, count: int = 2) -> set[str]:
    """What the workers say, a new connection to each."""
    async with AsyncExitStack() as stack:
        return {(await word(line))["word"] for line in (await one_each(proxy, stack, count)).values()}


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def test_sigterm_under_load_loses_nothing(tmp_path: Path) -> None:
    env = housed(tmp_path)
    async with witness() as up, darkroom(tmp_path, table(up.url, workers=3), env=env) as proxy:
        clients = Clients(Place(proxy.port), up)
        await clients.everything()
        clients.signalled = True
        proxy.process.terminate()
        await proxy.line("stopping:", 4)
        clients.stopping = True
        clients.finish()
        await clients.ended()
        assert await proxy.ended(8) == 0
        clients.judge()
        assert clients.refused == 2
        assert {line.get("worker") for line in proxy.told("GET /v1/quick")} == {1, 2, 3}
        assert not [line for line in proxy.lines if line["level"] != "info"], proxy.log()
        assert not [pid for pid in proxy.workers.values() if alive(pid)]


async def test_ctrl_c_at_a_terminal_under_load_loses_nothing(tmp_path: Path) -> None:
    """SIGINT goes to the whole process group, and must not cut what the supervisor lets end."""
    env = housed(tmp_path)
    async with witness() as up, darkroom(tmp_path, table(up.url), env=env) as proxy:
        clients = Clients(Place(proxy.port), up)
        await clients.everything()
        clients.signalled = True
        os.killpg(proxy.process.pid, signal.SIGINT)
        await proxy.line("stopping:", 3)
        clients.stopping = True
        clients.finish()
        await clients.ended()
        assert await proxy.ended(8) == 0
        clients.judge()


async def test_reloads_under_load_lose_nothing(tmp_path: Path) -> None:
    env = housed(tmp_path)
    async with witness() as up, darkroom(tmp_path, table(up.url, watch=0.05), env=env) as proxy:
        clients = Clients(Place(proxy.port), up)
        await clients.everything()
        for n in range(4):
            await proxy.reload(table(up.url, watch=0, word=f"by signal {n}"))
        assert await words(proxy) == {"by signal 3"}
        await proxy.reload(table(up.url, watch=0.05, word="watching again"))
        clients.finish()
        before = proxy.reloads
        proxy.write(table(up.url, watch=0.05, word="by file"))
        await until("the changed file", lambda: proxy.reloads > before)
        assert await words(proxy) == {"by file"}
        clients.over = True
        await clients.ended()
        clients.judge()
        assert await proxy.stop() == 0


async def test_a_killed_worker_costs_only_what_it_was_serving(tmp_path: Path) -> None:
    env = housed(tmp_path)
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(witness())
        proxy = await stack.enter_async_context(darkroom(tmp_path, table(up.url), env=env))
        first, second = proxy.workers[1], proxy.workers[2]
        lines = await one_each(proxy, stack)
        lines[second].send("GET", "/v1/slow?kept")
        await until("the request at its upstream", lambda: "kept" in up.begun)
        for pid in (first, second):
            os.kill(pid, signal.SIGSTOP)
            await until("that it stands", lambda pid=pid: stopped(pid))  # type: ignore[misc]
        # Nobody accepts now: these wait in the queue, which must outlive the worker that may have been about to.
        waiting = [await Place(proxy.port).connect() for _ in range(20)]
        for n, line in enumerate(waiting):
            stack.callback(line.close)
            line.send("GET", f"/v1/quick?{n}")
        os.kill(first, signal.SIGKILL)
        await proxy.line(f"worker 1 (process {first}) ended killed by SIGKILL; another takes its place")
        os.kill(second, signal.SIGCONT)
        for n, line in enumerate(waiting):
            assert (await asyncio.wait_for(line.answer(), 20))[2] == f"quick {n}".encode()
        up.release.set()
        assert (await lines[second].answer())[2] == b"slow kept"
        await proxy.line("worker 1 serves", 2)
        assert proxy.workers[1] != first
        assert set(await one_each(proxy, stack)) == set(proxy.workers.values())
        assert await proxy.stop() == 0


async def test_a_worker_that_keeps_dying_is_started_less_and_less_often(tmp_path: Path) -> None:
    env = housed(tmp_path)
    async with darkroom(tmp_path, table(), env=env) as proxy:
        (tmp_path / "broken").touch()
        os.kill(proxy.workers[1], signal.SIGKILL)
        await proxy.line("worker 1 (process", 3)
        said = proxy.told("worker 1 (process")
        assert "SIGKILL" in said[0]["message"]
        assert all("ended with exit status 1;" in line["message"] for line in said[1:])
        assert proxy.told("the house is broken")
        times = [datetime.fromisoformat(line["time"]).timestamp() for line in said]
        # Each wait is the one before doubled, 0.1 and 0.2 s, beside the start itself.
        assert times[2] - times[0] > 0.1 + 0.2
        assert (await Place(proxy.port).get("/word"))[0] == 200
        (tmp_path / "broken").unlink()
        await proxy.line("worker 1 serves", 2)
        assert await proxy.stop() == 0


async def test_workers_that_cannot_start_end_the_start(tmp_path: Path) -> None:
    env = housed(tmp_path)
    (tmp_path / "broken").touch()
    async with darkroom(tmp_path, table(), env=env, ready=False) as proxy:
        await proxy.line("the house is broken")
        children = descendants(proxy.process.pid)
        assert await proxy.ended() == 1
        await proxy.line("before it could serve")
        assert not proxy.told("listening on")
        assert not [pid for pid in children if alive(pid)]


async def test_what_is_refused_is_refused_by_all_and_a_new_worker_runs_what_was_accepted(tmp_path: Path) -> None:
    env = housed(tmp_path)
    async with darkroom(tmp_path, table(), env=env) as proxy:
        proxy.write(table().replace('"house"]', '"hause"]'))
        proxy.process.send_signal(signal.SIGHUP)
        assert "worker" not in await proxy.line("the new config is refused")
        await proxy.reload(table(word="second", workers=3))
        await proxy.line("proxy.workers has changed")
        assert await words(proxy) == {"second"}
        # What only shows as a worker starts it: all go back, and a worker to come must not be given it.
        (tmp_path / "broken").touch()
        proxy.write(table(word="third"))
        proxy.process.send_signal(signal.SIGHUP)
        await proxy.line("by 0 of 2 workers")
        (tmp_path / "broken").unlink()
        await proxy.line("cannot be started", 2)
        first = proxy.workers[1]
        os.kill(first, signal.SIGKILL)
        await proxy.line("worker 1 serves", 2)
        assert await words(proxy) == {"second"}
        # A worker that starts while a config is taken over runs the new one too.
        (tmp_path / "wait").touch()
        (tmp_path / "starting").unlink()
        os.kill(proxy.workers[1], signal.SIGKILL)
        await until("its start", (tmp_path / "starting").exists)
        (tmp_path / "starting").unlink()
        before = proxy.reloads
        proxy.write(table(word="fourth"))
        proxy.process.send_signal(signal.SIGHUP)
        await until("that the other one begins with it", (tmp_path / "starting").exists)
        (tmp_path / "wait").unlink()
        await proxy.line("worker 1 serves", 3)
        await until("the new config everywhere", lambda: proxy.reloads > before)
        assert await words(proxy) == {"fourth"}
        assert len(proxy.told("the new config is refused")) == 1
        assert await proxy.stop() == 0


async def test_without_their_supervisor_workers_end_what_they_serve(tmp_path: Path) -> None:
    env = housed(tmp_path)
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(witness())
        proxy = await stack.enter_async_context(darkroom(tmp_path, table(up.url), env=env))
        place = Place(proxy.port)
        lines = await one_each(proxy, stack)
        for pid, line in lines.items():
            line.send("GET", f"/v1/slow?{pid}")
        await until("both at their upstream", lambda: len(up.begun) == 2)
        proxy.process.kill()
        await proxy.line("stopping:", 2)
        up.release.set()
        for pid, line in lines.items():
            assert (await line.answer())[2] == f"slow {pid}".encode()
        await until("the workers' end", lambda: not any(map(alive, lines)))
        assert await place.refuses()


async def test_without_their_supervisor_workers_that_only_start_end(tmp_path: Path) -> None:
    env = housed(tmp_path)
    (tmp_path / "wait").touch()
    async with darkroom(tmp_path, table(), env=env, ready=False) as proxy:
        await until("a worker's start", (tmp_path / "starting").exists)
        children = descendants(proxy.process.pid)
        proxy.process.kill()
        await until("the workers' end", lambda: not any(map(alive, children)))


async def test_a_second_signal_cuts(tmp_path: Path) -> None:
    env = housed(tmp_path)
    async with witness() as up, darkroom(tmp_path, table(up.url), env=env) as proxy:
        line = await Place(proxy.port).connect()
        line.send("GET", "/v1/slow?a")
        await until("the request at its upstream", lambda: up.begun)
        proxy.process.terminate()
        await proxy.line("stopping:", 3)
        proxy.process.terminate()
        assert await proxy.ended(5) == 130
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await line.answer()
        line.close()
        assert not [pid for pid in proxy.workers.values() if alive(pid)]


@pytest.mark.parametrize("delay", [0.0, 0.3])
async def test_a_stop_while_a_worker_is_replaced(tmp_path: Path, delay: float) -> None:
    env = housed(tmp_path)
    async with darkroom(tmp_path, table(), env=env) as proxy:
        os.kill(proxy.workers[1], signal.SIGKILL)
        await proxy.line("another takes its place")
        await asyncio.sleep(delay)  # some moment of the new one's start
        assert await proxy.stop() == 0, proxy.log()


async def test_a_stop_before_all_workers_serve(tmp_path: Path) -> None:
    env = housed(tmp_path)
    (tmp_path / "wait").touch()
    async with darkroom(tmp_path, table(), env=env, ready=False) as proxy:
        await until("a worker's start", (tmp_path / "starting").exists)
        children = descendants(proxy.process.pid)
        proxy.process.terminate()
        assert await proxy.ended(5) == 0, proxy.log()
        assert not [pid for pid in children if alive(pid)]


async def test_workers_share_their_keys_and_are_not_fooled_by_the_working_directory(tmp_path: Path) -> None:
    for name in ("proxy_core", "plugins"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not ours')")
    env = housed(tmp_path)
    config = table(workers=3).replace('"access_log", ', '"signing", ')
    async with AsyncExitStack() as stack:
        with Notified(str(tmp_path / "notify")) as manager:
            env["NOTIFY_SOCKET"] = str(tmp_path / "notify")
            proxy = await stack.enter_async_context(darkroom(tmp_path, config, env=env))
            await manager.hears("READY=1")
            lines = await one_each(proxy, stack, 3)
            answers = {(await line.get("/.well-known/darkroom/keys.json"))[::2] for line in lines.values()}
            assert len(answers) == 1
            assert answers.pop()[0] == 200
            await proxy.reload()
            await manager.hears("RELOADING=1")
            await manager.hears("READY=1")
            assert await proxy.stop() == 0
            await manager.hears("STOPPING=1")
