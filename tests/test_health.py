"""`darkroom health`: what a container's check or a script is told of a running proxy."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from proxy_core.health import ask
from proxy_core.listen import Address
from tests.certificates import Authority
from tests.operating import Place, darkroom, free_port, until, witness
from tests.test_main import darkroom as command


async def health(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(command, "health", *args, cwd=folder)


async def test_ready_over_tcp(tmp_path: Path) -> None:
    """What listens everywhere is asked on this machine."""
    port = free_port()
    async with darkroom(tmp_path, f'[proxy]\nlisten = "0.0.0.0:{port}"\n') as proxy:
        done = await health(tmp_path)
        assert (done.returncode, done.stdout) == (0, f"0.0.0.0:{port} is ready\n"), done.stderr
        for host in ("127.0.0.1", "localhost"):
            ready = await asyncio.to_thread(ask, [Address(host, port)], tls=False, timeout=5)
            assert ready == (True, f"{host}:{port} is ready")
        assert await proxy.stop() == 0
    done = await health(tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"0.0.0.0:{port} does not answer: Connection refused\n"


async def test_a_unix_socket_is_asked_first(tmp_path: Path) -> None:
    table = '[proxy]\nlisten = ["127.0.0.1:1", "unix:a.sock"]\n'.replace("127.0.0.1:1", "127.0.0.1:0")
    async with witness() as up, darkroom(tmp_path, table + f'[proxy.routes."/v1"]\nupstream = "{up.url}"\n') as proxy:
        done = await health(tmp_path)
        assert (done.returncode, done.stdout) == (0, f"unix:{tmp_path / 'a.sock'} is ready\n"), done.stderr
        slow = await Place(path=tmp_path / "a.sock").connect()
        slow.send("GET", "/v1/slow?a")
        await until("the request at its upstream", lambda: up.begun)
        proxy.process.terminate()
        await proxy.line("stopping:")
        done = await health(tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith(f"unix:{tmp_path / 'a.sock'} does not answer: ")
        up.release.set()
        assert (await slow.answer())[0] == 200
        slow.close()
        assert await proxy.ended(5) == 0
    done = await health(tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith(" does not answer: No such file or directory\n")


async def test_a_proxy_that_is_stopping_is_not_ready(tmp_path: Path) -> None:
    port = free_port()
    table = f'[proxy]\nlisten = "127.0.0.1:{port}"\n[proxy.limits]\nshutdown_delay = 20\n'
    async with darkroom(tmp_path, table) as proxy:
        proxy.process.terminate()
        await proxy.line("stopping:")
        done = await health(tmp_path)
        assert (done.returncode, done.stderr) == (1, f"127.0.0.1:{port} is draining\n")
        proxy.process.terminate()
        assert await proxy.ended(5) == 130


async def test_ready_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue(tmp_path)
    port = free_port()
    table = f'[proxy]\nlisten = "127.0.0.1:{port}"\n[proxy.tls]\ncertificate = "server.pem"\nkey = "server.key"\n'
    async with darkroom(tmp_path, table) as proxy:
        done = await health(tmp_path)
        assert (done.returncode, done.stdout) == (0, f"127.0.0.1:{port} is ready\n"), done.stderr
        assert await proxy.stop() == 0


async def test_what_is_no_proxy_or_says_nothing() -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail\r\n")
        await reader.read()
        writer.close()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for answer, told in ((rude, "does not answer: 220 mail"), (silent, "does not answer: timed out")):
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            found = await asyncio.to_thread(ask, [Address("127.0.0.1", port)], tls=False, timeout=0.5)
            assert (found[0], found[1].strip()) == (False, f"127.0.0.1:{port} {told}")


def test_a_wrong_address(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[proxy]\n")
    done = command("health", "--listen", "nonsense", cwd=tmp_path)
    assert done.returncode == 2
    assert "'nonsense' is not HOST:PORT" in done.stderr
    assert "Traceback" not in done.stderr
