"""Whether a picture's file holds a C2PA manifest: its container is walked, and nothing in it is decoded.

Where each format keeps one: C2PA Technical Specification 2.2, appendix A.3 (embedding manifests into various file formats).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Literal

from .picture import Image

Finding = Literal["present", "absent", "unknown"]

_HOPS = 8192  # from chunk to chunk; what needs more is no usual file
_JUMBF = b"jumb"
_C2PA = bytes.fromhex("6332706100110010800000aa00389b71")  # the UUID of a manifest store's superbox
_BMFF = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")  # and of the box that holds one in AVIF and HEIC
_TIFF_TAG = 0xCD41
_HEAD = struct.Struct(">I4s")  # of a chunk in PNG
_LAST = (b"caBX", b"IEND")


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
    """It may stand behind the pixels, and those may be in hundreds of chunks: the slices of the file are gone through once."""
    place, base, hops = 8, 0, 0
    left = b""  # the beginning of a head that the slices cut in two
    for chunk in image.chunks():
        if left:
            left += bytes(chunk[: 8 - len(left)])
            if len(left) < 8:
                base += len(chunk)
                continue
            length, kind = _HEAD.unpack(left)
            if kind in _LAST:
                return bool(kind == b"caBX")
            place, left = place + 12 + length, b""
        last = base + len(chunk) - 8
        while place <= last:
            length, kind = _HEAD.unpack_from(chunk, place - base)
            if kind in _LAST:
                return bool(kind == b"caBX")
            place += 12 + length
            hops += 1
        if hops > _HOPS:
            break
        left = bytes(chunk[place - base :]) if place - base < len(chunk) else b""
        base += len(chunk)
    raise ValueError("it has no end, or too many chunks")


def _jpeg(image: Image) -> bool:
    place = 2
    for _ in range(_HOPS):
        mark, kind, length = struct.unpack(">BBH", image.at(place, 4))
        if mark != 0xFF:
            raise ValueError("no marker where one must be")
        if kind == 0xFF:  # a byte that fills
            place += 1
            continue
        if kind in (0xDA, 0xD9):  # the scan begins: no segment of this kind comes behind it
            return False
        if kind == 0xEB and _is_store(image.at(place + 4, 64)):
            return True
        place += 2 + length
    raise ValueError("too many segments")


def _is_store(segment: bytes) -> bool:
    """Whether an APP11 segment begins a manifest store: "JP", two numbers, then the superbox and its description."""
    return segment[:2] == b"JP" and segment[12:16] == _JUMBF and segment[20:24] == b"jumd" and segment[24:40] == _C2PA


def _webp(image: Image) -> bool:
    (size,) = struct.unpack("<I", image.at(4, 4))
    place, end = 12, min(8 + size, image.size)
    for _ in range(_HOPS):
        if place >= end:
            return False
        kind, length = struct.unpack("<4sI", image.at(place, 8))
        if kind == b"C2PA":
            return True
        place += 8 + length + length % 2
    raise ValueError("too many chunks")


def _bmff(image: Image) -> bool:
    place = 0
    for _ in range(_HOPS):
        if place >= image.size:
            return False
        size, kind = struct.unpack(">I4s", image.at(place, 8))
        head = 8
        if size == 1:
            (size,) = struct.unpack(">Q", image.at(place + 8, 8))
            head = 16
        if kind == b"uuid" and image.at(place + head, 16) == _BMFF:
            return True
        if size == 0:  # up to the end of the file
            return False
        if size < head:
            raise ValueError("a box is shorter than its head")
        place += size
    raise ValueError("too many boxes")


def _tiff(image: Image) -> bool:
    order = "<" if image.at(0, 2) == b"II" else ">"
    (place,) = struct.unpack(f"{order}I", image.at(4, 4))
    seen: set[int] = set()
    while place and len(seen) < 64:
        if place in seen:
            raise ValueError("the directories go round in a circle")
        seen.add(place)
        (count,) = struct.unpack(f"{order}H", image.at(place, 2))
        entries = image.at(place + 2, count * 12 + 4)
        if any(struct.unpack_from(f"{order}H", entries, entry * 12)[0] == _TIFF_TAG for entry in range(count)):
            return True
        (place,) = struct.unpack_from(f"{order}I", entries, count * 12)
    return False


def _gif(image: Image) -> bool:
    flags = image.at(10, 1)[0]
    place = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    for _ in range(_HOPS):
        kind = image.at(place, 16)
        if kind[0] in (0x3B, 0x2C):  # the end, or the first picture: it stands before that
            return False
        if kind[0] != 0x21:
            raise ValueError("no block where one must be")
        if kind[1] == 0xFF and kind[3:11] == b"C2PA_GIF":
            return True
        place += 2
        for _ in range(_HOPS):
            length = image.at(place, 1)[0]
            place += 1 + length
            if not length:
                break
        else:
            raise ValueError("a block of too many parts")
    raise ValueError("too many blocks")


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
