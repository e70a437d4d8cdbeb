"""One config's life: opened whole or not at all, and closed when its last request and the last work it left have ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy_core import Body, Handler, Middleware, Request, Response, hookimpl
from proxy_core.server import Server
from proxy_core.testing import loaded, plug
from tests.operating import Place, until


class Told(list[str]):
    """What happened, in order; and what lets it go on."""

    def __init__(self) -> None:
        self.go = asyncio.Event()


@pytest.fixture
def told() -> Told:
    return Told()


def known(told: Told) -> Any:
    @dataclass(kw_only=True)
    class House:
        word: str = ""
        fails: str = ""

        @hookimpl
        def proxy_lifespan(self) -> contextlib.AbstractAsyncContextManager[None]:
            return self._life()

        @contextlib.asynccontextmanager
        async def _life(self) -> AsyncIterator[None]:
            task = asyncio.current_task()
            if self.fails == "open":
                raise RuntimeError("it does not open")
            told.append(f"{self.word} opened")
            try:
                yield
            finally:
                assert asyncio.current_task() is task  # what it holds may belong to the task that opened it
                told.append(f"{self.word} closed")
            if self.fails == "close":
                raise RuntimeError("it does not close")

        @hookimpl
        def proxy_middleware(self) -> Middleware:
            async def middleware(request: Request, next: Handler) -> Response:
                if request.path == "/stream":
                    return Response(status=200, body=Body.stream(self._stream()))
                if request.path == "/later":
                    request.exchange.later(self._later())
                return Response.json({"word": self.word})

            return middleware

        async def _stream(self) -> Any:
            yield f"{self.word} begins, ".encode()
            await told.go.wait()
            yield f"{self.word} ends".encode()
            told.append(f"{self.word} streamed")

        async def _later(self) -> None:
            await told.go.wait()
            told.append(f"{self.word} worked")

    return plug(house=House, second=House)


def config(told: Told, folder: Path, word: str, **more: Any) -> Any:
    table = {"proxy": {"plugins": ["house"], "state_dir": str(folder), **more}, "plugins": {"house": {"word": word}}}
    return loaded(table, known(told))


@pytest.mark.parametrize("path", ["/stream", "/later"])
async def test_an_old_config_lives_until_its_last_request_has_ended(told: Told, tmp_path: Path, path: str) -> None:
    async with Server(config(told, tmp_path, "old"), listen="127.0.0.1:0") as server:
        place = Place(server.url.port or 0)
        line = await place.connect()
        line.send("GET", path)
        status, headers = await line.head()
        assert status == 200
        await server.reload(config(told, tmp_path, "new"))
        assert (await place.get("/"))[2] == b'{"word":"new"}'
        assert told == ["old opened", "new opened"]
        told.go.set()
        body = await line.body(headers)
        line.close()
        await until("the end of the old one", lambda: "old closed" in told)
        if path == "/stream":
            assert body == b"old begins, old ends"
        assert told == ["old opened", "new opened", "old streamed" if path == "/stream" else "old worked", "old closed"]
    assert told[-1] == "new closed"


async def test_three_configs_at_once(told: Told, tmp_path: Path) -> None:
    async with Server(config(told, tmp_path, "0"), listen="127.0.0.1:0") as server:
        place = Place(server.url.port or 0)
        lines = []
        for n in range(3):
            line = await place.connect()
            line.send("GET", "/stream")
            lines.append((line, await line.head()))
            await server.reload(config(told, tmp_path, f"{n + 1}"))
        assert not [one for one in told if "closed" in one]
        told.go.set()
        for n, (line, (_, headers)) in enumerate(lines):
            assert await line.body(headers) == f"{n} begins, {n} ends".encode()
            line.close()
        await until("the end of the old ones", lambda: {"0 closed", "1 closed", "2 closed"} <= set(told))
        assert "3 closed" not in told


async def test_a_config_that_does_not_open_leaves_nothing_open(told: Told, tmp_path: Path) -> None:
    """What was opened before it is closed again, and the old one serves on."""
    broken = loaded(
        {
            "proxy": {"plugins": ["house", "second"], "state_dir": str(tmp_path)},
            "plugins": {"house": {"word": "first"}, "second": {"fails": "open"}},
        },
        known(told),
    )
    async with Server(config(told, tmp_path, "old"), listen="127.0.0.1:0") as server:
        with pytest.raises(RuntimeError, match="does not open"):
            await server.reload(broken)
        assert told == ["old opened", "first opened", "first closed"]
        assert (await Place(server.url.port or 0).get("/"))[2] == b'{"word":"old"}'
    told.clear()
    with pytest.raises(RuntimeError, match="does not open"):
        async with Server(broken, listen="127.0.0.1:0"):
            pass
    assert told == ["first opened", "first closed"]


async def test_a_plugin_that_fails_as_it_is_closed_is_logged(
    told: Told, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = {"proxy": {"plugins": ["house"], "state_dir": str(tmp_path)}, "plugins": {"house": {"fails": "close"}}}
    caplog.set_level(logging.ERROR)
    async with Server(loaded(table, known(told)), listen="127.0.0.1:0") as server:
        await server.reload(loaded(table, known(told)))
        await until("the end of the old one", lambda: "a plugin failed as it was closed" in caplog.text)
        caplog.clear()
    assert "a plugin failed as it was closed" in caplog.text
    assert "it does not close" in caplog.text
