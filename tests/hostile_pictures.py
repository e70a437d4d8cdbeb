"""Data URLs and picture files of every broken form."""

from __future__ import annotations

import base64
import struct
import zlib

from plugins.image_edit.testing import PNG
from tests.hostile import B64, DATA_URL
from tests.pictures import png

JPEG = png(kind="JPEG")
JPEG64 = base64.b64encode(JPEG).decode()
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"


def url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


# What is read, and what each claims to be is not asked.
GOOD_URLS: dict[str, str] = {
    "as it should be": DATA_URL,
    "upper-case": f"DATA:IMAGE/PNG;BASE64,{B64}",
    "no type": f"data:;base64,{B64}",
    "no type, nor its semicolon": f"data:base64;base64,{B64}",
    "a PNG that claims to be a JPEG": f"data:image/jpeg;base64,{B64}",
    "a JPEG that claims to be a PNG": f"data:image/png;base64,{JPEG64}",
    "a PNG that claims to be HTML": f"data:text/html;base64,{B64}",
    "parameters": f"data:image/png;charset=utf-8;name=a%2Cb.png;base64,{B64}",
    "several ;base64": f"data:image/png;base64;base64;base64,{B64}",
    "no padding": DATA_URL.rstrip("="),
    "URL-safe alphabet": DATA_URL[:22] + B64.replace("+", "-").replace("/", "_"),
    "both alphabets": f"data:image/jpeg;base64,{JPEG64[:400]}{JPEG64[400:].replace('+', '-').replace('/', '_')}",
    "blanks within": f"data:image/png;base64, {B64[:9]} {B64[9:20]}\r\n\t{B64[20:]}\n",
    "a space after the comma": f"data:image/png;base64, {B64}",
    "something after the picture's end": url(PNG + HTML),
}

BAD_URLS: dict[str, tuple[str, str]] = {  # name -> (URL, code)
    "empty": ("data:", "invalid_image_url"),
    "no comma": (DATA_URL.replace(",", ""), "invalid_image_url"),
    "no comma, a semicolon": (DATA_URL.replace(",", ";"), "invalid_image_url"),
    "no base64 marker": (f"data:image/png,{B64}", "invalid_image_url"),
    "percent-encoded bytes": ("data:image/png," + "".join(f"%{byte:02X}" for byte in PNG), "invalid_image_url"),
    "percent-encoded base64": (f"data:image/png;base64,{''.join(f'%{ord(c):02X}' for c in B64)}", "invalid_image"),
    "percent-encoded padding": (DATA_URL + "%3D", "invalid_image"),
    "a blank before": (f" {DATA_URL}", "invalid_image_url"),
    "a line break in the scheme": (f"da\nta:image/png;base64,{B64}", "invalid_image_url"),
    "a comma in a parameter": (f'data:image/png;name="a,b";base64,{B64}', "invalid_image_url"),
    "too much padding": (f"data:image/png;base64,{B64.rstrip('=')}=====", "invalid_image"),
    "padding in the middle": (f"data:image/png;base64,{B64[:8]}=={B64[8:]}", "invalid_image"),
    "padding alone": ("data:image/png;base64,====", "invalid_image"),
    "one character": ("data:image/png;base64,A", "invalid_image"),
    "one character too many": (f"data:image/jpeg;base64,{JPEG64.rstrip('=')[: len(JPEG64) // 4 * 4 - 4]}A", "invalid_image"),
    "no base64 at all": ("data:image/png;base64,!!!!", "invalid_image"),
    "a fragment": (f"{DATA_URL}#a", "invalid_image"),
    "a query": (f"{DATA_URL}?a=b", "invalid_image"),
    "NUL": (f"data:image/png;base64,{B64[:40]}\0{B64[40:]}", "invalid_image"),
    "full-width letters": (f"data:image/png;base64,{B64[:40]}\uff21\uff22\uff23\uff24{B64[40:]}", "invalid_image"),
    "broken after 100 KB": (
        f"data:image/png;base64,{base64.b64encode(PNG + bytes(99_999)).decode()[:-4]}AA!A",
        "invalid_image",
    ),
    "broken in the middle of 1 MB": (
        f"data:image/png;base64,{base64.b64encode(PNG + bytes(400_000)).decode()}*{'A' * 500_003}",
        "invalid_image",
    ),
    "nothing": ("data:image/png;base64,", "invalid_image"),
    "blanks alone": ("data:image/png;base64, \n\t", "invalid_image"),
    "within a data URL": (f"data:image/png;base64,{DATA_URL}", "invalid_image"),
    "a base64 of a data URL": (url(DATA_URL.encode()), "invalid_image"),
    "SVG": (url(SVG, "image/svg+xml"), "invalid_image"),
    "SVG that claims to be a PNG": (url(SVG), "invalid_image"),
    "SVG as text": (f"data:image/svg+xml;utf8,{SVG.decode()}", "invalid_image_url"),
    "HTML": (url(HTML, "text/html"), "invalid_image"),
    "text": (url(b"a hat, please", "text/plain"), "invalid_image"),
    "text without base64": ("data:,a%20hat", "invalid_image_url"),
    "PDF": (url(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "application/pdf"), "invalid_image"),
    "an empty zip": (url(b"PK\5\6" + bytes(18)), "invalid_image"),
    "NULs": (url(bytes(64)), "invalid_image"),
    "huge parameters": (f"data:image/png;{'a=b;' * 5000}base64,{B64}", "invalid_image_url"),
    "a huge type": (f"data:{'x' * 20_000};base64,{B64}", "invalid_image_url"),
    "semicolons": (f"data:{';' * 20_000}base64,{B64}", "invalid_image_url"),
    "bare base64": (B64, "invalid_image_url"),
    "a file": ("file:///etc/passwd", "invalid_image_url"),
    "javascript": ("javascript:alert(1)", "invalid_image_url"),
    "blob": ("blob:https://a.example/1", "invalid_image_url"),
    "a protocol's relative": ("//a.example/b.png", "invalid_image_url"),
    "a link without a host": ("https:///b.png", "invalid_image_url"),
    "a link with a blank": ("https:// a.example/b.png", "invalid_image_url"),
    "a long link": ("https://a.example/" + "x" * 9000, "invalid_image_url"),
}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)) + chunk(b"IEND", b"")


def jpeg_of(width: int, height: int) -> bytes:
    return b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9) + b"\xff\xd9"


def gif_of(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0;"


def bmp_of(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IIIIii", 54, 0, 54, 40, width, height) + struct.pack("<HH", 1, 24) + bytes(24)


def webp_of(width: int, height: int) -> bytes:
    body = b"WEBPVP8X" + struct.pack("<II", 10, 0) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff_of(width: int, height: int) -> bytes:
    tags = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in ((256, width), (257, height))]
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(tags) + bytes(4)


def avif_of(width: int, height: int) -> bytes:
    def box(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", 8 + len(data)) + kind + data

    ispe = box(b"ispe", bytes(4) + struct.pack(">II", width, height))
    ipma = box(b"ipma", bytes(4) + struct.pack(">IHBB", 1, 1, 1, 1))
    pitm = box(b"pitm", bytes(4) + struct.pack(">H", 1))
    return box(b"ftyp", b"avif\0\0\0\0avifmif1") + box(b"meta", bytes(4) + pitm + box(b"iprp", box(b"ipco", ispe) + ipma))


BOMBS: dict[str, bytes] = {  # each declares more than anybody can decode
    "PNG of 60000x60000": png_of(60_000, 60_000),
    "PNG of 2^31-1": png_of(2**31 - 1, 2**31 - 1),
    "PNG of 2^32-1": png_of(2**32 - 1, 2**32 - 1),
    "PNG of 2^31 by 1": png_of(2**31, 1),
    "PNG, something after": png_of(60_000, 60_000) + PNG,
    "JPEG of 65535x65535": jpeg_of(65_535, 65_535),
    "GIF of 32767x32767": gif_of(32_767, 32_767),
    "GIF of 65535x65535": gif_of(65_535, 65_535),
    "BMP of 60000x60000": bmp_of(60_000, 60_000),
    "BMP from the top": bmp_of(60_000, -60_000),
    "BMP of 2^31-1": bmp_of(2**31 - 1, 2**31 - 1),
    "WebP of 2^24": webp_of(2**24, 2**24),
    "TIFF of 100000x100000": tiff_of(100_000, 100_000),
    "AVIF of 100000x100000": avif_of(100_000, 100_000),
}

CUT: dict[str, bytes] = {  # they do not even tell how large they are
    "PNG, its signature alone": PNG[:8],
    "PNG without a size": PNG[:20],
    "PNG of 0x0": png_of(0, 0),
    "PNG of 0x9": png_of(0, 9),
    "JPEG, its first bytes alone": JPEG[:3],
    "JPEG before its size": JPEG[:40],
    "JPEG of markers alone": b"\xff\xd8" + b"\xff" * 5000,
    "JPEG of nothing but segments": b"\xff\xd8" + b"\xff\xe1\0\2" * 5000,
    "GIF, its name alone": b"GIF89a",
    "GIF of 0x0": gif_of(0, 0),
    "BMP, its first bytes alone": b"BM" + bytes(8),
    "BMP of a width below 0": bmp_of(-9, 9),
    "WebP, its first bytes alone": b"RIFF\x10\0\0\0WEBP",
    "WebP of an unknown kind": b"RIFF\x10\0\0\0WEBPVP9 " + bytes(40),
}

WHOLE_BY_THEIR_HEADER: dict[str, bytes] = {  # nothing is decoded here: these are for the service to judge
    "PNG cut after its header": PNG[:33],
    "JPEG cut in its data": JPEG[: len(JPEG) // 2],
    "GIF without a picture": gif_of(9, 9),
    "TIFF without a directory": b"II*\0" + bytes(4),
    "TIFF whose directory is itself": b"II*\0" + struct.pack("<IHI", 8, 0, 8),
    "AVIF, its first box alone": avif_of(9, 9)[:24],
    "one pixel": PNG,
}
