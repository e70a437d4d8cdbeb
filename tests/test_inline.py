"""Whatever a provider gives becomes an image in hand that is known to be one, or an error that the client must not repeat."""

from __future__ import annotations

import base64
import io
import random
import struct
from typing import Any, cast

import imagesize
import pytest
from PIL import Image as Pillow

from plugins.image_edit import HostedImage, Image
from plugins.image_edit.fetch import Fetched, Fetcher, Take
from plugins.image_edit.inline import inline
from plugins.image_edit.picture import _HEADER, _Beginning
from proxy_core import Exchange, Failure, InvalidReply, Overloaded, ProxyError, TooLarge, UpstreamError
from tests.pictures import png


class Host:
    """Fetches one picture, whatever is asked for."""

    def __init__(self, data: bytes = b"", error: ProxyError | None = None) -> None:
        self.data = data
        self.error = error

    async def fetch(self, url: str, *, take: Take) -> Fetched:
        if self.error is not None:
            raise self.error
        await take(len(self.data))
        return Fetched((self.data,), len(self.data), "text/html", "cdn.example")


async def inlined(output: Any, host: Host | None = None, *, most: int = 10_000, exchange: Exchange | None = None) -> Image:
    return await inline(output, cast("Fetcher", host or Host()), exchange or Exchange(), "acme", max_pixels=most)


LINK = HostedImage("http://cdn.example/a.png")


async def test_a_link_becomes_bytes_whose_host_and_memory_are_known() -> None:
    exchange = Exchange()
    image = await inlined(LINK, Host(png()), exchange=exchange)
    assert b"".join(image.chunks()) == png()
    assert image.host == "cdn.example"
    assert exchange.memory.held == len(png())


@pytest.mark.parametrize("url", [None, 7, ["http://cdn.example/a.png"], {"url": "http://cdn.example/a.png"}])
async def test_what_is_no_link_is_not_fetched(url: Any) -> None:
    with pytest.raises(InvalidReply, match="acme answered with something in place of a link"):
        await inlined(HostedImage(url), Host(error=Overloaded("never asked")))


@pytest.mark.parametrize(("error", "status", "code"), [
    (Overloaded("no room"), 503, "overloaded"),
    (TooLarge("more than the proxy has"), 413, "request_too_large"),
])
async def test_a_paid_picture_for_which_there_is_no_memory_is_not_asked_for_again(
    error: ProxyError, status: int, code: str
) -> None:
    with pytest.raises(UpstreamError) as caught:
        await inlined(LINK, Host(error=error))
    assert (caught.value.status, caught.value.code, caught.value.message) == (status, code, error.message)
    assert caught.value.failure is Failure.UNKNOWN
    assert caught.value.headers["x-should-retry"] == "false"


async def test_base64_that_breaks_behind_the_header_is_found() -> None:
    text = base64.b64encode(png((600, 600)) + bytes(30_000)).decode()
    with pytest.raises(InvalidReply, match="what acme sent is broken: it is not valid base64"):
        await inlined(Image.from_base64(f"{text[:30_000]}!{text[30_001:]}"), most=10**6)


def saved(kind: str, size: tuple[int, int] = (8, 6), **more: Any) -> bytes:
    out = io.BytesIO()
    Pillow.new("RGB", size, (1, 2, 3)).save(out, kind, **more)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
async def test_a_header_that_is_cut_is_no_picture_where_all_have_one(kind: str) -> None:
    data = saved(kind)
    assert (await inlined(Image(data))).pixels == (8, 6)
    with pytest.raises(InvalidReply, match="it is cut, or its header makes no sense"):
        await inlined(Image(data[: {"JPEG": 3, "GIF": 6}.get(kind, 14)]))


@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
async def test_where_the_size_may_stand_anywhere_a_picture_without_is_let_through(kind: str) -> None:
    cut = Image(saved(kind)[:16])
    assert cut.media_type
    assert (await inlined(cut)).pixels is None


async def test_as_many_pixels_as_are_let_through() -> None:
    await inlined(Image(saved("PNG")), most=48)
    with pytest.raises(InvalidReply, match=r"declares 8x6 pixels; at most 47"):
        await inlined(Image(saved("PNG")), most=47)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_measured_as_it_is_shown(orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    image = Image(saved("JPEG", exif=exif))
    assert image.pixels == ((6, 8) if orientation > 4 else (8, 6))
    assert image.pixels == image.pixels


@pytest.mark.parametrize(("width", "height"), [(0, 6), (8, 0), (0, 0)])
def test_a_picture_without_a_side_does_not_tell_its_size(width: int, height: int) -> None:
    data = bytearray(saved("PNG"))
    data[16:24] = struct.pack(">II", width, height)
    assert Image(bytes(data)).pixels is None


@pytest.mark.parametrize("error", [ValueError, struct.error, EOFError, IndexError, OverflowError, TypeError, KeyError])
def test_however_a_header_confuses_its_reader(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []

    def confused(*args: object, **more: object) -> None:
        read.append(args)
        raise error("what?")

    monkeypatch.setattr(imagesize, "get_info", confused)
    image = Image(saved("PNG"))
    assert (image.pixels, image.pixels) == (None, None)
    assert len(read) == 1  # and it is not asked twice


def test_the_beginning_of_a_picture_is_a_file_like_any_other() -> None:
    data = random.Random(1).randbytes(_HEADER + 5000)
    for seed in range(30):
        lots = random.Random(seed)
        ours = _Beginning(Image(*(data[start : start + 70_000] for start in range(0, len(data), 70_000))))
        theirs = io.BytesIO(data[:_HEADER])
        assert ours.seekable()
        assert ours.readable()
        for _ in range(40):
            if lots.random() < 0.5:
                size = lots.choice([0, 1, 7, 4096, 300_000, -1, None])
                assert ours.read(size) == theirs.read(size)
            else:
                whence = lots.randrange(3)
                offset = lots.choice([0, 5, -3, 65_536, -100_000]) if whence else lots.choice([0, 9, 100_000, _HEADER - 1])
                ours.seek(offset, whence)
                least = (0, -theirs.tell(), -_HEADER)[whence]  # below it BytesIO raises, or stays
                theirs.seek(max(offset, least), whence)
            assert ours.tell() == theirs.tell()


def test_no_more_is_made_than_is_read() -> None:
    made: list[int] = []

    class Watched(Image):
        def chunks(self) -> Any:
            for chunk in super().chunks():
                made.append(len(chunk))
                yield chunk

    beginning = _Beginning(Watched(*[bytes(1000)] * 10))
    beginning.read(1500)
    assert made == [1000, 1000]
    beginning.read(500)
    assert made == [1000, 1000]
