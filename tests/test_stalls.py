"""An event loop that stands still is noticed, and whose code it stands in; one that is only busy is not."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import time
import types
import weakref
from pathlib import Path
from typing import Any

import pytest

from proxy_core.stalls import Stalls, place
from tests.operating import Place, darkroom, housed, until
from tests.test_service import housed_table


def stranger(name: str) -> Any:
    """A module of another package, with a class, and a function that calls another."""
    module = types.ModuleType(name)
    exec("class Plugin: pass\ndef through(call): return call()\nasync def within(call): return call()", vars(module))
    return module


@pytest.fixture
def plugins() -> dict[str, Any]:
    return {"acme": stranger("acme_images.plugin"), "ours": stranger("plugins.image_edit.plugin")}


def instances(plugins: dict[str, Any]) -> dict[str, object]:
    return {name: module.Plugin() for name, module in plugins.items()}


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "stood still" in record.getMessage()]


async def blocked(plugins: dict[str, Any], call: Any, limit: float = 0.05) -> None:
    async with Stalls(limit, lambda: instances(plugins)):
        await asyncio.sleep(0)
        call()
        await asyncio.sleep(limit)  # so that the heart beats once more


# Blocks in code that is nobody's.
block = types.FunctionType(compile("import time; time.sleep(0.3)", "<nobody>", "exec"), {"__name__": "nobody"})


async def test_the_innermost_plugin_is_named(plugins: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """As with a provider, whose generator image_edit drives."""
    ours, acme = plugins["ours"].through, plugins["acme"].through
    await blocked(plugins, lambda: ours(lambda: acme(block)))
    await blocked(plugins, lambda: acme(lambda: ours(block)))
    assert [line.rpartition(" in ")[2] for line in said(caplog)] == ["plugin acme", "plugin ours"]
    record: Any = caplog.records[0]
    assert record.stalled_ms >= 150
    assert record.cpu_ms < record.stalled_ms
    assert "through:" in record.stack


async def test_the_core_is_not_blamed_on_a_plugin(plugins: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    await blocked(plugins, block)
    assert [line.rpartition(" in ")[2] for line in said(caplog)] == ["the core"]


def test_what_a_plugin_passed_on_is_not_its_own(plugins: dict[str, Any]) -> None:
    chain = stranger("proxy_core.chain")
    found = plugins["acme"].through(lambda: chain.through(lambda: place(sys._getframe(), instances(plugins))))
    assert found == "the core"
    assert plugins["acme"].through(lambda: place(sys._getframe(), instances(plugins))) == "plugin acme"


async def test_no_false_alarm(plugins: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Neither on a loop that is idle, nor on one that is busy with many short things."""
    async with Stalls(0.3, lambda: instances(plugins)):
        await asyncio.sleep(0.4)
        until_ = time.monotonic() + 0.6
        while time.monotonic() < until_:
            time.sleep(0.001)
            await asyncio.sleep(0)
    assert not said(caplog)


async def test_a_stall_that_does_not_end_is_told_while_it_lasts(
    plugins: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    over = threading.Event()

    def wait() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not [r for r in caplog.records if "stands still since" in r.getMessage()]:
            over.wait(0.01)

    await blocked(plugins, lambda: plugins["acme"].through(wait), limit=0.02)
    (record,) = [record for record in caplog.records if "stands still since" in record.getMessage()]
    assert record.levelno == logging.ERROR
    assert record.getMessage().endswith(" in plugin acme")


async def test_what_stalled_is_not_kept(plugins: dict[str, Any]) -> None:
    class Held:
        pass

    async with Stalls(0.05, lambda: instances(plugins)):
        await asyncio.sleep(0)

        def call() -> weakref.ref[Held]:
            held = Held()
            time.sleep(0.3)
            return weakref.ref(held)

        ref = call()
        await asyncio.sleep(0.05)
        gc.collect()
        assert ref() is None


async def test_a_plugin_that_blocks_a_running_proxy(tmp_path: Path) -> None:
    table = housed_table().replace('"127.0.0.1:0"', '"127.0.0.1:0"\n    stall = 0.1')
    async with darkroom(tmp_path, table, env=housed(tmp_path)) as proxy:
        await until("its thread", lambda: len(os.listdir(f"/proc/{proxy.process.pid}/task")) == 2)
        assert (await Place(proxy.port).get("/block"))[0] == 200
        line = await proxy.line("the event loop stood still for")
        assert line["message"].endswith(" in plugin house")
        assert line["level"] == "warning"
        assert "middleware:" in line["stack"]
        assert await proxy.stop() == 0


async def test_no_limit_no_thread(tmp_path: Path) -> None:
    table = housed_table().replace('"127.0.0.1:0"', '"127.0.0.1:0"\n    stall = 0')
    async with darkroom(tmp_path, table, env=housed(tmp_path)) as proxy:
        assert len(os.listdir(f"/proc/{proxy.process.pid}/task")) == 1
        assert (await Place(proxy.port).get("/block"))[0] == 200
        assert await proxy.stop() == 0
        assert not proxy.told("stood still")
