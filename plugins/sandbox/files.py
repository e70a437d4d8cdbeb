"""Reads and writes encoded pictures, and keeps pictures within the bounds of what is worked on."""

import io
from collections.abc import Callable

from PIL import Image, ImageOps

from .colours import WHITE

_MAX_PIXELS = 64_000_000  # what a reference may declare
MAX_SIDE = 4096  # what is worked on
_READS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def decode(data: bytes) -> Image.Image:
    """The first frame, upright, as RGBA, without the file's metadata."""
    try:
        with Image.open(io.BytesIO(data), formats=_READS) as opened:
            width, height = opened.size
            if width * height <= _MAX_PIXELS:
                if opened.format == "PNG" and b"IEND\xaeB`\x82" not in data:  # Pillow does not miss the last chunk
                    raise OSError("cut")
                return _rgba(opened)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError("declares more than 64 megapixels") from error
    except Exception as error:  # a damaged file makes Pillow's readers fail in every way there is
        raise ValueError("cannot be read: it is damaged, cut short, or no image in a known format") from error
    raise ValueError(f"declares {width}x{height} pixels, more than 64 megapixels")


def _rgba(opened: Image.Image) -> Image.Image:
    ImageOps.exif_transpose(opened, in_place=True)
    if opened.mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip instead of scale
        opened = opened.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    clean = opened.convert("RGBA")
    clean.info = {}
    return clean


def free_area(mask: bytes, size: tuple[int, int]) -> Image.Image:
    """White where the mask is fully transparent."""
    try:
        decoded = decode(mask)
    except ValueError as error:
        raise ValueError(f"the mask {error}") from error
    if decoded.size != size:
        sizes = f"{decoded.width}x{decoded.height} and the first image {size[0]}x{size[1]}"
        raise ValueError(f"the mask must have the dimensions of the first image: the mask is {sizes}")
    with Image.open(io.BytesIO(mask), formats=_READS) as opened:
        if not opened.has_transparency_data:
            raise ValueError("the mask has no alpha channel: its transparent pixels say what may change")
    return decoded.getchannel("A").point([255] + [0] * 255)


def _saved(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _without_idle_alpha(image: Image.Image) -> Image.Image:
    return image.convert("RGB") if image.getchannel("A").getextrema() == (255, 255) else image


def _on_white(image: Image.Image) -> Image.Image:
    ground = Image.new("RGBA", image.size, WHITE)
    return Image.alpha_composite(ground, image).convert("RGB")


ENCODERS: dict[str, Callable[[Image.Image], bytes]] = {
    "png": lambda image: _saved(_without_idle_alpha(image), "PNG"),
    "jpeg": lambda image: _saved(_on_white(image), "JPEG", quality=92),
    "webp": lambda image: _saved(_without_idle_alpha(image), "WEBP", quality=90),
}


def shrunk(image: Image.Image, among: int = 1) -> Image.Image:
    """The picture within the bounds of what we work on; many at once get less each."""
    limit = MAX_SIDE if among <= 4 else MAX_SIDE // 2
    if max(image.size) > limit:
        image.thumbnail((limit, limit), Image.Resampling.LANCZOS)
    return image


def fitted(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    """The picture scaled until it covers that size, less what sticks out."""
    return image if size is None or image.size == size else ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def scaled(image: Image.Image, width: float, height: float) -> Image.Image:
    """The picture stretched to that size, or to one of the same shape that is within bounds."""
    shrink = min(1.0, MAX_SIDE / max(width, height, 1.0))
    area = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return image if area == image.size else image.resize(area, Image.Resampling.LANCZOS)
