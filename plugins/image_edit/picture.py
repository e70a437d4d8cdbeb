"""Pictures in flight: what a file is by its bytes, and one that is never joined or converted as a whole."""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import io
import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, islice

import imagesize
import pybase64

from proxy_core import Data

_SLICE = 192 * 1024  # bytes of a picture handled at once; a multiple of 3, so that its base64 needs no padding
_BLANKS = dict.fromkeys(map(ord, " \t\r\n"))
_TEXT_SLICE = _SLICE // 3 * 4
_FEW = 1024
LONG = 1024 * 1024  # byte work beyond this leaves the event loop


# Formats whose header always tells the picture's size, in a place where it can be found without decoding anything.
_MEASURED = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp"})


def sniff(head: Data) -> str:
    """The media type of a file by its first 32 bytes, or "" if they begin no image format that we know.

    Claims (a Content-Type, a data URI, a file name) are never asked: providers and clients get them wrong.
    """
    start = bytes(head[:32])
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if start.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    if start.startswith((b"II*\0", b"MM\0*")):
        return "image/tiff"
    if start[:2] == b"BM" and start[6:10] == b"\0\0\0\0":
        return "image/bmp"
    if start[4:8] == b"ftyp":
        brand = start[8:12]
        if brand in (b"avif", b"avis"):
            return "image/avif"
        if brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
            return "image/heic"
    return ""


class Image:
    """One picture, in exactly one form: the file's raw chunks, or base64 text as somebody sent it.

    Nothing joins or converts it as a whole: `chunks`, `base64` and `data_url` make their bytes while they are written.
    """

    __slots__ = ("_digest", "_ends", "_measured", "_raw", "_text", "broken", "host", "media_type", "size")

    def __init__(self, *raw: Data) -> None:
        """From the file's bytes, in any number of chunks."""
        self._raw: tuple[Data, ...] = raw
        self._ends: tuple[int, ...] = ()  # of each chunk, once `at` needs them
        self._text = ""
        self.broken = False  # base64 that is none, as far as its ends tell
        self.host = ""  # it was fetched from, by the proxy itself
        self._digest = ""
        self._measured: tuple[int, int] | None = None
        self.size = sum(map(len, raw))
        head = b""
        for chunk in raw:
            head += bytes(chunk[: 32 - len(head)])
            if len(head) >= 32:
                break
        self.media_type = sniff(head)

    @classmethod
    def from_base64(cls, text: str) -> Image:
        """From base64, in either alphabet, padded or not, bare or as a data URL; services answer with all of them.

        What is no base64 is found by `verify`, so that one bad picture of several costs no other.
        """
        if text.startswith("data:"):
            text = text.partition(",")[2]
        if "\n" in text or " " in text or "\r" in text or "\t" in text:
            text = text.translate(_BLANKS)
        if "-" in text or "_" in text:  # the URL-safe alphabet, which google-genai and some clients send
            text = text.replace("-", "+").replace("_", "/")
        text += "=" * (-len(text) % 4)
        image = cls()
        image._text = text
        image.size = len(text) // 4 * 3 - text[-2:].count("=")
        try:
            image.media_type = sniff(_decoded(text[:64]))
        except ValueError:
            image.broken = True
        # A slice that ends in `=` is good base64 by itself, so these are looked for in the whole.
        image.broken = image.broken or not text.isascii() or text.find("=", 0, -2) >= 0
        return image

    def chunks(self) -> Iterator[Data]:
        """The file's bytes. Raises ValueError where the base64 is none."""
        if self.broken:
            raise ValueError("it is not valid base64")
        if self._text:
            for start in range(0, len(self._text), _TEXT_SLICE):
                yield _decoded(self._text[start : start + _TEXT_SLICE])
        else:
            for chunk in self._raw:
                view = memoryview(chunk)
                for start in range(0, len(view), _SLICE):
                    yield view[start : start + _SLICE]

    def at(self, offset: int, size: int) -> bytes:
        """The file's bytes from `offset` on, at most `size`; nothing else is decoded. Raises ValueError for broken base64."""
        return bytes(self.window(offset, size)[:size])

    def window(self, offset: int, size: int) -> Data:
        """What `at` gives, with as many bytes behind it as are in hand without decoding or copying any."""
        if self._text:
            first = offset // 3
            text = self._text[first * 4 : (offset + size + 2) // 3 * 4]
            # Of some bytes the standard library makes short work: pybase64 takes a microsecond to begin.
            whole = binascii.a2b_base64(text, strict_mode=True) if size <= _FEW else _decoded(text)
            return whole[offset - first * 3 :]
        if not self._ends:
            self._ends = tuple(accumulate(map(len, self._raw)))
        index = bisect_right(self._ends, offset)
        if index == len(self._raw):
            return b""
        chunk = self._raw[index]
        found = memoryview(chunk)[offset - self._ends[index] + len(chunk) :]
        return found if len(found) >= size else bytes(found) + self._behind(index, size - len(found))

    def _behind(self, index: int, size: int) -> bytes:
        """The first bytes of all that follows a chunk."""
        found = []
        for chunk in islice(self._raw, index + 1, None):
            if size <= 0:
                break
            found.append(bytes(chunk[:size]))
            size -= len(found[-1])
        return b"".join(found)

    def base64_chunks(self) -> Iterator[bytes]:
        """The file's base64, without line breaks."""
        if self._text:
            for start in range(0, len(self._text), _TEXT_SLICE):
                yield self._text[start : start + _TEXT_SLICE].encode("ascii")
            return
        left = b""
        for chunk in self.chunks():
            view = memoryview(chunk)
            if left:
                short = 3 - len(left)
                left, view = left + bytes(view[:short]), view[short:]
                if len(left) < 3:
                    continue
                yield pybase64.b64encode(left)
            whole = len(view) - len(view) % 3
            left = bytes(view[whole:])
            if whole:
                yield pybase64.b64encode(view[:whole])
        if left:
            yield pybase64.b64encode(left)

    @property
    def base64(self) -> Text:
        """A Piece: the base64, to stand inside JSON."""
        return Text(self, "")

    @property
    def data_url(self) -> Text:
        """A Piece: `data:TYPE;base64,...`, to stand inside JSON."""
        return Text(self, f"data:{self.media_type};base64,")

    @property
    def url(self) -> Text:
        """What a provider that takes links and data URLs alike is sent; a Link has one too."""
        return self.data_url

    @property
    def pixels(self) -> tuple[int, int] | None:
        """(width, height) as the file's header has them, turned as its EXIF orientation says; None if it does not tell.

        Nothing is decoded. Raises ValueError if the base64 before the header's end is broken.
        """
        if self._measured is None:
            self._measured = _measure(self)
        return self._measured if min(self._measured) > 0 else None

    def bound(self, most: int) -> None:
        """Raises ValueError if its header declares more than `most` pixels, for who decodes it would be out of memory; or if it
        does not tell, where every such file does."""
        if (pixels := self.pixels) is None and self.media_type in _MEASURED:
            raise ValueError("it is cut, or its header makes no sense")
        if pixels is not None and pixels[0] * pixels[1] > most:
            raise ValueError(f"it declares {pixels[0]}x{pixels[1]} pixels; at most {most} are let through (max_pixels)")

    async def verify(self) -> str:
        """The sha256 of the file, in hex; computed once. Raises ValueError if the base64 is broken.

        The event loop is free after each megabyte: for some milliseconds of work, a thread costs a fifth more.
        """
        if not self._digest:
            digest, done = hashlib.sha256(), 0
            for chunk in self.chunks():
                digest.update(chunk)
                done += len(chunk)
                if done >= LONG:
                    done = 0
                    await asyncio.sleep(0)
            self._digest = digest.hexdigest()
        return self._digest

    sha256 = verify

    def __repr__(self) -> str:
        return f"<Image {self.media_type or 'of unknown type'}, {self.size} bytes>"


_HEADER = 4 * 1024 * 1024  # bytes in which a picture must have told its size: colour profiles and previews may come first


def _measure(image: Image) -> tuple[int, int]:
    try:
        found = imagesize.get_info(_Beginning(image), dpi=False, colors=False, channels=False)
    except (ValueError, struct.error, EOFError, IndexError, OverflowError, TypeError, KeyError):
        return -1, -1  # a header that makes no sense tells nothing
    return found.width, found.height  # turned already


class _Beginning(io.RawIOBase):
    """A picture's first bytes as a file, made only as far as they are read."""

    def __init__(self, image: Image) -> None:
        super().__init__()
        self._chunks = image.chunks()
        self._made = bytearray()
        self._place = 0

    def read(self, size: int | None = -1) -> bytes:
        end = _HEADER if size is None or size < 0 else min(self._place + size, _HEADER)
        while len(self._made) < end and (chunk := next(self._chunks, None)) is not None:
            self._made += chunk
        found = bytes(self._made[self._place : end])
        self._place += len(found)
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 2:
            self.read()
        base = (0, self._place, min(len(self._made), _HEADER))[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _decoded(text: str) -> bytes:
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("it is not valid base64") from None


@dataclass(frozen=True, repr=False)
class Text:
    """A Piece: an image's base64 after a prefix. It is ASCII without quotes, so it may stand inside a JSON string."""

    image: Image
    prefix: str

    @property
    def size(self) -> int:
        return len(self.prefix) + (self.image.size + 2) // 3 * 4

    def chunks(self) -> Iterator[bytes]:
        if self.prefix:
            yield self.prefix.encode("ascii")
        yield from self.image.base64_chunks()

    def __repr__(self) -> str:
        return f"<base64 of {self.image!r}>"


@dataclass(frozen=True)
class Link:
    """A reference that the client gave as a link; only a provider that takes links is handed one."""

    url: str
