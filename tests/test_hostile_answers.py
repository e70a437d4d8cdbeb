"""Whatever a result host sends in place of a picture has a clear error of its own, and its link is in the operator's log."""

from __future__ import annotations

import asyncio
import io
import logging
import struct
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import aiohttp
import pytest

from plugins.image_edit import HostedImage, Image, Job, Provider, Steps
from proxy_core import hookimpl
from proxy_core.testing import plug, running
from tests.operating import soon
from tests.pictures import png
from tests.upstream import Peer, Script, upstream


@dataclass(kw_only=True)
class Linking:
    """A service that says where its picture is."""

    name = "linking"
    models = frozenset({"linked"})
    batch = 1
    takes_links = True
    origins = ()
    output: ClassVar[HostedImage | Image] = HostedImage("")

    @hookimpl
    def image_edit_providers(self) -> Iterable[Provider]:
        return [self]

    def edit(self, job: Job) -> Steps:
        yield self.output


LIMIT = 200_000
FETCH = {"max_bytes": LIMIT, "retries": [], "read_timeout": 0.3, "total_timeout": 1.0, "max_redirects": 1}


async def ask(**fetch: Any) -> tuple[int, dict[str, Any], str | None]:
    config = {
        "proxy": {"plugins": ["signing", "image_edit", "linking"]},
        "plugins": {"image_edit": {"fetch": {**FETCH, **fetch}, "max_pixels": 1_000_000}},
    }
    async with running(config, plug(linking=Linking)) as url, aiohttp.ClientSession() as http, soon("an answer"):
        async with http.post(url / "v1/images/generations", json={"model": "linked", "prompt": "x"}) as response:
            told = await response.json()
            status, retry = response.status, response.headers.get("x-should-retry")
        async with http.get(url / "healthz") as response:
            assert response.status == 200  # the proxy is well after it
    return status, told, retry


def answering(body: bytes, *, length: int | None = None, kind: str = "image/png", status: str = "200 OK") -> Script:
    async def script(peer: Peer) -> None:
        await peer.read_head()
        fields = f"Content-Type: {kind}\r\nContent-Length: {len(body) if length is None else length}\r\nConnection: close"
        await peer.send(f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n".encode() + body)

    return script


async def endless(peer: Peer) -> None:
    await peer.read_head()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nConnection: close\r\n\r\n" + png())
    while True:
        await peer.send(bytes(65536))


async def dripping(peer: Peer) -> None:
    await peer.read_head()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 9999\r\n\r\n")
    for byte in png():
        await peer.send(bytes([byte]))
        await asyncio.sleep(0.05)  # the drip itself: always within the time between two reads


async def silent(peer: Peer) -> None:
    await peer.read_head()
    await peer.until_gone()


async def circling(peer: Peer) -> None:
    await peer.read_head()
    await peer.send(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


async def chunks_that_lie(peer: Peer) -> None:
    await peer.read_head()
    await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + png())


def declaring(width: int, height: int) -> bytes:
    data = bytearray(png())
    data[16:24] = struct.pack(">II", width, height)
    return bytes(data)


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("image.png", png())
    return out.getvalue()


HTML = b"<!doctype html><title>expired</title><p>This link has expired"
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
CASES: dict[str, tuple[Script, int, str, str]] = {
    "html with 200": (answering(HTML, kind="text/html"), 502, "invalid_image", "(as text/html) is not an image"),
    "html that says it is png": (answering(HTML), 502, "invalid_image", "(as image/png) is not an image"),
    "svg": (answering(SVG, kind="image/svg+xml"), 502, "invalid_image", "(as image/svg+xml) is not an image"),
    "json": (answering(b'{"error":"gone"}', kind="application/json"), 502, "invalid_image", "is not an image"),
    "zip": (answering(zipped()), 502, "invalid_image", "is not an image"),
    "html with a picture behind it": (answering(HTML + png()), 502, "invalid_image", "is not an image"),
    "script in the clothes of a picture": (answering(b"\x89PNG/*" + HTML), 502, "invalid_image", "is not an image"),
    "bytes before the picture": (answering(b"\n" + png()), 502, "invalid_image", "is not an image"),
    "empty": (answering(b""), 502, "image_fetch_failed", "an empty body"),
    "cut": (answering(png(), length=9999), 502, "image_fetch_failed", "the connection was cut"),
    "a header alone": (answering(png()[:22]), 502, "invalid_image", "it is cut"),
    "too large and says so": (answering(png(), length=LIMIT + 1), 502, "image_too_large", "larger than 200000 bytes"),
    "endless": (endless, 502, "image_too_large", "larger than 200000 bytes"),
    "dripping": (dripping, 504, "image_fetch_timeout", "it timed out"),
    "silent": (silent, 504, "image_fetch_timeout", "it timed out"),
    "going in circles": (circling, 502, "image_link_refused", "more than 1 redirects"),
    "chunks that lie": (chunks_that_lie, 502, "image_fetch_failed", "not HTTP"),
    "no HTTP": (lambda peer: peer.send(b"SSH-2.0-x\r\n"), 502, "image_fetch_failed", "not HTTP"),
    "a bomb": (answering(declaring(60_000, 60_000)), 502, "invalid_image", "declares 60000x60000 pixels"),
    "403": (answering(b"<Error/>", status="403 Forbidden"), 502, "image_fetch_failed", "it answered 403"),
    "404": (answering(b"", status="404 Not Found"), 502, "image_fetch_failed", "it answered 404"),
    "500": (answering(b"", status="500 Oops"), 502, "image_fetch_failed", "it answered 500"),
}


@pytest.mark.parametrize(("script", "status", "code", "words"), CASES.values(), ids=CASES)
async def test_what_is_no_picture_is_told_for_what_it_is(
    script: Script, status: int, code: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with upstream(script) as host:
        place = host.url.removeprefix("http://")
        Linking.output = HostedImage(f"{host.url}/picture.png?signature=paid")
        answered, told, retry = await ask(allow_hosts=[place])
    error = told["error"]
    assert (answered, error["code"]) == (status, code), error
    assert words in error["message"]
    assert retry == "false"  # it is paid for: a client that asked again would buy it twice
    assert "signature=paid" not in error["message"]
    assert "/picture.png?signature=paid" in caplog.text  # there the operator finds it


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("http://127.0.0.1:1/a.png", "its port is 1"),
        ("http://127.0.0.1/a.png", "its address is"),
        ("http://[::ffff:10.0.0.1]/a.png", "its address is"),
        ("http://169.254.169.254/latest/meta-data", "its address is"),
        ("http://0x7f.1/a.png", ""),
        ("ftp://pictures.example/a.png", "its scheme is not http or https"),
        ("http://user:password@pictures.example/a.png", ""),
        ("file:///etc/passwd", "its scheme"),
        ("http://pictures.example/a b.png", "a space"),
        ("", ""),
    ],
)
async def test_a_link_that_leads_elsewhere_is_refused(link: str, words: str, caplog: pytest.LogCaptureFixture) -> None:
    Linking.output = HostedImage(link)
    status, told, retry = await ask()
    assert (status, told["error"]["code"], retry) == (502, "image_link_refused", "false")
    assert words in told["error"]["message"]
    assert "user:" not in told["error"]["message"]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image(HTML), "is not an image"),
        (Image(), "is empty"),
        (Image.from_base64("%%%"), "not valid base64"),
        (Image.from_base64("data:image/png;base64,iVBORw0KGgo=AAAA"), "not valid base64"),
        (Image(declaring(50_000, 50_000)), "declares 50000x50000 pixels"),
        (Image(declaring(2**31, 2**31)), "pixels"),
    ],
)
async def test_the_same_for_what_came_in_the_answer_itself(image: Image, words: str) -> None:
    Linking.output = image
    status, told, retry = await ask()
    assert (status, told["error"]["code"], retry) == (502, "invalid_image", "false")
    assert words in told["error"]["message"]


async def test_what_follows_a_pictures_end_does_no_harm() -> None:
    """Whole cameras and services put something there; it is passed on as it came, and never as anything but that picture."""
    Linking.output = Image(png() + HTML)
    status, told, _ = await ask()
    assert status == 200
    assert told["output_format"] == "png"
