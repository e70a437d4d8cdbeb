"""Formats on the wire: JSON with lazy pieces, multipart both ways, and server-sent events."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import multipart
import orjson

from proxy_core import ClientError, Data, Piece, Request

from .model import Part
from .picture import LONG, Image


def json_pieces(value: object) -> list[Data | Piece]:
    """`value` as JSON, with every Piece in it left lazy; it stands in a string, so it must be ASCII without quotes.

    orjson dumps a mark that nobody can guess in the Piece's place, and the text is split at the marks.
    """
    found: list[Piece] = []
    mark = secrets.token_hex(16)

    def default(item: object) -> object:
        if isinstance(item, Image):
            raise TypeError("an Image cannot stand in JSON; its `data_url` or `base64` can")
        if isinstance(item, Piece):
            found.append(item)
            return mark
        if isinstance(item, Mapping):
            return dict(item)
        raise TypeError(f"{type(item).__name__} cannot be written as JSON")

    texts = orjson.dumps(value, default=default, option=orjson.OPT_PASSTHROUGH_DATACLASS).split(mark.encode())
    pieces: list[Data | Piece] = [texts[0]]
    for piece, text in zip(found, texts[1:], strict=True):
        pieces += [piece, text]
    return pieces


def multipart_pieces(parts: Sequence[Part]) -> tuple[str, list[Data | Piece]]:
    """(content type, body) of a multipart form, the parts in order and pictures lazy."""
    boundary = f"darkroom-{secrets.token_hex(16)}"
    pieces: list[Data | Piece] = []
    for part in parts:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_escaped(part.name)}"'
        if isinstance(part.value, Image):
            filename = part.filename or f"image.{part.value.media_type.rpartition('/')[2] or 'bin'}"
            kind = part.value.media_type or "application/octet-stream"
            head += f'; filename="{_escaped(filename)}"\r\nContent-Type: {kind}'
            pieces += [f"{head}\r\n\r\n".encode(), Raw(part.value), b"\r\n"]
        else:
            pieces.append(f"{head}\r\n\r\n{part.value}\r\n".encode())
    pieces.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", pieces


def _escaped(name: str) -> str:
    # As browsers and the OpenAI SDKs do it (WHATWG, multipart/form-data).
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


@dataclass(frozen=True)
class Raw:
    """A Piece: a picture's file bytes."""

    image: Image

    @property
    def size(self) -> int:
        return self.image.size

    def chunks(self) -> Iterator[Data]:
        return self.image.chunks()


@dataclass(frozen=True, kw_only=True)
class Upload:
    """One file of a client's form."""

    name: str
    filename: str
    image: Image


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a client sent: JSON's top level, or a multipart form's text fields and files in order."""

    fields: Mapping[str, Any] = field(repr=False)  # pictures are among them
    uploads: Sequence[Upload] = ()
    multipart: bool = False
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)  # every value of each text field


async def read_form(request: Request, limit: int) -> Form:
    """The body of a request whose bytes are in hand. Raises ClientError (400, 415), TooLarge (413)."""
    kind, options = request.headers.get("Content-Type", "application/json"), {}
    if kind != "application/json":  # which most clients send, and which has no options
        kind, options = multipart.parse_options_header(kind)  # type: ignore[no-untyped-call]
    data = await request.decoded(limit)
    if kind == "multipart/form-data":
        read = partial(_read_multipart, data, options.get("boundary", ""), limit)
        return read() if len(data) < LONG else await asyncio.to_thread(read)
    if kind == "application/json" or kind.endswith("+json") or kind == "text/plain":
        return Form(fields=_read_json(data))
    raise ClientError(
        f"Content-Type {kind[:80]!r} is not understood here; send application/json or multipart/form-data",
        status=415,
        code="unsupported_media_type",
    )


def boundary_of(request: Request) -> bytes:
    """What cuts a form into its parts, b"" where the body is none."""
    kind, options = multipart.parse_options_header(request.headers.get("Content-Type", ""))  # type: ignore[no-untyped-call]
    return str(options.get("boundary", "")).encode("utf-8", "surrogateescape") if kind == "multipart/form-data" else b""


def _read_json(data: Data) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ClientError(f"the body is not valid JSON ({error.msg}, {where})", code="invalid_json") from None
    except RecursionError:
        raise ClientError("the body's JSON is nested too deeply", code="invalid_json") from None
    if not isinstance(value, dict):
        raise ClientError("the body must be a JSON object", code="invalid_json")
    if len(value) > MAX_PARTS:
        raise ClientError(f"the body has {len(value)} fields; at most {MAX_PARTS} are taken", code="too_many_fields")
    return value


MAX_PARTS = 256  # 16 pictures and the fields of every API there is, with room


def _read_multipart(data: Data, boundary: str, limit: int) -> Form:
    lists: dict[str, list[str]] = {}
    uploads: list[Upload] = []
    head: multipart.MultipartSegment | None = None
    chunks: list[bytes] = []
    try:
        with multipart.PushMultipartParser(
            boundary, content_length=len(data), max_segment_size=limit, max_segment_count=MAX_PARTS
        ) as parser:
            view = memoryview(data)
            for start in range(0, max(len(view), 1), 256 * 1024):
                for event in parser.parse(bytes(view[start : start + 256 * 1024])):
                    if isinstance(event, multipart.MultipartSegment):
                        head, chunks = event, []
                    elif event:
                        chunks.append(bytes(event))
                    elif head is not None:
                        _add(head, chunks, lists, uploads)
                        head, chunks = None, []
    except (multipart.MultipartError, UnicodeDecodeError, ValueError) as error:
        # Another error's text would repeat the client's whole header line.
        words = error.args[0] if isinstance(error, multipart.MultipartError) and error.args else "a text field is not UTF-8"
        raise ClientError(f"the multipart body is broken: {words}", code="invalid_multipart") from None
    return Form(fields={name: values[-1] for name, values in lists.items()}, uploads=uploads, multipart=True, lists=lists)


# What a part's charset may be (RFC 7578 4.5). Java's clients say latin-1 unless told otherwise.
_CHARSETS = {
    **dict.fromkeys(("utf-8", "utf8", "us-ascii", "ascii"), "utf-8"),
    **dict.fromkeys(("iso-8859-1", "latin-1", "latin1"), "iso-8859-1"),
}


def _add(
    head: multipart.MultipartSegment, chunks: list[bytes], lists: dict[str, list[str]], uploads: list[Upload]
) -> None:
    if not (name := head.name):
        raise multipart.MultipartError("a part has no name")
    if head.header("Content-Transfer-Encoding", "binary").strip().lower() not in ("7bit", "8bit", "binary"):
        # Deprecated by RFC 7578 4.7, and no browser or SDK sends one; read as it stands, it would be another prompt.
        raise multipart.MultipartError("a part has a Content-Transfer-Encoding; send its bytes as they are")
    if head.filename is not None or (head.content_type or "").startswith(("image/", "application/octet-stream")):
        uploads.append(Upload(name=name, filename=head.filename or "", image=Image(*chunks)))
    else:
        charset = _CHARSETS.get((head.charset or "utf-8").lower())
        if charset is None:
            raise multipart.MultipartError("a text field is in an unknown charset; send UTF-8")
        lists.setdefault(name, []).append(b"".join(chunks).decode(charset))


def event_pieces(data: Sequence[Data | Piece], *, event: str = "") -> list[Data | Piece]:
    """One server-sent event of `data`, which is one line, as JSON is."""
    name = f"event: {event}\n" if event else ""
    return [f"{name}data: ".encode(), *data, b"\n\n"]


async def read_events(chunks: AsyncIterator[Data], *, limit: int) -> AsyncGenerator[bytes, None]:
    """The data of each server-sent event. Raises ValueError for an event over `limit` bytes.

    Lines end in CR, LF or both, wherever the stream is cut. Fields other than `data` are passed over: providers repeat their
    event's name in the data.
    """
    line: list[bytes] = []  # the pieces of a line that has no end yet
    data: list[bytes] = []
    held = 0  # bytes in both
    after_cr = False
    async for chunk in chunks:
        text = bytes(chunk)
        if after_cr and text:
            text = text.removeprefix(b"\n")  # the other half of a CRLF that was cut in two
            after_cr = False
        if not text:
            continue
        after_cr = text.endswith(b"\r")
        first, *rest = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        line.append(first)
        held += len(first)
        for start in rest:
            _bound(held, limit)
            whole = b"".join(line)
            line = [start]
            held += len(start) - len(whole)
            name, _, value = whole.partition(b":")
            if name == b"data":
                data.append(value.removeprefix(b" "))
                held += len(data[-1])
            elif not whole and data:
                yield b"\n".join(data)
                data, held = [], len(start)
        _bound(held, limit)


def _bound(held: int, limit: int) -> None:
    if held > limit:
        raise ValueError(f"an event is longer than {limit} bytes")
