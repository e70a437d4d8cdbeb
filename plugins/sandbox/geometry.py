"""Operations that turn, cut and scale a picture."""

import math

from PIL import Image, ImageChops, ImageOps

from .canvas import Canvas
from .files import MAX_SIDE, scaled
from .request import Request


def mirror(image: Image.Image, request: Request) -> Image.Image:
    return ImageOps.mirror(image)


def flip(image: Image.Image, request: Request) -> Image.Image:
    return ImageOps.flip(image)


def rotate(image: Image.Image, request: Request) -> Image.Image:
    half = 180.0 if request.says(r"\b(?:half|around|upside)\b") else None
    angle = request.number("degrees?|deg") or request.number("") or half or (10.0 if request.strength == 0.5 else 90.0)
    if not request.says(r"\bleft\b|\b(?:counter|anti)[- ]?clockwise\b"):  # Pillow turns against the clock
        angle = -angle
    if request.says(r"(?<!\w)-[0-9]"):
        angle = -angle
    turns = {0.0: None, 90.0: Image.Transpose.ROTATE_90, 180.0: Image.Transpose.ROTATE_180, 270.0: Image.Transpose.ROTATE_270}
    if angle % 360 in turns:
        turn = turns[angle % 360]
        return image if turn is None else image.transpose(turn)
    turned = max(image.size) * (abs(math.sin(math.radians(angle))) + abs(math.cos(math.radians(angle))))
    shrink = min(1.0, MAX_SIDE / turned)  # before turning, which costs the most
    return scaled(image, image.width * shrink, image.height * shrink).rotate(angle, Image.Resampling.BICUBIC, expand=True)


_BY = r"([0-9]{1,5})[ \t]*(?:px|pixels?)?[ \t]*(?:x|by|\*)[ \t]*([0-9]{1,5})"


def crop(image: Image.Image, request: Request) -> Image.Image:
    width, height = map(float, image.size)
    shape, ratio = request.says(_BY), request.says(r"([1-9][0-9]?)[ \t]*:[ \t]*([1-9][0-9]?)")
    part = request.says(r"\b(?:half|third|quarter)\b")
    if shape:
        width, height = min(width, max(1.0, float(shape[1]))), min(height, max(1.0, float(shape[2])))
    elif ratio:
        width, height = _within(width, height, int(ratio[1]) / int(ratio[2]))
    elif part:
        parts = 3 if part[0].lower() == "third" else 2
        corner, beside = request.says(r"\bquarter\b"), request.says(r"\b(?:left|right)\b")
        width = width / parts if corner or beside else width
        height = height / parts if corner or not beside else height
    elif request.says(r"\bsquare\b"):
        width, height = _within(width, height, 1.0)
    else:
        share = 0.75 if request.percent is None else min(1.0, request.percent)
        if request.percent is not None and request.says(r"\bby\b"):
            share = 1 - share
        width, height = width * share, height * share
    across, down = (0.5 if side is None else side for side in request.sides)
    area = (max(1, round(width)), max(1, round(height)))
    left, top = round((image.width - area[0]) * across), round((image.height - area[1]) * down)
    return image.crop((left, top, left + area[0], top + area[1]))


def _within(width: float, height: float, ratio: float) -> tuple[float, float]:
    """The largest area of that shape which fits."""
    return min(width, height * ratio), min(height, width / ratio)


def resize(image: Image.Image, request: Request) -> Image.Image:
    smaller = request.says(r"\b(?:shrink\w*|smaller|downscal\w*|reduc\w*|down)\b")
    larger = request.says(r"\b(?:enlarg\w*|bigger|larger|upscal\w*|up)\b")
    shape = request.says(_BY)
    if shape:
        return scaled(image, float(shape[1]), float(shape[2]))
    wide = request.says(r"([0-9]{2,5})[ \t]*(?:px|pixels?)?[ \t]*(?:in )?(?:wide|width)|width[a-z \t]*?([0-9]{2,5})")
    high = request.says(r"([0-9]{2,5})[ \t]*(?:px|pixels?)?[ \t]*(?:in )?(?:high|tall|height)|height[a-z \t]*?([0-9]{2,5})")
    side = request.number("px|pixels?") or (128.0 if request.says(r"\b(?:thumbnail|icon)\b") else None)
    times = request.number(r"x\b|times")
    if wide:
        factor = float(wide[1] or wide[2]) / image.width
    elif high:
        factor = float(high[1] or high[2]) / image.height
    elif request.percent is not None:
        by = request.says(r"\b(?:by|smaller|bigger|larger)\b")
        factor = 1 - request.percent if by and smaller else 1 + request.percent if by and larger else request.percent
    elif times:
        factor = 1 / times if smaller else times
    elif side:
        factor = side / max(image.size)
    elif request.says(r"\b(?:double|twice|triple)\b") or larger:
        factor = 3.0 if request.says(r"\btriple\b") else 2.0
    else:
        factor = 0.5
    return scaled(image, image.width * factor, image.height * factor)


def rounded(image: Image.Image, request: Request) -> Image.Image:
    radius = request.number("px|pixels?") or min(image.size) * 0.12 * request.strength
    return _cut_out(image, min(radius, min(image.size) / 2))


def circle(image: Image.Image, request: Request) -> Image.Image:
    side = min(image.size)
    return _cut_out(ImageOps.fit(image, (side, side)), side / 2)


def _cut_out(image: Image.Image, radius: float) -> Image.Image:
    canvas = Canvas(*image.size)
    scale = canvas.width / image.width
    canvas.draw.rounded_rectangle((0, 0, canvas.width - 1, canvas.height - 1), radius * scale, (0, 0, 0, 255))
    result = image.copy()
    result.putalpha(ImageChops.multiply(canvas.finish().getchannel("A"), image.getchannel("A")))
    return result
