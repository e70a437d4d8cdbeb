"""Pictures in both their forms, the pieces that are made of them, and the values that providers and signers see."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import random
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from yarl import URL

from plugins.image_edit import (
    Call,
    CallError,
    Failed,
    HostedImage,
    Image,
    Job,
    Link,
    Next,
    Note,
    Preview,
    Reply,
    Result,
    Rules,
    Sizes,
    Steps,
    Submitted,
)
from plugins.image_edit.model import rules_of
from plugins.image_edit.picture import LONG, sniff
from proxy_core import Body, ClientError, Data, Piece

SLICE = 192 * 1024  # bytes that are handled at once
TEXT_SLICE = SLICE // 3 * 4

PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def noise(size: int) -> bytes:
    """Bytes of every value, with a PNG's head where there is room for one."""
    return (PNG_HEAD + random.Random(size).randbytes(size))[:size]


def in_chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def joined(chunks: Iterator[Data] | Iterator[bytes]) -> bytes:
    return b"".join(map(bytes, chunks))


# --- sniff ---

HEADS = [
    ("image/png", PNG_HEAD),
    ("image/jpeg", b"\xff\xd8\xff"),
    ("image/gif", b"GIF87a"),
    ("image/gif", b"GIF89a"),
    ("image/webp", b"RIFF\x10\x00\x00\x00WEBP"),
    ("image/tiff", b"II*\x00"),
    ("image/tiff", b"MM\x00*"),
    ("image/bmp", b"BM\x36\x00\x0c\x00\x00\x00\x00\x00"),
    ("image/avif", b"\x00\x00\x00\x20ftypavif"),
    ("image/avif", b"\x00\x00\x00\x2cftypavis"),
    ("image/heic", b"\x00\x00\x00\x18ftypheic"),
    ("image/heic", b"\x00\x00\x00\x18ftypheix"),
    ("image/heic", b"\x00\x00\x00\x18ftyphevc"),
    ("image/heic", b"\x00\x00\x00\x18ftypheim"),
    ("image/heic", b"\x00\x00\x00\x18ftypheis"),
    ("image/heic", b"\x00\x00\x00\x18ftypmif1"),
    ("image/heic", b"\x00\x00\x00\x18ftypmsf1"),
]


@pytest.mark.parametrize(("kind", "head"), HEADS)
@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
def test_an_image_is_known_by_its_first_bytes(kind: str, head: bytes, form: Callable[[bytes], Data]) -> None:
    assert sniff(form(head)) == kind
    assert sniff(form(head + noise(100))) == kind


@pytest.mark.parametrize(("kind", "head"), HEADS)
def test_part_of_a_head_is_no_image(kind: str, head: bytes) -> None:
    assert [sniff(head[:size]) for size in range(len(head))] == [""] * len(head)
    assert sniff(b" " + head) == ""


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x00" * 32,
        b"<svg xmlns='http://www.w3.org/2000/svg'>",
        b"<!DOCTYPE html><html>",
        b"%PDF-1.7",
        b'{"error": "x"}',
        b"RIFF\x10\x00\x00\x00WAVE",
        b"XXXX\x10\x00\x00\x00WEBP",
        b"\x00\x00\x00\x20XXXXavif",
        b"BM and so on, which is text",
        b"\x00\x00\x00\x20ftypisom",
        b"\x89PNG\n\x1a\n",  # what a transfer in text mode makes of a PNG
        b"data:image/png;base64,",
    ],
)
def test_what_is_no_image_is_of_no_type(head: bytes) -> None:
    assert sniff(head) == ""


# --- raw chunks ---


@pytest.mark.parametrize(
    ("size", "chunk"),
    [
        *((size, chunk) for size in (0, 1, 2, 3, 4, 31, 32, 33, 1000, 5000) for chunk in (1, 2, 3, 5, 7)),
        *(
            (size, chunk)
            for size in (1000, SLICE - 1, SLICE, SLICE + 1, 2 * SLICE + 2)
            for chunk in (1000, 65537, SLICE, SLICE + 1, 10 * SLICE)
        ),
    ],
)
def test_chunks_of_any_size_are_one_file(size: int, chunk: int) -> None:
    data = noise(size)
    image = Image(*in_chunks(data, chunk))
    plain = base64.b64encode(data)
    assert image.size == size
    assert joined(image.chunks()) == data
    assert joined(image.base64_chunks()) == plain
    assert joined(image.base64.chunks()) == plain
    assert joined(image.data_url.chunks()) == f"data:{image.media_type};base64,".encode() + plain
    assert image.base64.size == len(plain)
    assert image.data_url.size == len(plain) + len(f"data:{image.media_type};base64,")
    assert image.media_type == ("image/png" if size >= len(PNG_HEAD) else "")


@pytest.mark.parametrize("seed", range(20))
def test_chunks_of_mixed_sizes_and_types_are_one_file(seed: int) -> None:
    dice = random.Random(seed)
    forms: list[Callable[[bytes], Data]] = [bytes, bytearray, memoryview]
    data = noise(dice.randrange(20_000))
    cuts = sorted(dice.choices(range(len(data) + 1), k=dice.randrange(30)))
    chunks = [dice.choice(forms)(data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    image = Image(*chunks)
    assert joined(image.chunks()) == data
    assert joined(image.base64_chunks()) == base64.b64encode(data)


def test_no_chunk_is_large() -> None:
    image = Image(noise(5 * SLICE + 1), noise(SLICE))
    assert max(map(len, image.chunks())) <= SLICE
    assert max(map(len, image.base64_chunks())) <= TEXT_SLICE + 4
    text = Image.from_base64(base64.b64encode(noise(5 * SLICE + 1)).decode())
    assert max(map(len, text.chunks())) <= SLICE
    assert max(map(len, text.base64_chunks())) <= TEXT_SLICE


# --- base64 as received ---


def lines(text: str, end: str) -> str:
    return end.join(text[start : start + 76] for start in range(0, len(text), 76)) + end


WRITTEN: dict[str, Callable[[bytes], str]] = {
    "standard": lambda data: base64.b64encode(data).decode(),
    "url-safe": lambda data: base64.urlsafe_b64encode(data).decode(),
    "unpadded": lambda data: base64.b64encode(data).decode().rstrip("="),
    "url-safe, unpadded": lambda data: base64.urlsafe_b64encode(data).decode().rstrip("="),
    "LF": lambda data: base64.encodebytes(data).decode(),
    "CRLF": lambda data: lines(base64.b64encode(data).decode(), "\r\n"),
    "CRLF, url-safe": lambda data: lines(base64.urlsafe_b64encode(data).decode(), "\r\n"),
    "CRLF, unpadded": lambda data: lines(base64.b64encode(data).decode().rstrip("="), "\r\n"),
    "spaces": lambda data: f"  {base64.b64encode(data).decode()} ",
    "tab": lambda data: f"\t{base64.b64encode(data).decode()}",
}


@pytest.mark.parametrize("size", [8, 9, 10, 47, 48, 49, 1000, SLICE - 1, SLICE, SLICE + 1, SLICE + 2])
@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
async def test_base64_is_taken_however_it_is_written(size: int, written: Callable[[bytes], str]) -> None:
    data = noise(size)
    image = Image.from_base64(written(data))
    assert image.size == size
    assert image.media_type == "image/png"
    assert joined(image.chunks()) == data
    assert joined(image.base64_chunks()) == base64.b64encode(data)
    assert joined(image.data_url.chunks()) == b"data:image/png;base64," + base64.b64encode(data)
    assert image.data_url.size == len(b"data:image/png;base64,") + len(base64.b64encode(data))
    assert await image.verify() == hashlib.sha256(data).hexdigest()


def test_an_empty_text_is_an_empty_file() -> None:
    image = Image.from_base64("")
    assert (image.size, image.media_type) == (0, "")
    assert joined(image.chunks()) == joined(image.base64_chunks()) == b""


VALID = base64.b64encode(noise(2 * SLICE)).decode()  # two slices of text, without padding
PLACES = [0, 5, 63, 64, 65, TEXT_SLICE - 1, TEXT_SLICE, TEXT_SLICE + 1, len(VALID) - 1]


@pytest.mark.parametrize("bad", ["!", ".", ",", '"', "\\", "\0", "\x0b", "%", ":", "~", "é", "\u2003", "\U0001f600", "\udcff"])
async def test_a_broken_character_is_found_wherever_it_stands(bad: str) -> None:
    for place in PLACES:
        text = VALID[:place] + bad + VALID[place + 1 :]
        with pytest.raises(ValueError, match="base64") as caught:
            await Image.from_base64(text).verify()
        assert len(str(caught.value)) < 80, place  # it is told to the client, and must not hold the picture


@pytest.mark.parametrize("cut", ["=", "=="])
@pytest.mark.parametrize("place", [4, 64, 100, TEXT_SLICE - 4, TEXT_SLICE, TEXT_SLICE + 4])
async def test_padding_in_the_middle_is_broken(place: int, cut: str) -> None:
    """Also where the text is cut into slices: it is sent on as it came, and would be too short for its announced size."""
    text = VALID[: place - len(cut)] + cut + VALID[place:]
    with pytest.raises(ValueError, match="base64"):
        await Image.from_base64(text).verify()


@pytest.mark.parametrize(
    "text", ["A", "=", "==", "====", "QQ===", "QUJDR", "QUI==", "QUJD=", "QUJD====", "QQ==QQ==", "A===", "-", "é"]
)
async def test_text_of_an_impossible_length_is_broken(text: str) -> None:
    for given in (text, VALID[:400] + text):
        with pytest.raises(ValueError, match="base64"):
            await Image.from_base64(given).verify()


def test_the_middle_is_not_decoded_before_somebody_asks() -> None:
    image = Image.from_base64(VALID[:-4] + "!!!!")
    assert image.media_type == "image/png"
    with pytest.raises(ValueError, match="base64"):
        list(image.chunks())


# --- both forms ---

FORMS: dict[str, Callable[[bytes], Image]] = {
    "raw": Image,
    "chunks": lambda data: Image(*in_chunks(data, 1009)),
    "base64": lambda data: Image.from_base64(base64.b64encode(data).decode()),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_an_image_can_be_read_any_number_of_times(form: Callable[[bytes], Image]) -> None:
    data = noise(SLICE + 7)
    image = form(data)
    first, second = image.chunks(), image.chunks()
    next(first)  # two readers do not disturb each other
    assert joined(second) == data
    assert [joined(image.base64_chunks()) for _ in range(2)] == [base64.b64encode(data)] * 2
    assert [joined(image.data_url.chunks()) for _ in range(2)] == [b"data:image/png;base64," + base64.b64encode(data)] * 2
    assert joined(image.url.chunks()) == joined(image.data_url.chunks())


@pytest.mark.parametrize("size", [1000, 4 * LONG])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_the_hash_is_of_the_file_and_made_once(
    form: Callable[[bytes], Image], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise(size)
    expected = hashlib.sha256(data).hexdigest()
    made: list[Any] = []
    plain = hashlib.sha256

    def counted(*given: Any) -> Any:
        made.append(given)
        return plain(*given)

    monkeypatch.setattr(hashlib, "sha256", counted)
    image = form(data)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(others())
    await asyncio.sleep(0)
    before = turns
    assert await image.verify() == expected
    assert turns - before >= size // (2 * LONG)  # in long work, others have their turn
    assert [await image.sha256(), await image.verify()] == [expected] * 2
    assert len(made) == 1
    waiting.cancel()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_its_repr_tells_what_it_is_and_not_what_is_in_it(form: Callable[[bytes], Image]) -> None:
    image = form(noise(5000))
    assert repr(image) == "<Image image/png, 5000 bytes>"
    assert repr(image.data_url) == "<base64 of <Image image/png, 5000 bytes>>"
    assert repr(Image(b"x")) == "<Image of unknown type, 1 bytes>"


LARGE = 32 * 1024 * 1024


@pytest.mark.parametrize("form", ["raw", "chunks", "base64"])
async def test_nothing_joins_a_large_image(form: str) -> None:
    data = PNG_HEAD + bytes(LARGE - len(PNG_HEAD))
    if form == "base64":
        image = Image.from_base64(base64.b64encode(data).decode())
    else:
        image = Image(*in_chunks(data, 64 * 1024)) if form == "chunks" else Image(data)
    body = Body(b'{"image":"', image.data_url, b'"}')
    tracemalloc.start()
    try:
        sizes = [sum(map(len, chunks())) for chunks in (image.chunks, image.base64_chunks, image.data_url.chunks)]
        await image.verify()
        written = 0
        async for chunk in body.chunks():
            written += len(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    text = (LARGE + 2) // 3 * 4
    assert sizes == [LARGE, text, text + len("data:image/png;base64,")]
    assert written == body.size
    assert peak < 3 * 1024 * 1024


# --- Text, Link, Job ---


def test_what_stands_inside_json_is_a_piece() -> None:
    image = Image(noise(10))
    assert isinstance(image.base64, Piece)
    assert isinstance(image.data_url, Piece)
    assert isinstance(Image(noise(10)).url, Piece)
    assert Link("https://a.example/x").url == "https://a.example/x"  # beside an image's `url`, for providers that take both


def test_a_job_hands_out_its_references_as_bytes_or_not_at_all() -> None:
    one, two = Image(noise(10)), Image(noise(20))
    plain = Job(name="n", model="m", prompt="p", references=(one, two))
    assert plain.images == (one, two)
    assert Job(name="n", model="m", prompt="p").images == ()
    mixed = dataclasses.replace(plain, references=(one, Link("https://a.example/x")))
    with pytest.raises(TypeError, match="takes_links"):
        _ = mixed.images


# --- Reply, CallError ---


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
def test_a_reply_is_parsed_once(form: Callable[[bytes], Data]) -> None:
    reply = Reply(body=form(b'{"data": [1, {"a": null}]}'))
    assert reply.json == {"data": [1, {"a": None}]}
    assert reply.json is reply.json


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b'{"a": NaN}', b"\xff", b"[" * 100_000])
def test_a_reply_that_is_no_json_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        _ = Reply(body=body).json


def test_a_call_error_carries_the_reply() -> None:
    reply = Reply(status=418, body=b"{}")
    error = CallError(reply)
    assert error.reply is reply
    assert str(error) == "answered 418"


# --- values are values ---


@pytest.mark.parametrize(
    "value",
    [
        Job(name="n", model="m", prompt="p"),
        Link("https://a.example"),
        Sizes(),
        Rules(),
        Call(method="GET", url=URL("https://a.example")),
        Next(),
        Submitted("1"),
        HostedImage("https://a.example"),
        Preview(Image(b"x")),
        Failed(ClientError("x")),
        Note(),
        Reply(),
        Result(job=Job(name="n", model="m", prompt="p"), provider="p", images=(), model="m"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_frozen(value: Any) -> None:
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, None)


# --- rules_of ---


@dataclasses.dataclass(frozen=True)
class Serving:
    models: Any
    name: str = "serving"
    batch: int = 1
    takes_links: bool = False
    origins: tuple[URL, ...] = ()

    def edit(self, job: Job) -> Steps:
        yield Note()


def test_rules_are_those_of_the_entry_or_the_plainest() -> None:
    strict = Rules(references=1)
    assert rules_of(Serving({"a": strict}), "a") is strict
    assert rules_of(Serving({"a": strict}), "b") == Rules()
    assert rules_of(Serving(frozenset({"a"})), "a") == Rules()
    assert rules_of(Serving(["a"]), "a") == Rules()
