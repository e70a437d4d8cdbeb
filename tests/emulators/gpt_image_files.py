"""Pictures as the GPT image emulator reads them from a request, and those that it draws."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from tests.emulators.gpt_image_rules import Order, Refused, invalid

_KINDS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_MB = 1024 * 1024
_NAME, _FILENAME = re.compile(r'; name="([^"]*)"'), re.compile(r'; filename="([^"]*)"')
_CLAIMED = re.compile(r"^content-type: *([^\r;]+)", re.IGNORECASE | re.MULTILINE)
_DRAWN = 256 * 256  # pixels beyond which a picture is drawn smaller, in its shape: tests want many pictures, not large ones


@dataclass(frozen=True, kw_only=True)
class File:
    """One picture of a request."""

    part: str  # the name of its part, or its place in the JSON
    filename: str = ""
    claimed: str = ""
    format: str = ""
    sha256: str = ""
    picture: Image.Image = field(repr=False)


@dataclass
class Asked:
    """A request's fields and files in order."""

    fields: dict[str, Any] = field(default_factory=dict)
    files: list[File] = field(default_factory=list)
    mask: File | None = None


def read_form(content_type: str, raw: bytes) -> Asked:
    """A multipart form; its numbers are texts. Raises Refused."""
    asked, names = Asked(), []
    for head, data in _parts(content_type, raw):
        name = _NAME.search(head)
        if name is None:
            raise Refused(400, "A part has no name.")
        names.append(part := name[1])
        filename, claimed = _FILENAME.search(head), _CLAIMED.search(head)
        if filename is None:
            asked.fields[part] = _number(part, data.decode())
            continue
        if part not in ("image", "image[]", "mask"):
            raise invalid(part, f"Unknown parameter: '{part}'.", "unknown_parameter")
        file = _file(data, part, filename[1], claimed[1] if claimed else "")
        if part == "mask":
            asked.mask = file
        else:
            asked.files.append(file)
    for part in names:
        if part != "image[]" and names.count(part) > 1:
            raise invalid(part, f"Duplicate parameter: '{part}'. To send a list, use '{part}[]'.", "duplicate_parameter")
    return asked


def _parts(content_type: str, raw: bytes) -> list[tuple[str, bytes]]:
    """(head, data) of each part. Raises Refused for what is not well formed."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    pieces = (b"\r\n" + raw).split(b"\r\n--" + boundary[1].encode()) if boundary else []
    if len(pieces) < 3 or pieces[0] or not pieces[-1].startswith(b"--"):
        raise Refused(400, "Could not parse multipart form.")
    parts = [piece.removeprefix(b"\r\n").partition(b"\r\n\r\n") for piece in pieces[1:-1]]
    return [(head.decode(), data) for head, _, data in parts]


def _number(name: str, text: str) -> Any:
    if name in ("n", "output_compression", "partial_images") and text.isdecimal():
        return int(text)
    return {"true": True, "false": False}.get(text, text) if name == "stream" else text


def read_json(body: Mapping[str, Any]) -> Asked:
    """The JSON form of an edit (EditImageBodyJsonParam). Raises Refused."""
    images = body.get("images")
    if not isinstance(images, list):
        raise invalid("images", "Missing required parameter: 'images'.", "missing_required_parameter")
    asked = Asked({name: value for name, value in body.items() if name not in ("images", "mask")})
    asked.files = [_object(item, f"images[{place}]") for place, item in enumerate(images)]
    if body.get("mask") is not None:
        asked.mask = _object(body["mask"], "mask")
    return asked


def _object(item: Any, where: str) -> File:
    if not isinstance(item, dict):
        raise invalid(where, f"Invalid type for '{where}': expected an object.", "invalid_type")
    if len(item) != 1 or not item.keys() <= {"image_url", "file_id"}:
        raise invalid(where, f"'{where}' must have exactly one of image_url and file_id.")
    url = item.get("image_url", "")
    head, comma, text = url.partition(",")
    if len(url) > 20_971_520 or not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise invalid(where, "The picture cannot be had.", "invalid_image_url")  # links and files lead nowhere here
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise invalid(where, "The data is not base64.", "invalid_image_url") from None
    return _file(data, where, "", head[5:-7])


def _file(data: bytes, part: str, filename: str, claimed: str) -> File:
    if claimed not in _KINDS.values():  # known of the service, though the contract has not the words
        raise invalid("image", f"Invalid file '{part}': unsupported mimetype ('{claimed}').", "unsupported_file_mimetype")
    try:
        picture = Image.open(io.BytesIO(data), formats=[*_KINDS])
        picture.load()
    except (OSError, SyntaxError, ValueError):
        raise invalid("image", "Invalid image file or mode.", "invalid_image_file") from None
    if len(data) >= 50 * _MB:
        raise invalid("image", "Image exceeds 50MB.", "invalid_image_file")
    digest = hashlib.sha256(data).hexdigest()
    kind = _KINDS[picture.format or ""]
    return File(part=part, filename=filename, claimed=claimed, format=kind, sha256=digest, picture=picture)


def check_files(asked: Asked) -> None:
    """Raises Refused."""
    if not asked.files:
        raise invalid("image", "Missing required parameter: 'image'.", "missing_required_parameter")
    if len(asked.files) > 16:
        raise invalid("image", f"Too many images: {len(asked.files)}; at most 16.")
    mask = asked.mask
    if mask is None:
        return
    if mask.format != "image/png" or mask.picture.mode != "RGBA":
        raise invalid("mask", "The mask must be a PNG with an alpha channel.", "invalid_image_file")
    if mask.picture.size != asked.files[0].picture.size:
        raise invalid("mask", "The mask must have the size of the image.", "invalid_image_file")


def size_of(order: Order, files: list[File]) -> tuple[int, int]:
    """In pixels; the service chooses an edit's after its picture, unless it is told."""
    if order.size != "auto":
        width, _, height = order.size.partition("x")
        return int(width), int(height)
    if not files:
        return 1024, 1024
    shape = files[0].picture.width / files[0].picture.height
    return (1536, 1024) if shape > 1.2 else (1024, 1536) if shape < 0.8 else (1024, 1024)


def draw(order: Order, asked: Asked, index: int, size: tuple[int, int]) -> bytes:
    """A real picture: what prompt and index decide, below the references side by side, or where the mask is transparent."""
    scale = min(1.0, (_DRAWN / (size[0] * size[1])) ** 0.5)
    width, height = round(size[0] * scale), round(size[1] * scale)
    seed = f"{order.prompt}\0{index}\0{order.quality}"
    blocks = hashlib.shake_256(seed.encode("utf-8", "surrogatepass")).digest(8 * 8 * 3)
    made = Image.frombytes("RGB", (8, 8), blocks).resize((width, height), Image.Resampling.NEAREST)
    if asked.mask is not None:
        keep = asked.mask.picture.getchannel("A").resize(made.size)
        made.paste(asked.files[0].picture.convert("RGB").resize(made.size), (0, 0), keep)
    else:
        for place, file in enumerate(asked.files):
            left, right = width * place // len(asked.files), width * (place + 1) // len(asked.files)
            made.paste(file.picture.convert("RGB").resize((right - left, height * 3 // 4)), (left, 0))
    if order.background == "transparent":
        made.putalpha(128)
    out = io.BytesIO()
    fast = {"compress_level": 1} if order.output_format == "png" else {}
    made.save(out, order.output_format.upper(), **fast)
    return out.getvalue()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


__all__ = ["Asked", "File", "Refused", "check_files", "draw", "encoded", "read_form", "read_json", "size_of"]
