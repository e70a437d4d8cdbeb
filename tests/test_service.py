"""Signals, reloads and drains of one process, with counting clients in the middle of everything."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from proxy_core.config import ProxyConfig
from proxy_core.service import Watch
from tests.operating import Clients, Notified, Place, darkroom, housed, soon, until, witness

ROUTED = """
    [proxy]
    listen = "127.0.0.1:0"
    watch = 0.05
    plugins = ["access_log"]
    [proxy.limits]
    drain = 10
    [proxy.routes."/v1"]
    upstream = "{}"
"""


async def test_sigterm_under_load_loses_nothing(tmp_path: Path) -> None:
    async with witness() as up, darkroom(tmp_path, ROUTED.format(up.url)) as proxy:
        clients = Clients(Place(proxy.port), up)
        await clients.everything()
        clients.signalled = True
        proxy.process.terminate()
        await proxy.line("stopping:")
        clients.stopping = True
        clients.finish()
        await clients.ended()
        assert await proxy.ended(5) == 0
        clients.judge()
        assert clients.refused == 2
        assert await Place(proxy.port).refuses()
        assert not [line for line in proxy.lines if line["level"] != "info"], proxy.log()


async def test_reloads_under_load_lose_nothing(tmp_path: Path) -> None:
    """By SIGHUP and by a changed file, back and forth."""
    async with witness() as up, darkroom(tmp_path, ROUTED.format(up.url)) as proxy:
        clients = Clients(Place(proxy.port), up)
        await clients.everything()
        for n in range(4):
            on = '["access_log", "signing", "image_edit", "sandbox"]' if n % 2 == 0 else '["access_log"]'
            table = ROUTED.format(up.url).replace('["access_log"]', on)
            if n < 2:
                await proxy.reload(table)
            else:
                proxy.write(table)
                await proxy.line("loaded anew", n + 1)
            if n == 1:
                clients.finish()
        clients.over = True
        await clients.ended()
        clients.judge()
        assert await proxy.stop() == 0
        assert not [line for line in proxy.lines if line["level"] != "info"], proxy.log()


HOUSED = """
    [proxy]
    listen = "127.0.0.1:0"
    watch = {watch}
    plugins = ["access_log", "house"]
    [proxy.limits]
    drain = {drain}
    shutdown_delay = {delay}
    [proxy.routes."/v1"]
    upstream = "{upstream}"
    first_byte_timeout = {timeout}
    [plugins.house]
    folder = "."
    word = "{word}"
"""


def housed_table(
    upstream: str = "http://127.0.0.1:9",
    *,
    watch: float = 0,
    drain: float = 10,
    delay: float = 0,
    timeout: float = 60,
    word: str = "first",
) -> str:
    return HOUSED.format(upstream=upstream, watch=watch, drain=drain, delay=delay, timeout=timeout, word=word)


async def word(place: Place) -> str:
    said: str = json.loads((await place.get("/word"))[2])["word"]
    return said


async def test_draining_is_told_on_open_connections_and_nothing_new_is_taken(tmp_path: Path) -> None:
    async with witness() as up, darkroom(tmp_path, ROUTED.format(up.url)) as proxy:
        place = Place(proxy.port)
        slow, *open_ = [await place.connect() for _ in range(4)]
        slow.send("GET", "/v1/slow?a")
        await until("the request at its upstream", lambda: up.begun)
        for line in open_:
            assert (await line.get("/readyz"))[0] == 200
        proxy.process.terminate()
        await proxy.line("stopping:")
        for line, target, status in zip(open_, ("/readyz", "/healthz", "/nowhere"), (503, 200, 404), strict=True):
            got, headers, _ = await line.get(target)
            assert (got, headers["connection"]) == (status, "close")
            assert await line.reader.read() == b""
        assert await place.refuses()
        up.release.set()
        _, headers, body = await slow.answer()
        assert (body, headers["connection"]) == (b"slow a", "close")
        for line in (slow, *open_):
            line.close()
        assert await proxy.ended(5) == 0


async def test_new_connections_are_taken_for_the_shutdown_delay(tmp_path: Path) -> None:
    async with witness() as up, darkroom(tmp_path, housed_table(up.url, delay=1.5), env=housed(tmp_path)) as proxy:
        place = Place(proxy.port)
        proxy.process.terminate()
        await proxy.line("stopping:")
        assert (await place.get("/readyz"))[0] == 503
        status, headers, body = await place.get("/v1/quick?a")
        assert (status, headers["connection"], body) == (200, "close", b"quick a")
        assert await proxy.ended(10) == 0
        assert await place.refuses()


async def test_what_does_not_end_is_cut(tmp_path: Path) -> None:
    async with witness() as up, darkroom(tmp_path, housed_table(up.url, drain=0.3), env=housed(tmp_path)) as proxy:
        place = Place(proxy.port)
        line, half = await place.connect(), await place.connect()
        line.send("GET", "/v1/slow?a")
        half.writer.write(b"GET /v1/quick?")
        assert (await place.get("/later"))[0] == 200
        await until("the request at its upstream", lambda: up.begun)
        assert await proxy.stop(5) == 0
        assert proxy.told("cut after 0.3 s: 2 connections and 1 background works had not ended")
        for one in (line, half):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await one.answer()
            one.close()
        assert proxy.told("GET /v1/slow")[0]["error"] == "the client left"


async def test_a_second_signal_cuts(tmp_path: Path) -> None:
    async with witness() as up, darkroom(tmp_path, ROUTED.format(up.url)) as proxy:
        line = await Place(proxy.port).connect()
        line.send("GET", "/v1/slow?a")
        await until("the request at its upstream", lambda: up.begun)
        proxy.process.terminate()
        await proxy.line("stopping:")
        proxy.process.send_signal(signal.SIGINT)
        assert await proxy.ended(5) == 130
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await line.answer()
        line.close()
        assert "Traceback" not in proxy.log()


async def test_a_stop_while_it_starts(tmp_path: Path) -> None:
    env = housed(tmp_path)
    (tmp_path / "wait").touch()
    async with darkroom(tmp_path, housed_table(), env=env, ready=False) as proxy:
        await until("the start", (tmp_path / "starting").exists)
        proxy.process.terminate()
        (tmp_path / "wait").unlink()
        assert await proxy.ended(5) == 0
        assert "Traceback" not in proxy.log()


async def test_background_work_ends_before_the_process(tmp_path: Path) -> None:
    async with darkroom(tmp_path, housed_table(), env=housed(tmp_path)) as proxy:
        assert (await Place(proxy.port).get("/later"))[0] == 200
        proxy.process.terminate()
        await proxy.line("stopping:")
        (tmp_path / "go").touch()
        assert await proxy.ended(8) == 0
        assert (tmp_path / "done").read_text() == "done"


async def test_a_plugin_is_switched_on_without_a_request_that_fails(tmp_path: Path) -> None:
    on = ROUTED.replace('["access_log"]', '["image_edit", "sandbox"]')
    off = ROUTED.replace('["access_log"]', "[]").replace('"/v1"', '"/other"')
    on = on.replace('"/v1"', '"/other"')
    body = b'{"model": "sandbox", "prompt": "a sun", "size": "16x16"}'
    seen: list[int] = []
    async with darkroom(tmp_path, off.format("http://127.0.0.1:9")) as proxy:
        line = await Place(proxy.port).connect()

        async def ask() -> None:
            while not seen or seen[-1] == 404:
                line.send("POST", "/v1/images/generations", f"Content-Length: {len(body)}", body=body)
                seen.append((await line.answer())[0])

        asking = asyncio.create_task(ask())
        await until("a few answers", lambda: len(seen) > 3)
        await proxy.reload(on.format("http://127.0.0.1:9"))
        await asyncio.wait_for(asking, 10)
        assert (seen[0], seen[-1]) == (404, 200)
        line.close()
        await proxy.reload(off.format("http://127.0.0.1:9"))
        assert (await Place(proxy.port).get("/v1/images/generations"))[0] == 404
        assert await proxy.stop() == 0


async def test_a_bad_config_is_refused_and_named_and_the_old_one_serves(tmp_path: Path) -> None:
    async with witness() as up, darkroom(tmp_path, housed_table(up.url, watch=0.05), env=housed(tmp_path)) as proxy:
        place = Place(proxy.port)
        good = housed_table(up.url, watch=0.05)
        for n, (table, named) in enumerate(
            [
                (good.replace("word =", "wrod ="), "plugins.house.wrod: unknown key; did you mean 'word'?"),
                (good.replace('"house"]', '"hause"]'), "no plugin 'hause' is installed"),
                (good + '[proxy.tls]\ncertificate = "gone.pem"\n', "proxy.tls.certificate: cannot read"),
                (good.replace("[proxy]", "[proxy"), "is not valid TOML"),
            ],
            1,
        ):
            proxy.write(table)
            assert named in (await proxy.line("the new config is refused", n))["message"]
            assert await word(place) == "first"
        (tmp_path / "broken").touch()
        proxy.write(good.replace('"first"', '"second"'))
        assert "the house is broken" in (await proxy.line("the new config cannot be started"))["exception"]
        assert await word(place) == "first"
        (tmp_path / "broken").unlink()
        await proxy.reload()
        assert await word(place) == "second"
        assert await proxy.stop() == 0


async def test_what_a_reload_takes_over_and_what_waits_for_the_next_start(tmp_path: Path) -> None:
    async with witness() as up, darkroom(tmp_path, housed_table(up.url), env=housed(tmp_path)) as proxy:
        place = Place(proxy.port)
        assert (await place.get("/v2"))[0] == 404
        new = housed_table(up.url, timeout=0.2, word="second").replace("drain =", "body = 10\n    drain =")
        new = new.replace('"127.0.0.1:0"', '"127.0.0.1:1"\n    workers = 2\n    state_dir = "other"\n    stall = 1.0')
        await proxy.reload(new + f'[proxy.routes."/v2"]\nupstream = "{up.url}"\n')
        for key in ("listen", "workers", "state_dir", "stall"):
            assert len(proxy.told(f"proxy.{key} has changed, which takes effect at the next start")) == 1
        line = await place.connect()
        line.send("POST", "/v1/slow?a", "Content-Length: 1", body=b"x")
        assert (await line.answer())[0] == 504
        line.send("POST", "/v1/upload?b", "Content-Length: 11", body=b"x" * 11)
        assert (await line.answer())[0] == 413
        line.close()
        assert (await place.get("/v2"))[0] == 200
        assert await proxy.stop() == 0


async def test_of_reloads_in_quick_succession_the_last_one_counts(tmp_path: Path) -> None:
    async with darkroom(tmp_path, housed_table(), env=housed(tmp_path)) as proxy:
        for n in range(20):
            proxy.write(housed_table(word=f"word {n}"))
            proxy.process.send_signal(signal.SIGHUP)
        place = Place(proxy.port)
        async with soon("the last word"):
            while await word(place) != "word 19":
                pass
        assert await proxy.stop() == 0
        assert not [line for line in proxy.lines if line["level"] != "info"], proxy.log()


@pytest.mark.parametrize("abstract", [False, True])
async def test_a_service_manager_is_told(tmp_path: Path, abstract: bool) -> None:
    address = f"@darkroom-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with Notified(address) as manager:
        async with darkroom(tmp_path, ROUTED.format("http://127.0.0.1:9"), env={"NOTIFY_SOCKET": address}) as proxy:
            await manager.hears("READY=1")
            await proxy.reload()
            await manager.hears("RELOADING=1")
            assert "MONOTONIC_USEC=" in manager.heard[-1]
            await manager.hears("READY=1")
            assert await proxy.stop() == 0
            await manager.hears("STOPPING=1")


def watching(path: Path) -> tuple[Watch, list[int]]:
    changes: list[int] = []
    proxy = ProxyConfig()
    return Watch(path, lambda: proxy, lambda: changes.append(1)), changes


def test_a_file_that_is_still_being_written_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("a")
    watch, changes = watching(path)
    watch.look()
    for n in range(5):
        path.write_text("a" * (n + 2))
        watch.look()
    assert not changes
    watch.look()
    watch.look()
    assert len(changes) == 1
    path.unlink()
    watch.look()
    watch.look()
    assert len(changes) == 1  # gone for the moment
    path.write_text("back")
    watch.look()
    watch.look()
    assert len(changes) == 2
    path.write_text("once more")
    watch.forget()  # as a reload by signal does
    watch.look()
    watch.look()
    assert len(changes) == 2


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_many_reloads_leave_nothing_behind(tmp_path: Path, loop: str) -> None:
    """Tasks, file descriptors, threads, and the stages themselves."""
    code = """
        import asyncio, gc, os, sys, threading, weakref
        from pathlib import Path
        from proxy_core.loader import load_file
        from proxy_core.server import Server
        from proxy_core.testing import loaded

        async def main():
            def made():
                table = {"proxy": {"plugins": ["access_log", "signing", "image_edit", "sandbox"], "state_dir": sys.argv[1]}}
                return loaded({**table, "plugins": {"image_edit": {}}})

            def counts():
                gc.collect()
                return len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd")), threading.active_count()

            async with Server(made(), listen="127.0.0.1:0") as server:
                async def served():
                    reader, writer = await asyncio.open_connection("127.0.0.1", server.url.port)
                    writer.write(b"GET /v1/models HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
                    assert (await reader.read()).startswith(b"HTTP/1.1 ")
                    writer.close()
                    await writer.wait_closed()

                stages = []
                for n in range(53):
                    await served()
                    stages.append(weakref.ref(server._stage))
                    await server.reload(made())
                    while server._retiring or server._http.count:
                        await asyncio.sleep(0)
                    if n == 2:
                        before = counts()
                assert counts() == before, (before, counts())
                assert not [ref for ref in stages if ref() is not None]

        if sys.argv[2] == "uvloop":
            import uvloop
            uvloop.run(main())
        else:
            asyncio.run(main())
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), str(tmp_path / "state"), loop]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
