"""A provider plugin that a stranger ships: installed from its own package, typed, found by its entry point, and served."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tests" / "third_party"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, installed by pip into a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--no-index", "--target", str(target), str(PACKAGE)], check=True, capture_output=True)
    return target


@pytest.fixture
async def acme() -> AsyncIterator[tuple[URL, list[Any]]]:
    """A service that takes a task, is busy once, and then links to its result."""
    from tests.pictures import png

    seen: list[Any] = []
    polls = 0

    async def submit(request: web.Request) -> web.Response:
        seen.append((request.headers["Authorization"], await request.json()))
        return web.json_response({"id": "t1"})

    async def poll(request: web.Request) -> web.Response:
        nonlocal polls
        polls += 1
        if polls == 1:
            return web.json_response({"state": "busy"})
        return web.json_response({"state": "done", "links": [str(request.url.origin() / "result.png")]})

    async def result(request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers
        return web.Response(body=png())

    app = web.Application()
    app.add_routes([web.post("/v2/edits", submit), web.get("/v2/edits/t1", poll), web.get("/result.png", result)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield URL(f"http://127.0.0.1:{runner.addresses[0][1]}"), seen
    await runner.cleanup()


def environ(installed: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(installed), **more}


async def test_it_is_found_and_served(installed: Path, acme: tuple[URL, list[Any]], tmp_path: Path) -> None:
    from tests.pictures import png

    service, seen = acme
    (tmp_path / "config.toml").write_text(
        f"""
        [proxy]
        listen = "127.0.0.1:0"
        plugins = ["image_edit", "acme"]
        [plugins.image_edit.fetch]
        allow_hosts = ["127.0.0.1:{service.port}"]
        [plugins.acme]
        api_key = "env:ACME_KEY"
        base_url = "{service / "v2"}"
        poll_every = 0.01
        """
    )
    command = [sys.executable, "-m", "proxy_core", "run", "--log", "json"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stderr=-1, env=environ(installed, ACME_KEY="k")
    )
    assert process.stderr is not None
    try:
        url = json.loads(await process.stderr.readline())["url"]
        picture = base64.b64encode(png()).decode()
        body = {"model": "acme-edit-2", "prompt": "add a hat", "images": [{"image_url": f"data:image/png;base64,{picture}"}]}
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{url}/v1/images/edits", json=body) as response:
                answer = await response.json()
                assert response.status == 200, answer
    finally:
        process.terminate()
        _, log = await process.communicate()
    assert base64.b64decode(answer["data"][0]["b64_json"]) == png()
    sent = {"engine": "acme-edit-2", "instruction": "add a hat", "inputs": [f"data:image/png;base64,{picture}"]}
    assert seen == [("Bearer k", sent)]
    assert b"job t1 runs at acme" in log


def test_its_own_tests_pass(installed: Path, tmp_path: Path) -> None:
    """With the suite that every provider inherits, run where the author would run it."""
    where = [str(PACKAGE / "test_acme.py"), "--rootdir", str(PACKAGE)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *where]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environ(installed))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "17 passed" in done.stdout


def test_it_type_checks_as_strictly_as_we_do(installed: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "-p", "darkroom_acme"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={**environ(installed), "MYPYPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stdout + done.stderr
