"""References as the Ark emulator reads them, and the pictures that it draws."""

import binascii
import hashlib
import io
import re
import struct
import warnings
from dataclasses import dataclass, field

from PIL import Image

from tests.emulators.ark_rules import Model, Refusal, invalid

_DATA_URI = re.compile(r"data:image/([a-z0-9.+-]+);base64,")
_LINK = re.compile(r"https?://[^/?#\s]+\S*")
_KINDS = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "TIFF": "tiff", "GIF": "gif"}
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_HEIC_BRANDS = {b"heic": "heic", b"heix": "heic", b"hevc": "heic", b"mif1": "heif", b"msf1": "heif"}
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
_MAX_PIXELS = 36_000_000
_DRAWN = 256  # a drawn picture's longest side: tests want many pictures, not large ones


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One input picture; of a link that nobody fetched, only the link is known."""

    link: str = ""
    declared: str = ""              # what the data URI says it is
    format: str = ""                # what the bytes are
    size: tuple[int, int] = (0, 0)  # width and height in pixels
    length: int = 0                 # bytes
    sha256: str = ""
    preview: Image.Image | None = field(default=None, repr=False, compare=False)


def is_link(text: str) -> bool:
    return _LINK.fullmatch(text) is not None


def read_data_uri(text: str, model: Model) -> Reference:
    head = _DATA_URI.match(text)
    if head is None:
        raise invalid("image", "it must be a link or data:image/<format>;base64,<data> with the format in lower case")
    if head[1] not in model.formats:
        raise invalid("image", f"the format {head[1]} is not supported")
    try:
        data = binascii.a2b_base64(text[head.end():], strict_mode=True)
    except ValueError:  # binascii.Error, and what is not ASCII
        raise invalid("image", "the base64 data cannot be decoded") from None
    return read_bytes(data, model, declared=head[1])


def read_bytes(data: bytes, model: Model, *, declared: str = "", link: str = "") -> Reference:
    if len(data) > model.max_bytes:
        raise invalid("image", f"the image must not be larger than {model.max_bytes} bytes")
    kind, size, preview = _heic(data) or _picture(data, model)
    if kind not in model.formats:
        raise invalid("image", f"the format {kind} is not supported")
    _check_size(size, model)
    return Reference(link=link, declared=declared, format=kind, size=size, length=len(data),
                     sha256=hashlib.sha256(data).hexdigest(), preview=preview)


def _picture(data: bytes, model: Model) -> tuple[str, tuple[int, int], Image.Image]:
    try:
        # Pillow warns of many pixels and of odd files; what the service bounds is checked here, before decoding.
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            kind = _KINDS[picture.format or ""]
            _check_size(picture.size, model)
            picture.load()
            return kind, picture.size, picture.resize(_scaled(picture.size)).convert("RGB")
    except _UNREADABLE:
        raise invalid("image", "it cannot be read as an image") from None


def _heic(data: bytes) -> tuple[str, tuple[int, int], None] | None:
    """Brand and size of a HEIF file; Pillow does not decode these."""
    kind = _HEIC_BRANDS.get(data[8:12]) if data[4:8] == b"ftyp" else None
    if kind is None:
        return None
    at = data.find(b"ispe") + 8  # the property's name, its version and flags, then width and height
    if at < 8 or len(data) < at + 8:
        raise invalid("image", "it cannot be read as an image")
    width, height = struct.unpack_from(">II", data, at)
    return kind, (width, height), None


def _check_size(size: tuple[int, int], model: Model) -> None:
    width, height = size
    if min(size) <= 14:
        raise invalid("image", "width and height must be more than 14 pixels")
    if max(size) > model.ratio * min(size):
        raise invalid("image", f"the aspect ratio must be between 1/{model.ratio} and {model.ratio}")
    if width * height > _MAX_PIXELS:
        raise invalid("image", f"it must not have more than {_MAX_PIXELS} pixels")


def _scaled(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, _DRAWN / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def draw(prompt: str, index: int, references: list[Reference], size: tuple[int, int], *, kind: str = "jpeg",
         transparent: bool = False) -> bytes:
    """A real picture that prompt, references and index decide; it shows through what the first reference shows."""
    sources = "\0".join([prompt, str(index), *(reference.sha256 or reference.link for reference in references)])
    blocks = hashlib.shake_256(sources.encode("utf-8", "surrogatepass")).digest(8 * 8 * 3)
    picture = Image.frombytes("RGB", (8, 8), blocks).resize(_scaled(size), Image.Resampling.NEAREST)
    if references and references[0].preview is not None:
        picture = Image.blend(references[0].preview.resize(picture.size), picture, 0.25)
    if transparent:
        picture.putalpha(128)
    out = io.BytesIO()
    picture.save(out, format=kind.upper())
    return out.getvalue()


def unfetched(link: str) -> Refusal:
    return invalid("image", f"the link cannot be downloaded: {link[:200]}")
