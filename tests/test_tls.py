"""TLS towards clients: who is let in, what is refused at the start, and what goes on while files and config change."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from proxy_core.build import Source
from proxy_core.config import examine
from proxy_core.server import Server
from proxy_core.testing import loaded, running
from tests.certificates import Authority
from tests.operating import Clients, Line, Place, darkroom, soon, until, witness
from tests.test_main import darkroom as command

TLS = """
    [proxy]
    listen = "127.0.0.1:0"
    watch = 0.05
    plugins = ["access_log"]
    [proxy.limits]
    drain = 10
    [proxy.tls]
    certificate = "server.pem"
    key = "server.key"
    [proxy.routes."/v1"]
    upstream = "{}"
    forwarded = true
"""


def table(upstream: str, certificate: Path, key: Path, **more: Any) -> dict[str, Any]:
    limits = more.pop("limits", {})
    tls = {"certificate": str(certificate), "key": str(key), **more}
    return {"proxy": {"tls": tls, "limits": limits, "routes": {"/v1": {"upstream": upstream, "forwarded": True}}}}


def place(url: URL, tls: ssl.SSLContext | None) -> Place:
    assert url.port is not None
    return Place(url.port, tls=tls)


async def test_a_client_that_trusts_the_authority_is_served(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key, _ = authority.issue(tmp_path)
    async with witness() as up, running(table(up.url, certificate, key)) as url:
        assert url.scheme == "https"
        status, _, body = await place(url, authority.trusting()).get("/v1/quick?a")
        assert (status, body) == (200, b"quick a")
        assert b"X-Forwarded-Proto: https\r\n" in up.heads[0]
        stranger = Authority(tmp_path, "other").trusting()
        with pytest.raises(ssl.SSLCertVerificationError):
            await place(url, stranger).connect()


async def test_tls_1_1_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key, _ = authority.issue(tmp_path)
    old = authority.trusting()
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with running(table("http://127.0.0.1:9", certificate, key)) as url:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await place(url, old).connect()
        assert (await place(url, authority.trusting()).get("/healthz"))[0] == 200


async def test_a_client_must_show_a_certificate_where_an_authority_is_given(tmp_path: Path) -> None:
    authority, clients = Authority(tmp_path), Authority(tmp_path, "clients")
    certificate, key, _ = authority.issue(tmp_path)
    mine = clients.issue(tmp_path, "mine")[:2]
    wrong = authority.issue(tmp_path, "wrong")[:2]
    async with running(table("http://127.0.0.1:9", certificate, key, client_ca=str(clients.path))) as url:
        assert (await place(url, authority.trusting(mine)).get("/healthz"))[0] == 200
        for shown in (None, wrong):
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await place(url, authority.trusting(shown)).get("/healthz")


@pytest.mark.parametrize(
    ("tls", "told"),
    [
        ('certificate = "server.pem"\nkey = "other.key"', "proxy.tls.key: certificate and key cannot be used together"),
        ('certificate = "server.pem"\nkey = "locked.key"', "proxy.tls.key: "),
        ('certificate = "server.pem"\nkey = "locked.key"\npassword = "wrong"', "proxy.tls.key: "),
        ('certificate = "gone.pem"\nkey = "server.key"', "proxy.tls.certificate: cannot read "),
        ('certificate = "server.pem"', "proxy.tls.certificate: certificate and key cannot be used together"),
        ('certificate = "server.pem"\nkey = "gone.key"', "proxy.tls.key: cannot read "),
        ('certificate = "server.pem"\nkey = "server.key"\nclient_ca = "noise.pem"', "proxy.tls.client_ca: "),
        ('certificate = "server.pem"\nkey = "server.key"\nclient_ca = "server.key"', "proxy.tls.client_ca: "),
        ('certificate = "noise.pem"\nkey = "server.key"', "proxy.tls.certificate: "),
        ('certificate = "server.key"\nkey = "server.key"', "proxy.tls."),
        ('certificate = "locked.pem"\nkey = "locked.key"\npassword = "env:PASSWORD"', None),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, tls: str, told: str | None) -> None:
    authority = Authority(tmp_path)
    for name in ("server", "other"):
        authority.issue(tmp_path, name)
    authority.issue(tmp_path, "locked", b"right")
    (tmp_path / "noise.pem").write_bytes(b"\0noise")
    source = Source(folder=tmp_path, environ={"PASSWORD": "right"})
    _, faults = examine(tomllib.loads(f"[proxy.tls]\n{tls}\n"), source)
    assert [str(fault).startswith(told or "") for fault in faults] == ([True] if told else []), faults
    assert "wrong" not in str(faults)


def test_nobody_is_asked_for_a_password(tmp_path: Path) -> None:
    """`check` names the fault, with a terminal or without."""
    Authority(tmp_path).issue(tmp_path, "locked", b"right")
    (tmp_path / "config.toml").write_text('[proxy.tls]\ncertificate = "locked.pem"\nkey = "locked.key"\n')
    done = command("check", cwd=tmp_path)  # which has a time limit
    assert done.returncode == 1
    assert "proxy.tls.key: " in done.stderr
    assert "password" in done.stderr
    assert not done.stdout


async def number(line: Line) -> int:
    shown = line.writer.get_extra_info("ssl_object").getpeercert()
    return int(shown["serialNumber"], 16)


async def test_renewed_files_are_served_to_new_connections_and_old_ones_go_on(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first = authority.issue(tmp_path)[2]
    async with witness() as up, darkroom(tmp_path, TLS.format(up.url)) as proxy:
        to = Place(proxy.port, tls=authority.trusting())
        old = await to.connect()
        assert await number(old) == first
        old.send("GET", "/v1/slow?a")
        await until("the request at its upstream", lambda: up.begun)
        second = authority.issue(tmp_path)[2]
        await proxy.line("loaded anew")
        new = await to.connect()
        assert await number(new) == second
        assert (await new.get("/v1/quick?b"))[2] == b"quick b"
        up.release.set()
        assert (await old.answer())[2] == b"slow a"
        assert (await old.get("/v1/quick?c"))[2] == b"quick c"
        for line in (old, new):
            line.close()
        assert await proxy.stop() == 0


async def test_tls_is_switched_on_and_off_by_a_reload(tmp_path: Path) -> None:
    """Files that a reload brought are watched like those of the start."""
    authority = Authority(tmp_path)
    authority.issue(tmp_path)
    plain = TLS.replace('[proxy.tls]\n    certificate = "server.pem"\n    key = "server.key"\n', "")
    async with witness() as up, darkroom(tmp_path, plain.format(up.url)) as proxy:
        off, on = Place(proxy.port), Place(proxy.port, tls=authority.trusting())
        kept = await off.connect()
        assert (await kept.get("/v1/quick?a"))[0] == 200
        await proxy.reload(TLS.format(up.url))
        assert (await on.get("/v1/quick?b"))[0] == 200
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await off.get("/v1/quick?c")
        assert (await kept.get("/v1/quick?d"))[0] == 200
        renewed = authority.issue(tmp_path)[2]
        await proxy.line("loaded anew", 2)
        line = await on.connect()
        assert await number(line) == renewed
        line.close()
        await proxy.reload(plain.format(up.url))
        assert (await off.get("/v1/quick?e"))[0] == 200
        assert (await kept.get("/v1/quick?f"))[0] == 200
        kept.close()
        assert await proxy.stop() == 0


async def test_broken_files_are_refused_and_the_old_ones_served(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, _, first = authority.issue(tmp_path)
    async with witness() as up, darkroom(tmp_path, TLS.format(up.url)) as proxy:
        certificate.write_text("-----BEGIN nothing")
        assert "proxy.tls.key: " in (await proxy.line("refused"))["message"]
        line = await Place(proxy.port, tls=authority.trusting()).connect()
        assert await number(line) == first
        line.close()
        assert await proxy.stop() == 0


async def test_sigterm_under_load_loses_nothing(tmp_path: Path) -> None:
    """Not even where the files are gone by then."""
    authority = Authority(tmp_path)
    certificate, key, _ = authority.issue(tmp_path)
    async with witness() as up, darkroom(tmp_path, TLS.replace("watch = 0.05", "watch = 0").format(up.url)) as proxy:
        clients = Clients(Place(proxy.port, tls=authority.trusting()), up)
        await clients.everything()
        certificate.unlink()
        key.unlink()
        clients.signalled = True
        proxy.process.terminate()
        await proxy.line("stopping:")
        clients.stopping = True
        clients.finish()
        await clients.ended()
        assert await proxy.ended(8) == 0
        clients.judge()


async def test_reloads_under_load_lose_nothing(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue(tmp_path)
    async with witness() as up, darkroom(tmp_path, TLS.format(up.url)) as proxy:
        clients = Clients(Place(proxy.port, tls=authority.trusting()), up)
        await clients.everything()
        for _ in range(10):
            await proxy.reload()
        clients.finish()
        clients.over = True
        await clients.ended()
        clients.judge()


async def test_who_does_not_speak_tls_harms_nobody(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key, _ = authority.issue(tmp_path)
    config = table("http://127.0.0.1:9", certificate, key, limits={"head_timeout": 0.3})
    async with running(config) as url:
        plain = await place(url, None).connect()
        plain.send("GET", "/healthz")
        silent = await place(url, None).connect()
        assert (await place(url, authority.trusting()).get("/healthz"))[0] == 200
        async with soon("the end of both", 5):
            for line in (plain, silent):
                assert b"HTTP" not in await line.reader.read()
                line.close()


async def test_idle_clients_that_do_not_read_do_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS ends when both sides have said so; a pooled connection is not read while it is idle."""
    monkeypatch.setattr("proxy_core.protocol.LINGER", 0.2)
    authority = Authority(tmp_path)
    certificate, key, _ = authority.issue(tmp_path)
    async with running(table("http://127.0.0.1:9", certificate, key)) as url:

        def idle() -> ssl.SSLSocket:
            plain = socket.create_connection(("127.0.0.1", url.port or 0))
            one = authority.trusting().wrap_socket(plain, server_hostname="localhost")
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert one.recv(1000).startswith(b"HTTP/1.1 200 ")
            return one

        lines = [await asyncio.to_thread(idle) for _ in range(3)]
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    for line in lines:
        line.close()


async def test_a_handshake_on_its_way_is_waited_for(tmp_path: Path) -> None:
    """A client that is connected, and has not yet said hello, is served by a proxy that stops."""
    authority = Authority(tmp_path)
    certificate, key, _ = authority.issue(tmp_path)
    async with witness() as up:
        config = loaded({"proxy": {**table(up.url, certificate, key)["proxy"], "state_dir": str(tmp_path / "state")}})
        async with Server(config, listen="127.0.0.1:0") as server:
            early = socket.create_connection(("127.0.0.1", server.url.port or 0))
            early.setblocking(False)
            assert (await place(server.url, authority.trusting()).get("/healthz"))[0] == 200  # so `early` is accepted
            await until("that it stands alone", lambda: not server._http.count)
            draining = asyncio.create_task(server.drain(grace=5))
            await until("the drain", lambda: server.draining)
            line = Line(*await asyncio.open_connection(sock=early, ssl=authority.trusting(), server_hostname="localhost"))
            assert (await line.get("/v1/quick?a"))[2] == b"quick a"
            line.close()
            await asyncio.wait_for(draining, 10)
