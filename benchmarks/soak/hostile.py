"""What clients and services of bad faith do. Each raises `Wrong` where the proxy answers as it must not, or not at all."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import Awaitable, Callable, Mapping

from tests.framing import GROUPS

from .world import BAD_ANSWERS, BAD_LINKS, BAD_RESULTS, picture

PATIENCE = 20.0  # seconds within which each of these must be over: more than any limit that the proxy is given here
LARGE = 9 << 20  # over `limits.body`
PASSED = (400, 404)  # 404: no model of ours is named, and the route's service judges
SICK = ["raise", "hang", "nonsense", "none", "block", "tasks"]


class Wrong(Exception):
    """The proxy did what it must not."""


def _post(path: str, body: bytes, kind: str = "application/json", *more: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: h", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *more]
    return "\r\n".join([*head, "Connection: close", "", ""]).encode() + body


def _deep(count: int) -> bytes:
    return b'{"model":"sandbox","prompt":"x","n":' + b"[" * count + b"]" * count + b"}"


def _odd_bodies() -> list[bytes]:
    good = json.dumps({"model": "sandbox", "prompt": "x", "n": 1, "size": "64x64"}).encode()
    found = [b"", b"{", b"[]", b"null", b'"x"', b"{}", b"\xff" + good, good + good, good[:-1] + b",}", _deep(300), _deep(2000)]
    odd: list[object] = [None, True, -1, 2**70, 1.5, "", "x" * 100_000, [], {}, [[]] * 10_000, "\0", "data:,", float("nan")]
    for field in ("model", "prompt", "n", "size", "stream", "response_format", "image", "images", "mask", "messages", "seed"):
        found += [json.dumps({"model": "sandbox", "prompt": "x", field: value}).encode() for value in odd]
    found += [good.replace(b"1", b"1e999"), good.replace(b"64x64", b"\\ud800"), b'{"model":"sandbox","model":"sandbox"}']
    return found


def _odd_forms() -> list[tuple[str, bytes]]:
    kind = "multipart/form-data; boundary=b"
    named = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    good = named % (b"model", b"sandbox") + named % (b"prompt", b"x")
    file = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n%s\r\n'
    png = picture("form", 1_000)
    bomb = png[:16] + b"\x7f\xff\xff\xff\x7f\xff\xff\xff" + png[24:]
    return [
        (kind, good),
        ("multipart/form-data", good + b"--b--\r\n"),
        ("multipart/form-data; boundary=" + "x" * 300, good),
        (kind, good + file % png[:20] + b"--b--\r\n"),
        (kind, good + file % bomb + b"--b--\r\n"),
        (kind, good + file % b"<svg/>" + b"--b--\r\n"),
        (kind, good + b"--b\r\n\r\nno head\r\n--b--\r\n"),
        (kind, (named % (b"x", b"y")) * 5_000 + b"--b--\r\n"),
        (kind, b"--b\r\nX: " + b"y" * 100_000 + b"\r\n\r\n\r\n--b--\r\n"),
        (kind, good + named % (b"a\r\nX-Evil: 1", b"y") + b"--b--\r\n"),
    ]


BODIES = _odd_bodies()
FORMS = _odd_forms()
VECTORS = [vector for group in GROUPS.values() for vector in group]
PATHS = ["/v1/images/generations", "/v1/images/edits", "/v1/chat/completions", "/v1/responses"]


class Attacker:
    def __init__(self, port: int, name: str) -> None:
        self._port = port
        self._lots = random.Random(name)

    @property
    def kinds(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        return {
            "framing": self.framing,
            "odd JSON": self.odd_json,
            "odd form": self.odd_form,
            "too large": self.too_large,
            "compressed bomb": self.compressed,
            "bad upstream": self.bad_upstream,
            "bad result": self.bad_result,
            "bad link": self.bad_link,
            "head that drips": self.slow_head,
            "body that stops": self.slow_body,
            "upload cut": self.upload_cut,
            "leaves while it is served": self.leaves,
            "does not read": self.does_not_read,
            "many idle": self.idle,
            "pipeline": self.pipeline,
            "sick plugin": self.sick_plugin,
        }

    async def _said(self, data: bytes) -> bytes:
        """What is answered to these bytes until the proxy closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(data)
            answer = b""
            try:
                await writer.drain()
                while part := await reader.read(1 << 20):
                    answer = (answer + part)[: 1 << 20]
            except ConnectionError:
                pass  # closed while we still wrote: what was answered before may be lost on the way, which HTTP/1.1 cannot help
            return answer
        finally:
            writer.transport.abort()

    async def _refused(self, data: bytes, *statuses: int) -> None:
        answer = await self._said(data)
        if answer and int(answer[9:12]) not in statuses:
            raise Wrong(f"{answer[:400]!r} to {data[:200]!r}")
        if answer[9:10] in (b"4", b"5") and b'"error"' not in answer:
            raise Wrong(f"no error in OpenAI's shape: {answer[:400]!r}")

    async def framing(self) -> None:
        vector = self._lots.choice(VECTORS)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(vector.data)
            writer.write_eof()
            while part := await reader.read(65536):
                if part.startswith(b"HTTP/1.1 500"):
                    raise Wrong(f"{vector.id}: {part[:300]!r}")
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    async def odd_json(self) -> None:
        await self._refused(_post(self._lots.choice(PATHS), self._lots.choice(BODIES)), 200, 400, 404, 413, 415, 422, 502)

    async def odd_form(self) -> None:
        kind, body = self._lots.choice(FORMS)
        await self._refused(_post("/v1/images/edits", body, kind), *PASSED, 413)

    async def too_large(self) -> None:
        await self._refused(_post(self._lots.choice(PATHS), bytes(LARGE)), 400, 413)

    async def compressed(self) -> None:
        sent = _post("/v1/images/generations", ZIPPED, "application/json", "Content-Encoding: gzip")
        await self._refused(sent, *PASSED, 413)

    async def bad_upstream(self) -> None:
        await self._said(_post(f"/bad/{self._lots.choice(BAD_ANSWERS)}", b"{}"))

    async def _linked(self, prompt: str) -> None:
        body = json.dumps({"model": "linked", "prompt": prompt}).encode()
        await self._refused(_post("/v1/images/generations", body), 502, 503, 504)

    async def bad_result(self) -> None:
        await self._linked(f"bad/{self._lots.choice(BAD_RESULTS)}")

    async def bad_link(self) -> None:
        await self._linked(self._lots.choice(BAD_LINKS))

    async def slow_head(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nX-Slow: ")
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                try:
                    async with asyncio.timeout(0.3):
                        if not await reader.read(65536):
                            return
                except TimeoutError:
                    pass
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    async def slow_body(self) -> None:
        data = _post(self._lots.choice(PATHS), b"{" * 999)
        await self._refused(data[:-900], 408)

    async def upload_cut(self) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        path = self._lots.choice([*PATHS, "/bad/silent"])
        writer.write(_post(path, bytes(500_000))[: self._lots.randrange(100, 400_000)])
        await asyncio.sleep(self._lots.random() / 10)
        writer.transport.abort()

    async def leaves(self) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        prompt = self._lots.choice(["bad/silent", "bad/drip", "good/left"])
        asked = {"model": self._lots.choice(["linked", "sandbox"]), "prompt": prompt, "stream": self._lots.random() < 0.5}
        writer.write(_post("/v1/images/generations", json.dumps(asked).encode()))
        await asyncio.sleep(self._lots.random() / 2)
        writer.transport.abort()

    async def does_not_read(self) -> None:
        """Asks for megabytes and takes none of them; what it holds there is let go when it leaves."""
        body = json.dumps({"model": "text", "messages": "x" * 4_000_000}).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1024)
        writer.write(_post("/v1/chat/completions", body))
        await asyncio.sleep(2)
        writer.transport.abort()

    async def idle(self) -> None:
        """They are closed by the proxy, each after its time."""
        async def one(data: bytes) -> None:
            await self._said(data)

        await asyncio.gather(*(one(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n" if n % 2 else b"") for n in range(50)))

    async def pipeline(self) -> None:
        last = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        await self._said(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n" * 200 + last)

    async def sick_plugin(self) -> None:
        await self._refused(_post(f"/sick/{self._lots.choice(SICK)}", b"{}"), 500, 503, 200, 404)


ZIPPED = gzip.compress(bytes(LARGE), mtime=0)
