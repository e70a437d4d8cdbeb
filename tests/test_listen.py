"""Addresses as an operator writes them, and the sockets behind them: whose file it is, and what is left at the end."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from proxy_core.listen import Address, address_of, bound, parse_address
from proxy_core.server import Server
from proxy_core.testing import loaded
from tests.operating import Place, darkroom, witness
from tests.test_main import darkroom as command


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:8080", Address("::1", 8080)),
        ("[::]:1", Address("::", 1)),
        ("unix:run/a.sock", Address(path=Path("folder/run/a.sock"))),
        ("unix:/run/a.sock", Address(path=Path("/run/a.sock"))),
    ],
)
def test_an_address_is_read(text: str, address: Address) -> None:
    assert parse_address(text, Path("folder")) == address


def test_an_address_is_shown_as_it_is_written() -> None:
    for text in ("127.0.0.1:8080", "[::1]:8080", "unix:/run/a.sock"):
        assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "8080", ":8080", "host", "host:", "host:x", "host:65536", "host:-1", "host:+1", "a/b:1", "unix:", "unix:a\0b", "h:٣"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_address(text)


def test_one_port_for_every_family_of_a_name() -> None:
    with bound([Address("localhost", 0)], 0o660) as sockets:
        ports = {address_of(one).port for one in sockets}
        assert len(ports) == 1
        assert 0 not in ports
    assert all(one.fileno() == -1 for one in sockets)


def test_a_family_that_the_machine_has_not_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where `localhost` is also ::1, and there is no IPv6."""
    elsewhere = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))
    here = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))
    unknown = (99, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [elsewhere, unknown, here])
    with bound([Address("name", 0)], 0o660) as sockets:
        assert [address_of(one).host for one in sockets] == ["127.0.0.1"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [elsewhere, unknown])
    with pytest.raises(OSError, match="name:0"), bound([Address("name", 0)], 0o660):
        pass


def test_an_address_in_use_is_named_and_what_was_bound_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with bound([Address("127.0.0.1", 0)], 0o660) as (taken,):
        with pytest.raises(OSError) as caught, bound([Address(path=path), address_of(taken)], 0o660):
            pass
    assert caught.value.errno == errno.EADDRINUSE
    assert str(caught.value.filename).startswith("127.0.0.1:")
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_unix_socket_has_the_permissions_that_were_asked_for(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.sock"
    before = os.umask(0o077)
    try:
        with bound([Address(path=path)], mode):
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)
    assert not path.exists()


def test_the_file_of_a_killed_process_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with bound([Address(path=path)], 0o660):
        with pytest.raises(OSError) as caught, bound([Address(path=path)], 0o660):
            pass
        assert (caught.value.errno, caught.value.filename) == (errno.EADDRINUSE, f"unix:{path}")
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(path))  # the first is none the worse
    assert not path.exists()


def test_a_live_socket_whose_queue_is_full_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(OSError) as caught, bound([Address(path=path)], 0o660):
            pass
    assert caught.value.errno == errno.EADDRINUSE
    assert path.exists()


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    path.write_text("mine")
    with pytest.raises(OSError) as caught, bound([Address(path=path)], 0o660):
        pass
    assert caught.value.errno == errno.EADDRINUSE
    assert path.read_text() == "mine"


def test_a_successors_file_is_not_removed(tmp_path: Path) -> None:
    """Although the file system may have given it the very inode that the first one had."""
    path = tmp_path / "a.sock"
    first = bound([Address(path=path)], 0o660)
    (listening,) = first.__enter__()
    listening.close()  # it has stopped listening, and still lets requests end
    with bound([Address(path=path)], 0o660):
        first.__exit__(None, None, None)
        assert path.exists()
    assert not path.exists()


def test_a_path_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'[proxy]\nlisten = ["127.0.0.1:0", "unix:{"x" * 200}"]\n')
    done = command("run", cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot serve on unix:" in done.stderr
    assert "too long" in done.stderr
    (tmp_path / "config.toml").write_text('[proxy]\nlisten = "unix:nowhere/a.sock"\n')
    done = command("run", cwd=tmp_path)
    assert done.returncode == 1
    assert "nowhere/a.sock: No such file or directory" in done.stderr


@pytest.mark.parametrize("workers", [1, 2])
async def test_several_addresses_at_once(tmp_path: Path, workers: int) -> None:
    """A relative path starts at the config's folder; the file of a killed process is replaced, its successor's is removed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    table = f"""
        [proxy]
        listen = ["127.0.0.1:0", "unix:a.sock", "localhost:0"]
        socket_mode = 0o600
        workers = {workers}
        [proxy.routes."/v1"]
        upstream = "{{}}"
    """
    path = tmp_path / "a.sock"
    async with witness() as up:
        async with darkroom(tmp_path, table.format(up.url), cwd=elsewhere) as proxy:
            proxy.process.send_signal(signal.SIGKILL)
            await proxy.ended()
        assert path.is_socket()
        async with darkroom(tmp_path, table.format(up.url), cwd=elsewhere) as proxy:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            said = proxy.told("listening on")[0]["message"].removeprefix("listening on ").split(", ")
            assert f"unix:{path}" in said
            tcp = [one for one in said if one.startswith("http://")]
            assert len(tcp) >= 2
            for place in [Place(path=path), *(Place(int(one.rpartition(":")[2])) for one in tcp[:1])]:
                assert (await place.get("/v1/quick?a"))[2] == b"quick a"
            assert await proxy.stop() == 0
        assert not path.exists()


async def test_a_live_proxy_is_told_of(tmp_path: Path) -> None:
    async with darkroom(tmp_path, '[proxy]\nlisten = "unix:a.sock"\n') as proxy:
        done = await asyncio.to_thread(command, "run", cwd=tmp_path)
        assert done.returncode == 1
        assert f"cannot serve on unix:{tmp_path / 'a.sock'}: Address already in use" in done.stderr
        assert (await Place(path=tmp_path / "a.sock").get("/healthz"))[0] == 200
        assert await proxy.stop() == 0


async def test_connections_that_wait_to_be_accepted_are_served_by_a_server_that_stops(tmp_path: Path) -> None:
    """Closing the listening socket at once would reset them."""
    table: dict[str, Any] = {"proxy": {"listen": ["127.0.0.1:0", f"unix:{tmp_path / 'a.sock'}"], "state_dir": str(tmp_path)}}
    async with Server(loaded(table)) as server:
        await asyncio.sleep(0)
        waiting = []
        for address in server.addresses:
            for _ in range(20):
                one = socket.socket(socket.AF_UNIX if address.path else socket.AF_INET)
                one.connect(str(address.path) if address.path else (address.host, address.port))  # the loop stands meanwhile
                one.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
                one.setblocking(False)
                waiting.append(one)
        draining = asyncio.create_task(server.drain())
        for one in waiting:
            reader, writer = await asyncio.open_connection(sock=one)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            assert head.startswith(b"HTTP/1.1 404 ")
            assert b"Connection: close\r\n" in head
            writer.close()
        await asyncio.wait_for(draining, 10)


async def test_what_is_accepted_in_the_moment_of_stopping_is_served(tmp_path: Path) -> None:
    """Whatever turn of the event loop the stop comes in."""
    for turns in range(6):
        async with Server(loaded({"proxy": {"state_dir": str(tmp_path)}}), listen="127.0.0.1:0") as server:
            with socket.create_connection(("127.0.0.1", server.url.port or 0)) as one:
                one.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
                one.setblocking(False)
                for _ in range(turns):
                    await asyncio.sleep(0)
                draining = asyncio.create_task(server.drain(delay=0))
                reader, writer = await asyncio.open_connection(sock=one.dup())
                assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 404 "), turns
                writer.close()
                await asyncio.wait_for(draining, 10)
