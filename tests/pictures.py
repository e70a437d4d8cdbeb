"""Pictures for tests: small, drawn on the spot, told apart by their colours."""

from __future__ import annotations

import io
import random

from PIL import Image, ImageDraw

RED, GREEN, BLUE = (220, 30, 30), (30, 200, 40), (40, 60, 220)


def png(size: tuple[int, int] = (96, 64), colour: tuple[int, int, int] = RED, kind: str = "PNG") -> bytes:
    """A picture of one colour with a white corner, so that turning and mirroring it shows."""
    image = Image.new("RGB", size, colour)
    ImageDraw.Draw(image).rectangle((0, 0, size[0] // 4, size[1] // 4), fill=(255, 255, 255))
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def mask(size: tuple[int, int]) -> bytes:
    """A PNG whose right half is transparent: the part to be edited, as at OpenAI."""
    image = Image.new("RGBA", size, (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (size[0] // 2, 0, *size))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def photograph(megabytes: float) -> bytes:
    """A PNG of noise of about that size: as hard to compress as a photograph."""
    side = int((megabytes * 1024 * 1024 / 3) ** 0.5)
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), random.Random(7).randbytes(side * side * 3)).save(out, "PNG", compress_level=1)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    """Decoded, as RGB."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image.convert("RGB")


def is_gray(data: bytes) -> bool:
    """Whether every pixel has three equal channels."""
    red, green, blue = opened(data).split()
    return red.tobytes() == green.tobytes() == blue.tobytes()
