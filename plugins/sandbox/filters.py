"""Operations that change the colours and the sharpness of a picture."""

import math
from collections.abc import Callable

from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

from .colours import BLACK, COLOURS, WHITE, Colour, colour_of, mix
from .request import Request


def _recoloured(image: Image.Image, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Change the colours and keep the alpha channel."""
    result = change(image.convert("RGB")).convert("RGBA")
    result.putalpha(image.getchannel("A"))
    return result


def grayscale(image: Image.Image, request: Request) -> Image.Image:
    return _recoloured(image, ImageOps.grayscale)


def _toned(image: Image.Image, dark: Colour, middle: Colour, light: Colour, share: float = 1.0) -> Image.Image:
    def change(picture: Image.Image) -> Image.Image:
        toned = ImageOps.colorize(ImageOps.grayscale(picture), dark, light, middle)
        return Image.blend(picture, toned, share)

    return _recoloured(image, change)


def sepia(image: Image.Image, request: Request) -> Image.Image:
    return _toned(image, (34, 20, 10), (156, 116, 74), (255, 242, 212))


def _tinted(image: Image.Image, colour: Colour, strength: float) -> Image.Image:
    share = {0.5: 0.35, 1.0: 0.65}.get(strength, 0.9)
    return _toned(image, mix(colour, BLACK, 0.85), colour, mix(colour, WHITE, 0.8), share)


def tint(image: Image.Image, request: Request) -> Image.Image:
    colour = colour_of(request.match)
    if len(set(colour)) == 1 and colour != WHITE:
        return grayscale(image, request)
    return _tinted(image, colour, request.strength)


def warmth(image: Image.Image, request: Request, colour: str) -> Image.Image:
    return _tinted(image, COLOURS[colour], 0.5)


def invert(image: Image.Image, request: Request) -> Image.Image:
    return _recoloured(image, ImageOps.invert)


def posterize(image: Image.Image, request: Request) -> Image.Image:
    levels = request.number("levels?|colou?rs?|shades?") or {0.5: 16, 1.0: 6}.get(request.strength, 4)
    bits = max(1, min(8, math.ceil(math.log2(max(2.0, levels)))))
    return _recoloured(image, lambda picture: ImageOps.posterize(picture, bits))


_ENHANCERS = {
    "brightness": (ImageEnhance.Brightness, 0.35),
    "contrast": (ImageEnhance.Contrast, 0.5),
    "colour": (ImageEnhance.Color, 0.7),
}


def enhance(image: Image.Image, request: Request, kind: str, up: bool = True) -> Image.Image:
    """Brightness, contrast or saturation: by the percentage that is given, or as much as the words say."""
    tool, usual = _ENHANCERS[kind]
    if request.percent is None:
        amount, most = usual * request.strength, 0.9
    else:
        amount, most = request.percent, 1.0
    factor = 1 + amount if up != request.less else 1 - min(amount, most)
    return _recoloured(image, lambda picture: tool(picture).enhance(min(factor, 10.0)))


def blur(image: Image.Image, request: Request) -> Image.Image:
    radius = request.number("px|pixels?") or request.number("") or min(image.size) * 0.02 * request.strength
    return image.filter(ImageFilter.GaussianBlur(min(radius, min(image.size) / 2)))


def sharpen(image: Image.Image, request: Request) -> Image.Image:
    sharper = ImageFilter.UnsharpMask(max(1.0, min(image.size) / 500), round(160 * request.strength), 1)
    return _recoloured(image, lambda picture: picture.filter(sharper))


def pixelate(image: Image.Image, request: Request) -> Image.Image:
    block = request.number("px|pixels?") or max(2.0, min(image.size) / 40 * request.strength)
    few = (max(1, round(image.width / block)), max(1, round(image.height / block)))
    return image.resize(few, Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)


def emboss(image: Image.Image, request: Request) -> Image.Image:
    """The picture less itself, moved aside by as much as its size makes visible."""
    step = max(1, min(image.size) // 350)

    def change(picture: Image.Image) -> Image.Image:
        gray = ImageOps.grayscale(picture)
        result = ImageChops.subtract(gray, ImageChops.offset(gray, step), 0.5, 128)
        for strip in ((0, 0, image.width, step), (0, 0, step, image.height)):  # what came around from the other side
            result.paste(128, strip)
        return result

    return _recoloured(image, change)


def _contours(picture: Image.Image, gain: float) -> Image.Image:
    """Light where the picture is darker than what surrounds it; unlike a 3x3 kernel it scales with the picture."""
    gray = ImageOps.grayscale(picture)
    wide = gray.filter(ImageFilter.GaussianBlur(max(1.0, min(picture.size) / 220)))
    difference = ImageChops.difference(wide, gray)
    return difference.point([min(255, round(value * gain)) for value in range(256)])


def sketch(image: Image.Image, request: Request) -> Image.Image:
    def change(picture: Image.Image) -> Image.Image:
        paper = ImageOps.grayscale(picture).point([200 + round(value * 55 / 255) for value in range(256)])
        return ImageChops.multiply(paper, ImageOps.invert(_contours(picture, 6 * request.strength)))

    return _recoloured(image, change)


def edges(image: Image.Image, request: Request) -> Image.Image:
    return _recoloured(image, lambda picture: _contours(picture, 9 * request.strength))


def vignette(image: Image.Image, request: Request) -> Image.Image:
    depth = {0.5: 0.5, 1.0: 0.8}.get(request.strength, 1.0)
    table = [round(min(1.0, max(0.0, (value - 90) / 130)) ** 1.5 * depth * 255) for value in range(256)]
    shade = Image.radial_gradient("L").resize(image.size, Image.Resampling.BICUBIC).point(table)
    colour = request.colour or BLACK
    return _recoloured(image, lambda picture: Image.composite(Image.new("RGB", image.size, colour), picture, shade))
