"""Formats on the wire: JSON with lazy pieces, multipart both ways, clients' bodies of every kind, and server-sent events."""

from __future__ import annotations

import asyncio
import base64
import functools
import gzip
import io
import itertools
import random
import secrets
import time
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import multipart
import orjson
import pytest
from multidict import CIMultiDict

from plugins.image_edit import Image, Part
from plugins.image_edit.picture import LONG
from plugins.image_edit.testing import PNG
from plugins.image_edit.wire import Form, event_pieces, json_pieces, multipart_pieces, read_events, read_form
from proxy_core import Body, ClientError, Data, Exchange, Piece, Request, TooLarge

LIMIT = 8 * 1024 * 1024


def joined(pieces: Sequence[Data | Piece]) -> bytes:
    return b"".join(bytes(chunk) for p in pieces for chunk in (p.chunks() if isinstance(p, Piece) else [p]))


class Lazy:
    """A Piece that counts how often it is read."""

    def __init__(self, text: bytes = b"lazy") -> None:
        self.text = text
        self.reads = 0

    @property
    def size(self) -> int:
        return len(self.text)

    def chunks(self) -> Iterator[Data]:
        self.reads += 1
        yield self.text


# --- json_pieces ---

# Each is built with a maker of what stands in the strings' place: pieces, or the same text at once.
NESTED: dict[str, Callable[[Callable[[str], object]], object]] = {
    "no piece": lambda make: {"a": [1, 2.5, None, True, 'é\u2028\x00"\\'], "b": {}},
    "alone": lambda make: make("x"),
    "in an object": lambda make: {"model": "m", "image": make("x"), "n": 1},
    "only value": lambda make: {"image": make("x")},
    "in a list": lambda make: [make("x"), "between", make("y")],
    "neighbours": lambda make: [make("x"), make("y"), make("z")],
    "in a tuple": lambda make: (make("x"), (make("y"),)),
    "deep": lambda make: {"a": [{"b": [[{"c": make("x")}], make("y")]}], "d": {"e": {"f": make("z")}}},
    "of no length": lambda make: {"a": make(""), "b": [make("")]},
    "in a mapping": lambda make: {"a": MappingProxyType({"b": make("x"), "c": MappingProxyType({"d": make("y")})})},
    "first and last": lambda make: {"a": make("first"), "b": "\U0001f600" * 10, "c": make("last")},
    "many": lambda make: [{"image_url": {"url": make(f"picture {i}")}} for i in range(300)],
}


@pytest.mark.parametrize("build", NESTED.values(), ids=NESTED)
def test_json_with_pieces_is_the_json_without(build: Callable[[Callable[[str], object]], object]) -> None:
    def plain(value: object) -> object:
        return dict(value) if isinstance(value, MappingProxyType) else NotImplemented

    pieces = json_pieces(build(lambda text: Lazy(text.encode())))
    assert joined(pieces) == orjson.dumps(build(str), default=plain)
    assert Body(*pieces).size == len(joined(pieces))


def test_a_piece_that_stands_twice_is_written_twice() -> None:
    image = Image(PNG)
    url = image.data_url
    text = base64.b64encode(PNG).decode()
    assert orjson.loads(joined(json_pieces([url, {"a": url}, image.base64]))) == [
        f"data:image/png;base64,{text}",
        {"a": f"data:image/png;base64,{text}"},
        text,
    ]


def test_a_piece_is_not_read_before_it_is_written() -> None:
    lazy = Lazy()
    pieces = json_pieces({"a": lazy})
    assert lazy.reads == 0
    assert joined(pieces) == joined(pieces) == b'{"a":"lazy"}'
    assert lazy.reads == 2


def test_the_mark_of_a_piece_cannot_be_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client could say to be mistaken for a mark changes with each call, and has 128 bits."""
    made: list[str] = []
    plain = secrets.token_hex

    def recorded(size: int | None = None) -> str:
        assert size is not None
        assert size >= 16
        made.append(plain(size))
        return made[-1]

    monkeypatch.setattr(secrets, "token_hex", recorded)
    for _ in range(3):
        value = {"image": Lazy(), "prompt": " ".join(made), "again": list(made), "id": "0" * 32}
        assert orjson.loads(joined(json_pieces(value))) == {**value, "image": "lazy"}
    assert len(set(made)) == 3


@dataclass
class Plain:
    a: int = 1


@pytest.mark.parametrize(
    "value",
    [
        Plain(),
        Image(PNG),  # its file would stand raw in the JSON; `data_url` or `base64` is meant
        object(),
        {1, 2},
        b"bytes",
        1j,
        {1: "a key that is no string"},
        "\ud800",
        Plain,
        itertools.count(),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("place", [lambda value: value, lambda value: {"a": [Lazy(), value]}], ids=["alone", "within"])
def test_what_json_cannot_say_is_a_type_error(value: object, place: Callable[[object], object]) -> None:
    with pytest.raises(TypeError):
        json_pieces(place(value))


LARGE = 32 * 1024 * 1024


@pytest.mark.parametrize(
    "build",
    [
        lambda image: json_pieces({"image": image.data_url, "images": [image.base64]}),
        lambda image: event_pieces(json_pieces({"b64_json": image.base64}), event="x"),
        lambda image: multipart_pieces([Part("image", image), Part("image", image)])[1],
    ],
    ids=["json", "event", "multipart"],
)
async def test_no_code_holds_a_large_picture_twice(build: Callable[[Image], list[Data | Piece]]) -> None:
    image = Image(PNG, bytes(LARGE))
    tracemalloc.start()
    try:
        body = Body(*build(image))
        written = 0
        async for chunk in body.chunks():
            written += len(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert written == body.size
    assert written > LARGE
    assert peak < 3 * 1024 * 1024


# --- event_pieces ---


def test_an_event_is_one_line_of_data() -> None:
    value = {"text": "one\ntwo\r\nthree", "image": Image(PNG).base64}
    text = base64.b64encode(PNG)
    plain = b'{"text":"one\\ntwo\\r\\nthree","image":"' + text + b'"}'
    assert joined(event_pieces(json_pieces(value))) == b"data: " + plain + b"\n\n"
    assert joined(event_pieces(json_pieces(value), event="a.b")) == b"event: a.b\ndata: " + plain + b"\n\n"


# --- multipart_pieces ---


def parsed(kind: str, body: bytes) -> list[Any]:
    """As a library that is not ours reads it."""
    name, options = multipart.parse_options_header(kind)  # type: ignore[no-untyped-call]
    assert name == "multipart/form-data"
    parser = multipart.MultipartParser(io.BytesIO(body), options["boundary"], len(body), strict=True)  # type: ignore[no-untyped-call]
    return list(parser.parts())  # type: ignore[no-untyped-call]


def test_a_form_is_read_as_it_was_meant() -> None:
    picture, unknown = Image(PNG[:20], PNG[20:]), Image(b"\r\n--darkroom-\r\n\r\n", b"--")
    kind, pieces = multipart_pieces(
        [
            Part("model", "m"),
            Part("prompt", "é\r\n--darkroom-\u2028\U0001f600"),
            Part("image[]", picture),
            Part("image[]", unknown, "named.dat"),
            Part("mask", unknown),
            Part("empty", ""),
        ]
    )
    body = joined(pieces)
    assert Body(*pieces).size == len(body)
    read = [(part.name, part.filename, part.content_type, part.raw) for part in parsed(kind, body)]
    assert [(name, filename, raw) for name, filename, _, raw in read] == [
        ("model", None, b"m"),
        ("prompt", None, "é\r\n--darkroom-\u2028\U0001f600".encode()),
        ("image[]", "image.png", PNG),
        ("image[]", "named.dat", b"\r\n--darkroom-\r\n\r\n--"),
        ("mask", "image.bin", b"\r\n--darkroom-\r\n\r\n--"),
        ("empty", None, b""),
    ]
    assert [kind for _, filename, kind, _ in read if filename] == ["image/png", *["application/octet-stream"] * 2]


@pytest.mark.parametrize(
    "name",
    [
        '"',
        'a"; filename="x',
        "a\r\nX-Evil: 1\r\n\r\nbody",
        "\r",
        "\n",
        "image[0]",
        "a b;c=d",
        "back\\",
        'a\\"b',
        "é\U0001f600",
        "%",
    ],
)
def test_a_name_cannot_break_out_of_its_quotes(name: str) -> None:
    kind, pieces = multipart_pieces([Part(name, "text"), Part("file", Image(PNG), name), Part("last", "x")])
    head = joined(pieces).split(b"\r\n")[1]
    assert not {b"\r"[0], b"\n"[0]} & set(head)  # readers differ over a lone one
    parts = parsed(kind, joined(pieces))
    assert len(parts) == 3
    assert [part.headerlist[1:] for part in parts] == [[], [("Content-Type", "image/png")], []]
    assert (parts[0].name, parts[0].filename, parts[0].raw) == (name, None, b"text")
    # A path before a file's name is cut off by the reader, as old browsers sent one.
    assert (parts[1].name, parts[1].filename, parts[1].raw) == ("file", name, PNG)
    assert (parts[2].name, parts[2].raw) == ("last", b"x")


def test_each_form_has_a_boundary_of_its_own() -> None:
    kinds = {multipart_pieces([Part("a", "b")])[0] for _ in range(10)}
    assert len(kinds) == 10
    assert min(map(len, kinds)) > len("multipart/form-data; boundary=") + 32


# --- read_form: JSON ---


async def read(body: bytes, kind: str | None = "application/json", *, limit: int = LIMIT, encoding: Sequence[str] = ()) -> Form:
    headers = CIMultiDict({"Content-Type": kind} if kind is not None else {})
    for name in encoding:
        headers.add("Content-Encoding", name)
    request = Request(exchange=Exchange(), method="POST", target="/v1/images/edits", headers=headers, body=Body(body))
    return await read_form(request, limit)


async def refused(body: bytes, kind: str | None = "application/json", **more: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        await read(body, kind, **more)
    error = caught.value
    assert 400 <= error.status < 500
    assert error.code
    assert len(error.message) < 400
    orjson.dumps(error.body())  # it can be told
    return error


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"}",
        b"{} {}",
        b"{},",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a" 1}',
        b"{a: 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": 01}',
        b'{"a": .5}',
        b'{"a": 0x10}',
        b'{"a": tru}',
        b'{"a": undefined}',
        b'{"a": "\n"}',
        b'{"a": "\\x"}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\udc00\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"a": "\xff"}',
        b'{"a": "\xc0\xaf"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"\xff": 1}',
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b"{} // comment",
        b"\x00",
        b"\x1f\x8b\x08",
        b"[",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 5000 + b"]" * 5000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
    ids=lambda body: ascii(body[:24]),
)
async def test_broken_json_is_the_clients_fault(body: bytes) -> None:
    error = await refused(body)
    assert (error.status, error.code) == (400, "invalid_json")


@pytest.mark.parametrize("body", [b"[]", b'[{"model": "m"}]', b'"text"', b"1", b"1.5", b"null", b"true"])
async def test_json_that_is_no_object_is_the_clients_fault(body: bytes) -> None:
    error = await refused(body)
    assert (error.status, error.code) == (400, "invalid_json")
    assert "object" in error.message


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"{}", {}),
        (b' \r\n\t{"a": 1} \n', {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": "\\u0000\\ud83d\\ude00\xc3\xa9"}', {"a": "\x00\U0001f600é"}),
        (b'{"a": 9223372036854775808}', {"a": 2**63}),
        (b'{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890.0}),
        (b'{"a": -0, "b": 1e2, "c": 1E-400}', {"a": 0, "b": 100.0, "c": 0.0}),
        (b'{"": {"": []}}', {"": {"": []}}),
    ],
)
async def test_odd_json_is_read(body: bytes, fields: object) -> None:
    form = await read(body)
    assert form.fields == fields
    assert not form.multipart
    assert not form.uploads


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8 ; x=y",
        " application/json ",
        "application/vnd.api+json",
        "text/plain",  # what a browser's fetch says of a string, so that it need not ask first
        "text/plain;charset=UTF-8",
    ],
)
async def test_json_goes_by_several_names(kind: str | None) -> None:
    assert (await read(b'{"a": 1}', kind)).fields == {"a": 1}


@pytest.mark.parametrize(
    "kind",
    [
        "",
        ";",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "image/png",
        "json",
        "multipart/mixed; boundary=x",
        "multipart/form-data-x; boundary=x",
        "application/json, text/html",
        "x" * 5000,
        "\udcff\udcfe",  # bytes of a header that are no UTF-8 arrive so
        'a; b="\\',
    ],
)
async def test_other_types_are_refused(kind: str) -> None:
    error = await refused(b'{"a": 1}', kind)
    assert (error.status, error.code) == (415, "unsupported_media_type")


async def test_a_body_over_the_limit_is_refused() -> None:
    assert (await read(b'{"a":1}', limit=7)).fields == {"a": 1}
    with pytest.raises(TooLarge) as caught:
        await read(b'{"a":11}', limit=7)
    assert caught.value.status == 413


# --- read_form: compressed ---

zipped = functools.partial(gzip.compress, mtime=0)  # whose file does not say when: it is part of a test's name
PLAIN = b'{"prompt": "' + b"x" * 1000 + b'"}'


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (zipped(PLAIN), ["gzip"]),
        (zipped(PLAIN), ["X-GZIP"]),
        (zlib.compress(PLAIN), ["deflate"]),
        (PLAIN, ["identity"]),
        (zipped(zipped(PLAIN)), ["gzip, gzip"]),
        (zlib.compress(zipped(PLAIN)), ["gzip", "deflate"]),
    ],
)
async def test_a_compressed_body_is_read(body: bytes, encoding: list[str]) -> None:
    assert (await read(body, encoding=encoding)).fields == {"prompt": "x" * 1000}


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (PLAIN, ["gzip"], 400),
        (b"", ["gzip"], 400),
        (zipped(PLAIN)[:-9], ["gzip"], 400),
        (zipped(PLAIN) + b"more", ["gzip"], 400),
        (zipped(PLAIN), [], 400),
        (zipped(b"{"), ["gzip"], 400),
        (zipped(bytes(LIMIT + 1)), ["gzip"], 413),
        (zipped(zipped(bytes(LIMIT + 1))), ["gzip, gzip"], 413),
        (PLAIN, ["br"], 415),
        (PLAIN, ["zstd, gzip"], 400),
        (PLAIN, ["\udcff"], 415),
    ],
)
async def test_a_badly_compressed_body_is_the_clients_fault(body: bytes, encoding: list[str], status: int) -> None:
    assert (await refused(body, encoding=encoding)).status == status


async def test_a_compressed_form_is_read() -> None:
    body = form_body(field("prompt", "x"), file("image", PNG))
    form = await read(zipped(body), KIND, encoding=["gzip"])
    assert form.fields == {"prompt": "x"}
    assert joined([*form.uploads[0].image.chunks()]) == PNG


# --- read_form: multipart ---

KIND = "multipart/form-data; boundary=b"


def field(name: str, value: str) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()


def file(name: str, data: bytes, filename: str = "upload", kind: str = "application/octet-stream") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {kind}\r\n\r\n'
    return head.encode() + data


def form_body(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


def contents(form: Form) -> list[tuple[str, str, bytes]]:
    return [(upload.name, upload.filename, joined([*upload.image.chunks()])) for upload in form.uploads]


async def test_a_form_is_read_in_order() -> None:
    body = form_body(
        file("mask", b"mask", "m.png"),
        field("n", "1"),
        file("image[]", PNG, "blob", "text/html"),  # claims are not asked
        field("n", "2"),
        file("image[]", b"\r\n--c\r\n--\r\n", "a.png"),
        field("prompt", "é\r\n--c--\r\n"),
        field("empty", ""),
        file("none", b"", ""),
    )
    form = await read(body, KIND)
    assert form.multipart
    assert form.fields == {"n": "2", "prompt": "é\r\n--c--\r\n", "empty": ""}
    assert form.lists == {"n": ["1", "2"], "prompt": ["é\r\n--c--\r\n"], "empty": [""]}
    assert contents(form) == [
        ("mask", "m.png", b"mask"),
        ("image[]", "blob", PNG),
        ("image[]", "a.png", b"\r\n--c\r\n--\r\n"),
        ("none", "", b""),
    ]
    assert [upload.image.media_type for upload in form.uploads] == ["", "image/png", "", ""]


@pytest.mark.parametrize(
    ("kind", "body", "fields"),
    [
        ('multipart/form-data; boundary="b"', form_body(field("a", "1")), {"a": "1"}),
        ("Multipart/Form-Data; charset=utf-8; BOUNDARY=b", form_body(field("a", "1")), {"a": "1"}),
        (KIND, b"a preamble\r\n" + form_body(field("a", "1")), {"a": "1"}),
        (KIND, b"\r\n" + form_body(field("a", "1")) + b"an epilogue", {"a": "1"}),
        (KIND, form_body(field("a", "1"), end=b"--b--"), {"a": "1"}),
        (KIND, form_body(), {}),
        (KIND, form_body(b"content-disposition:form-data;name=a\r\n\r\n1"), {"a": "1"}),
        (KIND, form_body(b"X-Other: y\r\nContent-Disposition: form-data; name=a\r\nContent-Length: 1\r\n\r\n1"), {"a": "1"}),
        (KIND, form_body(b'Content-Disposition: form-data; name="a%0D%0Ab%22"\r\n\r\n1'), {'a\r\nb"': "1"}),
        (KIND, form_body(*[field(f"f{i}", "x") for i in range(256)]), {f"f{i}": "x" for i in range(256)}),
    ],
)
async def test_odd_forms_are_read(kind: str, body: bytes, fields: Mapping[str, str]) -> None:
    assert (await read(body, kind)).fields == fields


WHOLE = form_body(field("prompt", "x"), file("image", PNG))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", WHOLE),
        ("multipart/form-data; boundary=", WHOLE),
        ('multipart/form-data; boundary=""', WHOLE),
        ("multipart/form-data; boundary=other", WHOLE),
        ("multipart/form-data; boundary=\udcff", WHOLE),
        ('multipart/form-data; boundary="b\n"', WHOLE),
        ("multipart/form-data; boundary=" + "b" * 5000, WHOLE),
        (KIND, b""),
        (KIND, b"--"),
        (KIND, b"--b"),
        (KIND, b"--b\r\n"),
        (KIND, b"--b\n" + field("a", "1") + b"\n--b--\n"),
        (KIND, b"--bb\r\n" + field("a", "1") + b"\r\n--bb--\r\n"),
        (KIND, b"x--b\r\n" + field("a", "1") + b"\r\n--b--\r\n"),
        (KIND, b'{"prompt": "JSON under a false name"}'),
        (KIND, form_body(field("a", "1"), end=b"")),
        (KIND, form_body(field("a", "1"), end=b"--b\r\n")),
        (KIND, form_body(b"\r\nno head")),
        (KIND, form_body(b"no colon\r\n\r\n1")),
        (KIND, form_body(b"Content-Disposition: form-data\r\n\r\n1")),
        (KIND, form_body(b'Content-Disposition: form-data; name=""\r\n\r\n1')),
        (KIND, form_body(b"Content-Type: image/png\r\n\r\n1")),
        (KIND, form_body(b"Content-Disposition: attachment; name=a\r\n\r\n1")),
        (KIND, form_body(b'Content-Disposition: form-data; name="a"\n\n1')),
        (KIND, form_body(b"Content-Disposition: form-data; name=a\r\nContent-Length: 9\r\n\r\n1")),
        (KIND, form_body(b"Content-Disposition: form-data; name=a\r\nContent-Length: -1\r\n\r\n1")),
        (KIND, form_body(b"Content-Disposition: form-data; name=a\r\nContent-Length: 99999999999\r\n\r\n1")),
        (KIND, form_body(b'Content-Disposition: form-data; name="\xff"\r\n\r\n1')),
        (KIND, form_body(b'Content-Disposition: form-data; name="a"\r\n\r\n\xff')),
        (KIND, form_body(b'Content-Disposition: form-data; name="' + b"a" * 3000 + b'\xff"\r\n\r\n1')),
        (KIND, form_body(b'Content-Disposition: form-data; name="' + b"a" * 5000 + b'"\r\n\r\n1')),
        (KIND, form_body(b"X: y\r\n" * 9 + field("a", "1"))),
        (KIND, form_body(b"bad name: y\r\n" + field("a", "1"))),
        (KIND, form_body(b" folded: y\r\n" + field("a", "1"))),
        (KIND, form_body(*[field("a", "1")] * 257)),
        (KIND, b"--b\r\n" * 10_000),
        (KIND, b"\r\n" * 10_000),
    ],
    ids=itertools.count(),
)
async def test_a_broken_form_is_the_clients_fault(kind: str, body: bytes) -> None:
    error = await refused(body, kind)
    assert error.code == "invalid_multipart"


async def test_a_form_that_is_cut_is_never_read_in_part() -> None:
    for size in range(len(WHOLE) - 2):
        assert (await refused(WHOLE[:size], KIND)).code == "invalid_multipart", size


async def test_a_boundary_may_fall_anywhere_in_a_slice() -> None:
    """The parser is fed in slices: a boundary across two of them is one all the same."""
    for offset in range(-24, 24):
        data = random.Random(offset).randbytes(256 * 1024 - len(file("a", b"")) + offset)
        form = await read(form_body(file("a", data), file("b", PNG), field("c", "x")), KIND)
        assert contents(form) == [("a", "upload", data), ("b", "upload", PNG)], offset
        assert form.fields == {"c": "x"}, offset


async def test_a_large_form_leaves_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[object] = []
    plain = asyncio.to_thread

    async def recorded(work: Callable[..., Any], *given: Any) -> Any:
        left.append(work)
        return await plain(work, *given)

    monkeypatch.setattr(asyncio, "to_thread", recorded)
    await read(WHOLE, KIND)
    assert not left
    data = bytes(LONG)
    assert contents(await read(form_body(file("image", data)), KIND)) == [("image", "upload", data)]
    assert len(left) == 1


GOOD_JSON = orjson.dumps({"model": "m", "prompt": "é x", "n": 1, "image": ["data:image/png;base64,AAAA", {"a": [None, 1.5]}]})


def spoilt(body: bytes, dice: random.Random) -> bytes:
    """`body` with some bytes changed, lost, doubled or moved."""
    data = bytearray(body)
    for _ in range(dice.randint(1, 4)):
        a, b = sorted(dice.choices(range(len(data) + 1), k=2))
        b = min(b, a + 12)
        match dice.randrange(5):
            case 0:
                data[a:b] = dice.randbytes(b - a)
            case 1:
                del data[a:b]
            case 2:
                data[a:a] = data[a:b]
            case 3:
                data[a:a] = dice.choice([b"\r\n", b"--b", b"--", b'"', b"\\", b"\x00", b"{", b"[", b"\xed\xa0\x80", b"NaN"])
            case 4:
                data[a : a + 1] = bytes([data[a] ^ (1 << dice.randrange(8))]) if a < len(data) else b""
    return bytes(data)


@pytest.mark.parametrize(("kind", "body"), [("application/json", GOOD_JSON), (KIND, WHOLE)], ids=["json", "multipart"])
async def test_whatever_is_sent_is_read_or_refused(kind: str, body: bytes) -> None:
    dice = random.Random(7)
    refusals: list[ClientError] = []
    for _ in range(1500):
        try:
            form = await read(spoilt(body, dice), kind)
        except ClientError as error:
            refusals.append(error)
        else:
            assert isinstance(form.fields, dict)
    assert {error.status for error in refusals} == {400}
    assert 300 < len(refusals) < 1500  # both ways were taken


# --- read_events ---


async def given(*chunks: Data) -> AsyncGenerator[Data, None]:
    for chunk in chunks:
        yield chunk


async def events(*chunks: Data, limit: int = 10_000) -> list[bytes]:
    async with aclosing(read_events(given(*chunks), limit=limit)) as found:
        return [event async for event in found]


# As the HTML standard has it, section "Interpreting an event stream"; all fields but `data` are passed over.
STREAMS: dict[str, tuple[bytes, list[bytes]]] = {
    "LF": (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
    "CRLF": (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    "CR": (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    "mixed": (b"data: a\r\n\ndata: b\n\r\ndata: c\r\n\r\ndata: d\n\n", [b"a", b"b", b"c", b"d"]),
    "lines": (b"data: one\ndata:\ndata: three\n\n", [b"one\n\nthree"]),
    "lines, CRLF": (b"data: one\r\ndata: two\r\n\r\n", [b"one\ntwo"]),
    "no space": (b"data:a\n\ndata:  b \n\n", [b"a", b" b "]),
    "comments": (b": hello\n\n:\ndata: a\n: within\n\n:\n\n", [b"a"]),
    "other fields": (b"event: x\nid: 1\nretry: 5\ndata: a\ndatax: b\ndat\n xdata: c\n\n", [b"a"]),
    "only other fields": (b"event: ping\n\nid: 5\n\ndata: a\n\n", [b"a"]),
    "blank lines": (b"\n\n\r\n\ndata: a\n\n\n\n\ndata: b\n\n", [b"a", b"b"]),
    "no colon": (b"data\ndata\n\n", [b"\n"]),
    "colons": (b'data: {"a": "b:c"}\n\n', [b'{"a": "b:c"}']),
    "not UTF-8": (b"data: \xff\xfe\x00\n\n", [b"\xff\xfe\x00"]),
    "done": (b'data: {"a":1}\n\ndata: [DONE]\n\n', [b'{"a":1}', b"[DONE]"]),
    "cut": (b"data: a\n\ndata: never finished\n", [b"a"]),
    "cut within a line": (b"data: a\n\ndata: never", [b"a"]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize(("stream", "expected"), STREAMS.values(), ids=STREAMS)
async def test_events_are_read_however_they_are_cut(stream: bytes, expected: list[bytes]) -> None:
    assert await events(stream) == expected
    assert await events(*(stream[i : i + 1] for i in range(len(stream)))) == expected
    for first in range(len(stream) + 1):
        assert await events(stream[:first], b"", stream[first:]) == expected


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
async def test_events_come_in_any_kind_of_chunk(form: Callable[[bytes], Data]) -> None:
    assert await events(form(b"data: a\n"), form(b"\ndata: b\n\n")) == [b"a", b"b"]


async def test_an_event_is_told_as_soon_as_it_is_whole() -> None:
    sent: list[int] = []

    async def slowly() -> AsyncGenerator[Data, None]:
        for n in range(3):
            sent.append(n)
            yield b"data: %d\n\n" % n

    async with aclosing(slowly()) as chunks, aclosing(read_events(chunks, limit=100)) as found:
        assert await anext(found) == b"0"
        assert sent == [0]
        assert await anext(found) == b"1"
        assert sent == [0, 1]


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + b"x" * 200 + b"\n\n",
        b"data: " + b"x" * 2000,  # no line break ever
        b"data: xxxxxxxx\n" * 20 + b"\n",
        b"data: a\n\ndata: " + b"x" * 200 + b"\n\n",
    ],
    ids=["a line", "no end", "lines", "the second"],
)
async def test_an_event_over_the_limit_is_refused(stream: bytes, size: int) -> None:
    with pytest.raises(ValueError, match="100 bytes"):
        await events(*(stream[i : i + size] for i in range(0, len(stream), size)), limit=100)


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
@pytest.mark.parametrize(
    ("stream", "count"),
    [
        (b"data: a\n\n" * 100, 100),
        (b"event: x\ndata: a\n\n" * 100, 100),
        (b": keep-alive\n\n" * 100 + b"data: a\n\n", 1),
        (b"event: ping\n\n" * 100 + b"data: a\n\n", 1),
    ],
    ids=["events", "named events", "comments", "events without data"],
)
async def test_the_limit_is_of_one_event_not_of_a_stream(stream: bytes, count: int, size: int) -> None:
    """Neither a chunk that holds many events, nor an hour of keep-alives, makes an event longer than it is."""
    found = await events(*(stream[i : i + size] for i in range(0, len(stream), size)), limit=100)
    assert found == [b"a"] * count


@pytest.mark.parametrize(
    "chunk", [b"x" * 99 + b"\r", b"x" * 100, b"x" * 99 + b"\n", b"\r" * 100], ids=["CR", "none", "LF", "CRs"]
)
async def test_events_are_read_in_linear_time(chunk: bytes) -> None:
    async def spent(count: int) -> float:
        begun = time.process_time()
        await events(b"data: ", *[chunk] * count, limit=1 << 30)
        return time.process_time() - begun

    few, many = [min([await spent(count) for _ in range(2)]) for count in (250, 4000)]
    assert many < 100 * few + 0.05  # 16 times the work; quadratic would be 256 times
