"""A proxy as an operator runs it: a process, its log and its signals, and clients that count what they are answered."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import ssl
import sys
import textwrap
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.upstream import Peer, upstream

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 20.0  # seconds for what takes a moment on an idle machine


@asynccontextmanager
async def soon(what: str, seconds: float = PATIENCE) -> AsyncIterator[None]:
    """A deadline that says what did not come."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None


async def until(what: str, holds: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Look until something holds of which nobody else tells."""
    async with soon(what, seconds):
        while not holds():
            await asyncio.sleep(0.01)


class Proxy:
    """`darkroom run` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, config: Path) -> None:
        self.process = process
        self.config = config
        self.lines: list[dict[str, Any]] = []
        self._more = asyncio.Condition()

    async def read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            try:
                said = json.loads(line)
            except ValueError:
                said = {"message": line.decode().rstrip(), "level": "raw"}
            async with self._more:
                self.lines.append(said)
                self._more.notify_all()

    def told(self, text: str) -> list[dict[str, Any]]:
        """The log lines so far with `text` in their message."""
        return [line for line in self.lines if text in line["message"]]

    async def line(self, text: str, count: int = 1, seconds: float = PATIENCE) -> dict[str, Any]:
        """The log line with `text` in its message; the `count`-th of them."""
        try:
            async with soon(f"{count} log lines with {text!r}", seconds), self._more:
                await self._more.wait_for(lambda: len(self.told(text)) >= count)
        except AssertionError as error:
            raise AssertionError(f"{error}; the log: {self.log()}") from None
        return self.told(text)[count - 1]

    def log(self) -> str:
        return "\n".join(f"{line.get('worker', '')} {line['level']} {line['message']}" for line in self.lines)

    @property
    def port(self) -> int:
        return int(self.told("listening on")[0]["url"].rpartition(":")[2])

    @property
    def workers(self) -> dict[int, int]:
        """Worker's number -> its process, as the supervisor tells."""
        said = [line for line in self.told("worker ") if line["message"].endswith(" serves")]
        return {int(line["message"].split()[1]): line["pid"] for line in said}

    def write(self, table: str) -> None:
        """Another config, in one step."""
        new = self.config.with_suffix(".new")
        new.write_text(textwrap.dedent(table))
        new.replace(self.config)

    async def reload(self, table: str | None = None) -> None:
        """SIGHUP, and wait until the config is taken over."""
        before = self.reloads
        if table is not None:
            self.write(table)
        self.process.send_signal(signal.SIGHUP)
        await until("the new config", lambda: self.reloads > before)

    @property
    def reloads(self) -> int:
        """How often a config was taken over; by all workers, where there are several."""
        return len([line for line in self.told("loaded anew") if "worker" not in line])

    async def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for the exit status."""
        try:
            async with soon("the end of the process", seconds):
                return await self.process.wait()
        except AssertionError as error:
            raise AssertionError(f"{error}; the log: {self.log()}") from None

    async def stop(self, seconds: float = PATIENCE) -> int:
        self.process.terminate()
        return await self.ended(seconds)


@asynccontextmanager
async def darkroom(
    folder: Path, table: str, *args: str, env: dict[str, str] | None = None, cwd: Path | None = None, ready: bool = True
) -> AsyncIterator[Proxy]:
    """`darkroom run` with this config; nothing of it is left at the end."""
    config = folder / "config.toml"
    config.write_text(textwrap.dedent(table))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "proxy_core", "run", "--config", str(config), "--log", "json", *args),
        cwd=cwd or folder,
        env={**os.environ, **(env or {})},
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 20,
        start_new_session=True,  # a signal to its group must not be one to the tests
    )
    proxy = Proxy(process, config)
    reading = asyncio.create_task(proxy.read())
    try:
        if ready:
            await proxy.line("listening on")
        yield proxy
    finally:
        processes = [process.pid, *descendants(process.pid), *proxy.workers.values()]
        if process.returncode is None:
            process.kill()
            await process.wait()
        for pid in processes[1:]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        await asyncio.wait_for(reading, PATIENCE)


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found += [int(entry.name), *descendants(int(entry.name))]
    return found


def alive(pid: int) -> bool:
    """Whether there is a process of the proxy with this id, that has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and b"proxy_core" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@dataclass
class Witness:
    """An upstream that answers by path, and counts what reached it whole."""

    url: str = ""
    arrived: Counter[str] = field(default_factory=Counter)
    begun: set[str] = field(default_factory=set)
    heads: list[bytes] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)  # lets the slow ones go
    events: int = 40
    pause: float = 0.05

    async def __call__(self, peer: Peer) -> None:
        while True:
            await peer.read_head()
            _, target, _ = peer.head.decode().split(" ", 2)
            kind, _, name = target.removeprefix("/v1/").partition("?")
            self.begun.add(name)
            self.heads.append(peer.head)
            body = await _body(peer)
            match kind:
                case "slow":
                    await self.release.wait()
                    await _plain(peer, b"slow " + name.encode())
                case "stream":
                    await self._stream(peer, name)
                case "upload":
                    await _plain(peer, hashlib.sha256(body).hexdigest().encode())
                case _:
                    await _plain(peer, b"quick " + name.encode())
            self.arrived[name] += 1

    async def _stream(self, peer: Peer, name: str) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for event in events(name, self.events):
            await peer.send(b"%x\r\n%b\r\n" % (len(event), event))
            await asyncio.sleep(self.pause)  # the drip itself
        await peer.send(b"0\r\n\r\n")


def events(name: str, count: int) -> Iterator[bytes]:
    for n in range(count):
        yield f"data: {name} {n}\n\n".encode()


async def _body(peer: Peer) -> bytes:
    lowered = peer.head.lower()
    if b"transfer-encoding: chunked" in lowered:
        body = bytearray()
        while size := int(await peer.reader.readline(), 16):
            body += await peer.reader.readexactly(size)
            await peer.reader.readexactly(2)
        await peer.reader.readexactly(2)
        return bytes(body)
    if b"content-length:" in lowered:
        return await peer.reader.readexactly(int(lowered.split(b"content-length:")[1].split(b"\r\n")[0]))
    return b""


async def _plain(peer: Peer, body: bytes) -> None:
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@asynccontextmanager
async def witness() -> AsyncIterator[Witness]:
    seen = Witness()
    async with upstream(seen) as up:
        seen.url = up.url
        try:
            yield seen
        finally:
            seen.release.set()


@dataclass
class Line:
    """A client's connection, on which requests follow each other."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, method: str, target: str, *headers: str, body: bytes = b"") -> None:
        more = "".join(f"{line}\r\n" for line in headers)
        self.writer.write(f"{method} {target} HTTP/1.1\r\nHost: client\r\n{more}\r\n".encode() + body)

    async def head(self) -> tuple[int, dict[str, str]]:
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(headers["content-length"]))
        body = bytearray()
        while size := int(await self.reader.readline(), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return bytes(body)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        status, headers = await self.head()
        return status, headers, await self.body(headers)

    async def get(self, target: str) -> tuple[int, dict[str, str], bytes]:
        self.send("GET", target)
        return await self.answer()

    def close(self) -> None:
        self.writer.close()


@dataclass(frozen=True)
class Place:
    """Where a proxy listens."""

    port: int = 0
    path: Path | None = None
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"

    async def connect(self) -> Line:
        if self.path is not None:
            return Line(*await asyncio.open_unix_connection(str(self.path)))
        name = "localhost" if self.tls else None
        return Line(*await asyncio.open_connection(self.host, self.port, ssl=self.tls, server_hostname=name))

    async def get(self, target: str) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own."""
        line = await self.connect()
        try:
            async with soon(f"an answer to {target}"):
                return await line.get(target)
        finally:
            line.close()

    async def refuses(self) -> bool:
        """Whether nobody listens there any more."""
        try:
            (await self.connect()).close()
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        return False


class Clients:
    """Clients of every kind at once. Each request has a name of its own; what did not end well stands in `lost`."""

    def __init__(self, place: Place, upstream: Witness) -> None:
        self.place = place
        self.upstream = upstream
        self.whole: list[str] = []  # requests that got their full, right answer
        self.lost: list[str] = []
        self.over = False  # whether those who go on and on should end
        self.signalled = False  # whether the proxy has been told to stop, so that it may refuse connections
        self.stopping = False  # whether the proxy has said that it stops, so that every answer must say that it is the last
        self.refused = 0
        self.half = asyncio.Event()  # lets uploads go on past their middle
        self._tasks: list[asyncio.Task[None]] = []
        self._names = 0

    def name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}-{self._names}"

    def start(self, work: Callable[[str], Awaitable[None]], kind: str, count: int) -> None:
        for _ in range(count):
            self._tasks.append(asyncio.create_task(self._told(work, self.name(kind))))

    async def _told(self, work: Callable[[str], Awaitable[None]], name: str) -> None:
        try:
            async with asyncio.timeout(60):
                await work(name)
        except (OSError, EOFError, TimeoutError, AssertionError, ValueError, KeyError) as error:
            self.lost.append(f"{name}: {type(error).__name__} {error}")

    async def everything(self) -> None:
        """Start clients of every kind, and wait until each is in the middle of something."""
        self.start(self.slow, "slow", 6)
        self.start(self.stream, "stream", 6)
        self.start(self.counted, "counted", 4)
        self.start(self.chunked, "chunked", 4)
        self.start(self.lasting, "lasting", 4)
        self.start(self.newcomers, "new", 2)
        for kind, count in (("slow", 6), ("stream", 6), ("counted", 4), ("chunked", 4)):
            await until(f"{kind} under way", lambda k=kind, n=count: self._begun(k) >= n or self.lost)  # type: ignore[misc]
        for kind in ("quick", "new"):
            await until(f"{kind} under way", lambda k=kind: self._count(k) >= 8 or self.lost)  # type: ignore[misc]

    def _begun(self, kind: str) -> int:
        return sum(name.startswith(f"{kind}-") for name in self.upstream.begun)

    def _count(self, kind: str) -> int:
        return sum(name.startswith(f"{kind}-") for name in self.whole)

    def finish(self) -> None:
        """Let everything come to its end that waits for being told."""
        self.upstream.release.set()
        self.half.set()

    async def ended(self) -> None:
        await asyncio.gather(*self._tasks)

    def judge(self) -> None:
        """Nothing is lost, each request was answered, and each reached the upstream once."""
        assert not self.lost, self.lost
        assert {kind: self._count(kind) for kind in ("slow", "stream", "counted", "chunked")} == {
            "slow": 6, "stream": 6, "counted": 4, "chunked": 4,
        }  # fmt: skip
        assert Counter(self.whole) == self.upstream.arrived

    async def _once(self, name: str, work: Callable[[Line], Awaitable[None]]) -> None:
        line = await self.place.connect()
        try:
            await work(line)
        finally:
            line.close()
        self.whole.append(name)

    async def slow(self, name: str) -> None:
        async def work(line: Line) -> None:
            status, _, body = await line.get(f"/v1/slow?{name}")
            assert (status, body) == (200, f"slow {name}".encode())

        await self._once(name, work)

    async def stream(self, name: str) -> None:
        async def work(line: Line) -> None:
            status, _, body = await line.get(f"/v1/stream?{name}")
            assert (status, body) == (200, b"".join(events(name, self.upstream.events)))

        await self._once(name, work)

    async def counted(self, name: str) -> None:
        await self._upload(name, chunked=False)

    async def chunked(self, name: str) -> None:
        await self._upload(name, chunked=True)

    async def _upload(self, name: str, *, chunked: bool) -> None:
        """3 MB in 24 pieces; the second half when it is told."""
        pieces = [os.urandom(131_072) for _ in range(24)]

        async def work(line: Line) -> None:
            length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {sum(map(len, pieces))}"
            line.send("POST", f"/v1/upload?{name}", length)
            for n, piece in enumerate(pieces):
                if n == len(pieces) // 2:
                    await self.half.wait()
                line.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await line.writer.drain()
                await asyncio.sleep(0.02)  # a slow sender
            line.writer.write(b"0\r\n\r\n" if chunked else b"")
            status, _, body = await line.answer()
            assert (status, body) == (200, hashlib.sha256(b"".join(pieces)).hexdigest().encode())

        await self._once(name, work)

    async def lasting(self, _: str) -> None:
        """Request after request on one connection, until the proxy says that an answer is the last."""
        while not self.over:
            try:
                line = await self.place.connect()
            except (ConnectionRefusedError, ConnectionResetError, FileNotFoundError):
                # A reset while connecting: made in the instant between the last accept and the close. Nothing was sent on it.
                assert self.signalled, "refused before the signal"
                return
            try:
                while not self.over:
                    name, last = self.name("quick"), self.stopping
                    status, headers, body = await line.get(f"/v1/quick?{name}")
                    assert (status, body) == (200, f"quick {name}".encode())
                    self.whole.append(name)
                    closing = headers.get("connection", "").lower() == "close"
                    assert closing or not last, f"{name} was not told that it is the last"
                    if closing:
                        break
                    await asyncio.sleep(0.002)
            finally:
                line.close()

    async def newcomers(self, _: str) -> None:
        """Connection after connection, until none is taken."""
        while not self.over:
            name = self.name("new")
            try:
                line = await self.place.connect()
            except (ConnectionRefusedError, ConnectionResetError, FileNotFoundError):
                # A reset while connecting: made in the instant between the last accept and the close. Nothing was sent on it.
                assert self.signalled, "refused before the signal"
                self.refused += 1
                return
            try:
                status, _headers, body = await line.get(f"/v1/quick?{name}")
            finally:
                line.close()
            assert (status, body) == (200, f"quick {name}".encode())
            self.whole.append(name)
            await asyncio.sleep(0.002)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def elapsed(since: float) -> float:
    return time.monotonic() - since


HOUSE = '''
"""A plugin that does as the tests say, in a package of its own."""

import asyncio
import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy_core import Response, hookimpl


@dataclass(frozen=True, kw_only=True)
class House:
    """It does as it is told."""

    word: str = ""
    folder: Path

    @hookimpl
    def proxy_lifespan(self):
        return self.life()

    @asynccontextmanager
    async def life(self):
        (self.folder / "starting").touch()
        while (self.folder / "wait").exists():
            await asyncio.sleep(0.01)
        if (self.folder / "broken").exists():
            raise RuntimeError("the house is broken")
        yield

    @hookimpl
    def proxy_middleware(self):
        async def middleware(request, next):
            if request.path == "/word":
                return Response.json({"word": self.word, "pid": os.getpid()})
            if request.path == "/later":
                request.exchange.later(self.later())
                return Response.json({})
            if request.path == "/block":
                time.sleep(0.4)
                return Response.json({})
            return await next(request)

        return middleware

    async def later(self):
        while not (self.folder / "go").exists():
            await asyncio.sleep(0.01)
        (self.folder / "done").write_text("done")
'''


def housed(folder: Path) -> dict[str, str]:
    """Install the plugin `house` in a folder; the environment in which it is found."""
    site = folder / "site"
    meta = site / "house-1.0.dist-info"
    meta.mkdir(parents=True)
    (site / "house.py").write_text(HOUSE)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: house\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text("[proxy_core]\nhouse = house:House\n")
    return {"PYTHONPATH": str(site)}


class Notified:
    """What a service manager would hear (sd_notify(3)), at a socket of this name."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def __enter__(self) -> Notified:
        return self

    def __exit__(self, *reason: object) -> None:
        self._socket.close()

    async def hears(self, state: str) -> None:
        """Wait for the next word, which must be this."""
        async with soon(f"{state} after {self.heard}"):
            said = (await asyncio.get_running_loop().sock_recv(self._socket, 1000)).decode()
        self.heard.append(said)
        assert said.split("\n")[0] == state, self.heard


def without_uvloop(folder: Path) -> dict[str, str]:
    """The environment of a machine that has no uvloop: asyncio's own loop serves."""
    (folder / "without").mkdir()
    (folder / "without" / "uvloop.py").write_text("raise ImportError('not here')\n")
    return {"PYTHONPATH": str(folder / "without")}
