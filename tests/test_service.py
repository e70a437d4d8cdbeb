"""Signals, reloads and drains of one process, with counting clients in the middle of everything."""

from __future__ import annotations

from pathlib import Path

from tests.operating import Clients, Place, darkroom, witness

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
