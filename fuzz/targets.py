"""The targets: what each makes of an input's bytes, and the inputs that it begins with."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from plugins.image_edit.testing import PNG
from plugins.image_edit.wire import Form

from . import readers

ROOT = Path(__file__).resolve().parent.parent
URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


@dataclass(frozen=True)
class Target:
    """`run` raises where a reader breaks its promise. `words` are what the inputs are made of."""

    run: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]
    words: tuple[str | bytes, ...] = ()
    longest: int = 4096  # bytes of an input
    json: bool = False  # inputs are, for the most part; half of the changes are to a value then


def cut(data: bytes) -> list[bytes]:
    """`data` without its first byte, in pieces of as many bytes as that says; 0 leaves it whole."""
    size = data[0] if data else 0
    rest = data[1:]
    return [rest[start : start + size] for start in range(0, len(rest), size)] if size else [rest]


# --- dialects ---


def _dialects(data: bytes) -> None:
    """JSON for each dialect; a form's texts, where the first byte says so."""
    try:
        fields = orjson.loads(data[1:])
    except orjson.JSONDecodeError:
        return
    if isinstance(fields, dict):
        for dialect in readers.DIALECTS.values():
            readers.ask(dialect, Form(fields=fields))
        texts = {name: value for name, value in fields.items() if isinstance(value, str)}
        form = Form(fields=texts, multipart=True, lists={name: [value] for name, value in texts.items()})
        readers.ask(readers.DIALECTS["edits"], form)


def _asked() -> Iterator[bytes]:
    part, shown = {"type": "text", "text": "a hat"}, {"type": "image_url", "image_url": {"url": URL}}
    tool = {"type": "image_generation", "size": "1024x1024", "background": "auto", "input_image_mask": {"image_url": URL}}
    turns = [
        {"role": "user", "content": "a hat"},
        {"role": "assistant", "content": "here"},
        {"role": "user", "content": [part, shown]},
    ]
    made = [{"type": "image_generation_call", "result": URL[22:]}, {"role": "user", "content": "a hat"}]
    everything: list[dict[str, object]] = [
        {"messages": turns, "image_config": {"aspect_ratio": "16:9", "image_size": "2K"}, "temperature": 1, "seed": 7},
        {"messages": [{"role": "user", "content": [part, {"type": "image", "base64": URL[22:]}]}], "mask": URL, "stream": True},
        {"input": made, "tools": [tool], "partial_images": 2, "stream": True, "background": False},
        {"input": "a hat", "background": "auto", "tools": [{"type": "web_search"}], "n": 3},
        {"prompt": "a hat", "n": "2", "size": "1536x1024", "quality": "auto", "output_format": "jpg", "extra": {"a": [1]}},
        {"prompt": "a hat", "size": "16:9", "aspect_ratio": "3:2", "resolution": "1.5K", "seed": -1, "watermark": "false"},
        {"prompt": "a hat", "image": URL, "images": [{"image_url": URL}, "https://a.example/b.png"], "mask": {"url": URL}},
        {"prompt": "a hat", "image": [{"file_id": "x"}], "strength": 0.5},
    ]
    for fields in everything:
        yield b"\0" + json.dumps(fields).encode()


_FIELDS = (
    "messages role user content type text image_url url image base64 data file_id input result tools image_generation "
    "input_image_mask background prompt images mask n size aspect_ratio resolution quality seed stream partial_images "
    "output_format watermark image_config image_size auto 1024x1024 16:9 1:1 2K 0: :0 0.0001 previous_response_id"
)


# --- bodies ---


def _form(data: bytes) -> None:
    """A multipart body with the boundary `b`; its first byte says whether it is compressed."""
    encoding = {1: "gzip", 2: "deflate", 3: "gzip, deflate"}.get(data[0] if data else 0, "")
    form = readers.body(data[1:], "multipart/form-data; boundary=b", encoding)
    if form is not None:
        for dialect in readers.DIALECTS.values():
            readers.ask(dialect, form)


def _forms() -> Iterator[bytes]:
    field = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na hat\r\n'
    head = b'--b\r\nContent-Disposition: form-data; name="image[]"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    yield b"\0" + field + head + PNG + b"\r\n--b--\r\n"
    yield b"\0a preamble\r\n" + field + head.replace(b"image[]", b"mask") + PNG + b"\r\n--b--"
    odd = b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: binary\r\nContent-Length: 1\r\n"
    yield b"\0--b\r\nContent-Disposition: form-data; name*=utf-8''a; name=n\r\n" + odd + b"\r\n2\r\n--b--\r\n"
    yield b"\0" + field + b"--b\r\nContent-Disposition: form-data;\r\n name=image\r\n\r\n" + URL.encode() + b"\r\n--b--\r\n"


# --- the others ---


def _data_url(data: bytes) -> None:
    readers.data_url(data.decode("utf-8", "replace"))


def _data_urls() -> Iterator[bytes]:
    yield URL.encode()
    yield URL.upper().encode()
    yield b"data:image/jpeg;charset=x;base64,_9j-4AAQSkZJRg=="
    yield b"data:;base64, iVBORw0KGgo\r\n="
    yield b"https://a.example/b.png?c=d#e"
    yield b"data:image/svg+xml;utf8,<svg/>"


def _picture(data: bytes) -> None:
    chunks = cut(data)
    readers.picture(*chunks)
    readers.manifest(*chunks)


def _pictures() -> Iterator[bytes]:
    yield b"\0" + PNG
    yield b"\7" + (readers.VECTORS / "reference.png").read_bytes()[:600]
    yield b"\0\xff\xd8\xff\xe1\0\x10Exif\0\0II*\0\x08\0\0\0\xff\xc0\0\x11\x08\0\x10\0\x20\x03\1\x11\0\2\x11\0\3\x11\0\xff\xd9"
    yield b"\0\xff\xd8\xff\xeb\0\x2eJP\0\1\0\0\0\1\0\0\0\x24jumb\0\0\0\x1cjumdc2pa\0\x11\0\x10\x80\0\0\xaa\x008\x9bq\3c2pa\0"
    yield b"\0GIF89a\x20\0\x10\0\0\0\0!\xff\x0bC2PA_GIF\1\0\0\5hello\0;"
    yield b"\0BM6\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x20\0\0\0\xf0\xff\xff\xff\1\0\x18\0"
    yield b"\0RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x1f\0\0\x0f\0\0C2PA\4\0\0\0abcd"
    yield b"\0II*\0\x08\0\0\0\3\0\0\1\4\0\1\0\0\0\x20\0\0\0\1\1\4\0\1\0\0\0\x10\0\0\0\x41\xcd\7\0\4\0\0\0abcd\0\0\0\0"
    meta = b"\0\0\0\x0cpitm\0\0\0\1\0\0\0\x28iprp\0\0\0\x14ipco\0\0\0\x14ispe\0\0\0\0\0\0\0\x20\0\0\0\x10"
    yield b"\0\0\0\0\x14ftypavif\0\0\0\0mif1" + (len(meta) + 12).to_bytes(4) + b"meta\0\0\0\0" + meta
    yield b"\0\0\0\0\x10ftypheic\0\0\0\0\0\0\0\x20uuid\xd8\xfe\xc3\xd6\x1b\x0eH<\x92\x97X(\x87~\xc4\x81\0\0\0\0manifest\0"


def _config(data: bytes) -> None:
    readers.config(data.decode("utf-8", "replace"))


def _configs() -> Iterator[bytes]:
    whole = (ROOT / "config.toml").read_bytes()
    yield whole[:4000]
    yield from (b"[" + part for part in whole.split(b"\n[")[1:] if len(part) < 2000)
    yield b'[proxy]\nlisten = ["127.0.0.1:0", "unix:/tmp/s"]\nplugins = ["signing", "image_edit", "openai_compatible"]\n'
    yield (
        b'[proxy]\nplugins = ["image_edit", "openai_compatible"]\n[plugins.openai_compatible.servers.a]\n'
        b'base_url = "http://a:1/v1"\n[plugins.openai_compatible.servers.a.models.m]\nreferences = 1\n'
    )
    yield b'[proxy.routes."/v1"]\nupstream = "https://a.example"\napi_key = "env:A"\n[proxy.limits]\nbody = 1\n[proxy.guards.x]'


def _verifier(data: bytes) -> None:
    readers.verifier(data)


def _receipts() -> Iterator[bytes]:
    files = sorted(path for path in readers.VECTORS.rglob("*") if path.suffix in (".json", ".sse", ".pem"))
    yield from dict.fromkeys(path.read_bytes() for path in files)


def _events(data: bytes) -> None:
    readers.events(cut(data), limit=1 << 10)


def _streams() -> Iterator[bytes]:
    yield b'\3event: a\r\ndata: {"a": 1}\r\n\r\n: a comment\n\ndata: [DONE]\r\r'
    yield b"\1data: a\ndata:b\n\ndata\n\nid: 1\rretry: 9\r\n\n"
    for path in sorted(readers.VECTORS.glob("*.sse")):
        yield b"\x11" + path.read_bytes()[:1500]


def _http1(data: bytes) -> None:
    readers.answer(cut(data))
    readers.answer(cut(data), "HEAD")


def _answers() -> Iterator[bytes]:
    yield b"\5HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\nhello"
    yield b"\1HTTP/1.1 100 -\r\n\r\nHTTP/1.1 201 -\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n"
    yield b"\0HTTP/1.0 404 Not Found\r\nConnection: close\r\n\r\nuntil the end"
    yield b"\7HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


TARGETS: Mapping[str, Target] = {
    "dialects": Target(_dialects, _asked, tuple(_FIELDS.split()), json=True),
    "form": Target(
        _form,
        _forms,
        (b"\r\n", b"\r\n\r\n", b"--b", b"--b--", "Content-Disposition: form-data", "; name=", "; filename=",
         "filename*=utf-8''", "Content-Type: ",
         "charset=", "Content-Transfer-Encoding: ", "Content-Length: ", "image[0]", "mask", "prompt"),
    ),
    "data_url": Target(_data_url, _data_urls, ("data:", ";base64", ",", "image/png", "=", "iVBORw0KGgo", "https://", "%2B")),
    "config": Target(
        _config,
        _configs,
        ("[proxy]", "plugins = ", "[plugins.", "signing", "image_edit", "sandbox", "openai_compatible", "models", "servers",
         "base_url", "api_key", "env:", "file:", "provider", "fallback", "like", "price", "tiers", "routes", "upstream",
         "limits",         "nan", "inf", '"""', "0x", "1979-05-27T07:32:00Z", "tls", "guards", "fetch"),
    ),
    "verifier": Target(
        _verifier,
        _receipts,
        ("payloadType", "payload", "signatures", "keyid", "sig", "darkroom_receipt", "data: ", "b64_json", "choices", "[DONE]",
         "_type", "subject", "predicate", "digest", "sha256", "-----BEGIN PUBLIC KEY-----", "keys", "kty", "crv", "P-256"),
        longest=16_384,
        json=True,
    ),
    "http1": Target(
        _http1,
        _answers,
        ("HTTP/1.1 ", "HTTP/1.0 ", b"\r\n", b"\r\n\r\n", "Content-Length: ", "Transfer-Encoding: ", "chunked", "Connection: ",
         "close", "keep-alive", "Upgrade: ", "101", "100", "204", "304", b"0\r\n\r\n"),
    ),
    "picture": Target(
        _picture,
        _pictures,
        (b"\x89PNG\r\n\x1a\n", "IHDR", "caBX", "eXIf", "IEND", b"\xff\xd8\xff", b"\xff\xe1", "Exif\0\0", b"\xff\xc0", "GIF89a",
         "RIFF", "WEBP", "VP8 ", "VP8L", "VP8X", "C2PA", b"II*\0", b"MM\0*", "BM", "ftyp", "avif", "heic", "meta", "iprp",
         "ipco",         "ispe", "irot", "ipma", "pitm", "iloc", "uuid", "jumb"),
        longest=8192,
    ),
    "events": Target(_events, _streams, ("data: ", "data:", "event: ", "id: ", ": ", "[DONE]", b"\r\n", b"\r", b"\n\n")),
}  # fmt: skip
