"""The figures of a log line, for a client that is slow in every way and an upstream that waits."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.operating import Place, darkroom, until
from tests.upstream import Peer, upstream

TABLE = '[proxy]\nlisten = "127.0.0.1:0"\nplugins = ["access_log"]\n[proxy.routes."/v1"]\nupstream = "{}"\n'


async def test_where_the_time_went(tmp_path: Path) -> None:
    """Bounds from below, and those from above generous: 0.2 s for the head, 0.4 s for the body, 0.6 s upstream."""

    async def script(peer: Peer) -> None:
        while True:
            peer.head = peer.body = b""
            await peer.read_request()
            await asyncio.sleep(0.6 if b"/v1/slow" in peer.head else 0)
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nanswer\n")

    async with upstream(script) as up, darkroom(tmp_path, TABLE.format(up.url)) as proxy:
        line = await Place(proxy.port).connect()
        for _ in range(2):  # the second finds the connection open, and idle before its head
            line.writer.write(b"POST /v1/slow HTTP/1.1\r\nHost: x\r\n")
            await asyncio.sleep(0.2)
            line.writer.write(b"Content-Length: 10\r\n\r\nhello")
            await asyncio.sleep(0.4)
            line.writer.write(b"world")
            assert (await line.answer())[2] == b"answer\n"
            await asyncio.sleep(0.3)
        line.send("GET", "/v1/quick")
        assert (await line.answer())[2] == b"answer\n"
        line.close()
        await proxy.line("GET /v1/quick 200")
        for slow in proxy.told("POST /v1/slow 200"):
            assert (slow["received"], slow["sent"], slow["method"], slow["target"]) == (10, 7, "POST", "/v1/slow")
            assert 150 < slow["head_ms"] < 290, slow
            assert 350 < slow["body_ms"] < 850, slow
            assert slow["upstream_ms"] > 550, slow
            assert slow["total_ms"] >= 950, slow
            assert slow["total_ms"] < 4000, slow
            assert "error" not in slow
        assert len(proxy.told("POST /v1/slow 200")) == 2
        (quick,) = proxy.told("GET /v1/quick 200")
        assert (quick["received"], quick["sent"]) == (0, 7)
        assert quick["head_ms"] < 100
        assert quick["body_ms"] == 0
        assert await proxy.stop() == 0


async def test_a_client_that_leaves_is_told(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await peer.until_gone()

    async with upstream(script) as up, darkroom(tmp_path, TABLE.format(up.url)) as proxy:
        line = await Place(proxy.port).connect()
        line.send("GET", "/v1/x")
        await line.head()
        assert await line.reader.readexactly(4) == b"half"
        line.close()
        await until("its log line", lambda: proxy.told("GET /v1/x"))
        (said,) = proxy.told("GET /v1/x")
        assert (said["status"], said["sent"], said["error"]) == (200, 4, "the client left")
        assert await proxy.stop() == 0
