"""The command line, as an operator types it: real processes, their output and exit status."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

ROOT = Path(__file__).resolve().parent.parent


def darkroom(*args: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proxy_core", *args]
    environ = {**os.environ, **(env or {})}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60, env=environ)


def test_the_shipped_config_is_good_and_sends_nothing_anywhere() -> None:
    done = darkroom("check")
    assert done.returncode == 0, done.stderr
    assert "routes none" in done.stdout


def test_five_mistakes_are_five_lines(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        """
        [proxy]
        listen = "8080"
        plugins = ["acess_log", "image_edit", "bytedance"]
        [proxy.routes."/v1"]
        upstream = 7
        [plugins.image_edit]
        unsupported = "maybe"
        [plugins.bytedance]
        api_kye = "env:ARK_API_KEY"
        api_key = "env:ARK_API_KEY"
        """
    )
    done = darkroom("check", cwd=tmp_path, env={"ARK_API_KEY": ""})
    assert done.returncode == 1
    lines = [line.strip() for line in done.stderr.splitlines()[1:]]
    assert [line.partition(": ")[0] for line in lines] == [
        "plugins.bytedance.api_key",
        "plugins.bytedance.api_kye",
        "plugins.image_edit.unsupported",
        "proxy.listen",
        "proxy.plugins[0]",
        'proxy.routes."/v1".upstream',
    ]
    assert "did you mean 'api_key'?" in done.stderr
    assert "did you mean 'access_log'?" in done.stderr


@pytest.mark.parametrize(("text", "told"), [("[proxy\n", "line 1"), (None, "cannot read")])
def test_a_file_that_cannot_be_read(tmp_path: Path, text: str | None, told: str) -> None:
    if text is not None:
        (tmp_path / "config.toml").write_text(text)
    done = darkroom("check", cwd=tmp_path)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_plugins_are_listed_with_what_they_serve() -> None:
    done = darkroom("plugins")
    assert "access_log (on, 1 of 4)" in done.stdout
    assert "bytedance (off)" in done.stdout
    assert "    model sandbox\n" in done.stdout


def test_a_foreign_folder_named_plugins_does_not_hide_ours(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "__init__.py").write_text("")
    (tmp_path / "config.toml").write_text((ROOT / "config.toml").read_text())
    done = darkroom("check", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_foreign_package_that_does_hide_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "__init__.py").write_text("")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import plugins\n"
        "from proxy_core.testing import loaded\n"
        "loaded({'proxy': {'plugins': ['access_log']}})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert str(tmp_path / "plugins" / "__init__.py") in done.stderr


@pytest.mark.parametrize("args", [["verify"], ["verify", "no-such", "no-such"], ["nonsense"], []])
def test_a_wrong_call_is_usage(args: list[str]) -> None:
    done = darkroom(*args)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


async def test_run_serves_the_shipped_config_until_it_is_told_to_stop(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text((ROOT / "config.toml").read_text())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy_core", "run", "--listen", "127.0.0.1:0", "--log", "json", cwd=tmp_path, stderr=-1
    )
    assert process.stderr is not None
    started = json.loads(await process.stderr.readline())
    async with aiohttp.ClientSession() as http:
        body = {"model": "darkroom-demo", "prompt": "a red sun", "size": "64x64"}
        async with http.post(f"{started['url']}/v1/images/generations", json=body) as response:
            assert response.status == 200
    process.send_signal(signal.SIGTERM)
    _, rest = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0
    assert [json.loads(line)["logger"] for line in rest.splitlines()] == ["darkroom.access", "darkroom"]


async def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (tmp_path / "config.toml").write_text("[proxy]\n")
    done = await asyncio.to_thread(darkroom, "run", "--listen", f"127.0.0.1:{port}", cwd=tmp_path)
    server.close()
    assert done.returncode == 1
    assert f"cannot serve on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_shows_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text((ROOT / "config.toml").read_text())
    done = darkroom("demo", cwd=tmp_path)
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        assert "\n   VALID\n" in done.stdout
        assert "   INVALID: " in done.stdout
        assert "base_url = http://127.0.0.1:" in done.stdout
        for name in ("before.png", "after.png"):
            assert (tmp_path / "demo" / name).read_bytes().startswith(b"\x89PNG")
    finally:
        stopped = darkroom("demo", "--stop", cwd=tmp_path)
    assert "stopped" in stopped.stdout
