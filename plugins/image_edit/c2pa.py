"""Whether a picture's file holds a C2PA manifest: its container is walked, and nothing in it is decoded.

Where each format keeps one: C2PA Technical Specification 2.2, appendix A.3 (embedding manifests into various file formats).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Literal

from proxy_core import Data

from .picture import Image

Finding = Literal["present", "absent", "unknown"]

_HOPS = 8192  # from chunk to chunk; what needs more is no usual file
_JUMBF = b"jumb"
_C2PA = bytes.fromhex("6332706100110010800000aa00389b71")  # the UUID of a manifest store's superbox
_BMFF = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")  # and of the box that holds one in AVIF and HEIC
_TIFF_TAG = 0xCD41
_ALONE = (0x01, *range(0xD0, 0xD9))  # markers in JPEG that begin no segment
_HEAD = struct.Struct(">I4s")  # of a chunk in PNG


def c2pa(image: Image) -> Finding:
    """`unknown` is a file whose container makes no sense, or is not known. It never raises."""
    walk = _WALKS.get(image.media_type)
    if walk is None:
        return "unknown"
    try:
        return "present" if walk(image) else "absent"
    except (ValueError, struct.error, IndexError, OverflowError):
        return "unknown"


def _png(image: Image) -> bool:
    """It should stand before the pixels, but may stand behind them: those are gone over, be they in hundreds of chunks."""
    place, base = 8, 0
    window: Data = b""  # most heads lie in what is in hand anyway
    for _ in range(_HOPS):
        if place + 8 > base + len(window):
            window, base = image.window(place, 8), place
        length, kind = _HEAD.unpack_from(window, place - base)
        if kind == b"caBX":
            return _whole(image, place + 8, length)
        if kind == b"IEND":
            return False
        place += 12 + length
    raise ValueError("too many chunks")


def _jpeg(image: Image) -> bool:
    """Up to the first scan alone: what stands behind it is told from pixels only by reading all of them."""
    place = 2
    for _ in range(_HOPS):
        mark, kind = image.at(place, 2)
        if mark != 0xFF:
            raise ValueError("no marker where one must be")
        if kind == 0xFF:  # a byte that fills
            place += 1
        elif kind in _ALONE:
            place += 2
        elif kind in (0xDA, 0xD9):
            return False
        else:
            (length,) = struct.unpack(">H", image.at(place + 2, 2))
            if length < 2:
                raise ValueError("a segment is shorter than its head")
            if kind == 0xEB and _is_store(image.at(place + 4, 40)):
                return _whole(image, place + 4, length - 2)
            place += 2 + length
    raise ValueError("too many segments")


def _is_store(segment: bytes) -> bool:
    """Whether an APP11 segment begins a manifest store: "JP", two numbers, then the superbox and its description."""
    return segment[:2] == b"JP" and segment[12:16] == _JUMBF and segment[20:24] == b"jumd" and segment[24:40] == _C2PA


def _webp(image: Image) -> bool:
    (size,) = struct.unpack("<I", image.at(4, 4))
    place, end = 12, 8 + size
    for _ in range(_HOPS):
        if place >= end:
            return not _whole(image, 0, end)  # it is written last: a file that was cut may have had one
        kind, length = struct.unpack("<4sI", image.at(place, 8))
        if kind == b"C2PA":
            return _whole(image, place + 8, length)
        place += 8 + length + length % 2
    raise ValueError("too many chunks")


def _bmff(image: Image) -> bool:
    place, described = 0, False
    for _ in range(_HOPS):
        if place == image.size and described:
            return False
        size, kind = struct.unpack(">I4s", image.at(place, 8))
        head = 8
        if size == 1:
            (size,) = struct.unpack(">Q", image.at(place + 8, 8))
            head = 16
        elif size == 0:  # up to the end of the file
            size = image.size - place
        if size < head:
            raise ValueError("a box is shorter than its head")
        _whole(image, place, size)
        if kind == b"uuid" and image.at(place + head, 16) == _BMFF:
            return True
        described = described or kind in (b"meta", b"moov")  # no picture is without; the store may stand before it
        place += size
    raise ValueError("too many boxes")


def _tiff(image: Image) -> bool:
    """In the last directory, or in older files in the first."""
    order = "<" if image.at(0, 2) == b"II" else ">"
    (place,) = struct.unpack(f"{order}I", image.at(4, 4))
    left = _HOPS
    while place:
        (count,) = struct.unpack(f"{order}H", image.at(place, 2))
        left -= count + 1
        if left < 0:
            raise ValueError("too many entries, or directories that go round in a circle")
        entries = image.at(place + 2, count * 12 + 4)
        for tag, _, length, start in struct.iter_unpack(f"{order}HHII", entries[: count * 12]):
            if tag == _TIFF_TAG:
                return _whole(image, start, length)
        (place,) = struct.unpack_from(f"{order}I", entries, count * 12)
    return False


def _gif(image: Image) -> bool:
    """Blocks, and the parts that they are cut into, are counted as one: either can be small, and there can be many of both."""
    flags = image.at(10, 1)[0]
    place, inside = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0), False
    for _ in range(_HOPS):
        head = image.at(place, 14)
        if inside:
            place, inside = place + 1 + head[0], head[0] > 0
            continue
        if head[0] in (0x3B, 0x2C):  # the end, or the first picture: it stands before that
            return False
        if head[0] != 0x21:
            raise ValueError("no block where one must be")
        if head[1:11] == b"\xff\x0bC2PA_GIF":
            return _whole(image, place + 15, image.at(place + 14, 1)[0])
        place, inside = place + 2, True
    raise ValueError("too many blocks")


def _whole(image: Image, start: int, length: int) -> bool:
    """True, and ValueError for what is empty or goes beyond the end of the file: nobody can tell what it was."""
    if length == 0 or start + length > image.size:
        raise ValueError("it is not all there")
    return True


_WALKS: dict[str, Callable[[Image], bool]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/webp": _webp,
    "image/avif": _bmff,
    "image/heic": _bmff,
    "image/tiff": _tiff,
    "image/gif": _gif,
    "image/bmp": lambda image: False,  # it has no place for one
}
