"""Draws what a prompt names with plain vector shapes: captions, hats and suns to put on a picture, and whole scenes."""

import colorsys
import hashlib
import itertools
import math
import random
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]
Point = tuple[float, float]

COLOURS: dict[str, Colour] = {
    "red": (214, 40, 48), "orange": (245, 140, 32), "yellow": (250, 212, 52), "green": (46, 160, 72),
    "blue": (38, 92, 220), "purple": (132, 60, 182), "violet": (132, 60, 182), "pink": (245, 128, 176),
    "brown": (124, 78, 44), "black": (22, 22, 26), "white": (255, 255, 255), "gray": (128, 128, 128),
    "grey": (128, 128, 128), "gold": (226, 178, 50), "golden": (226, 178, 50), "silver": (192, 198, 206),
    "cyan": (40, 200, 220), "turquoise": (52, 204, 190), "teal": (20, 134, 136), "magenta": (212, 40, 166),
    "navy": (20, 34, 92), "maroon": (120, 20, 36), "beige": (228, 212, 176), "lime": (150, 214, 40),
    "indigo": (68, 40, 150), "crimson": (190, 16, 56), "amber": (250, 184, 20), "lavender": (186, 160, 226),
}  # fmt: skip
COLOUR_WORD = "|".join(sorted(COLOURS, key=len, reverse=True))

_INK: Colour = (24, 22, 32)
_WHITE: Colour = (255, 255, 255)
_FINEST = 2048  # shapes are drawn at four times their size while that stays within this many pixels
_CAPTION_CHARACTERS = 700


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """The colour that lies `share` of the way from `one` to `other`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _dark(colour: Colour, share: float = 0.35) -> Colour:
    return mix(colour, _INK, share)


def _light(colour: Colour, share: float = 0.35) -> Colour:
    return mix(colour, _WHITE, share)


class Canvas:
    """A clear layer addressed in fractions of its size, drawn larger and scaled down: Pillow's own edges are jagged."""

    def __init__(self, width: int, height: int, finest: int = _FINEST, part_of: "Canvas | None" = None) -> None:
        self.size = (width, height)
        if part_of is None:
            factor = min(4.0, finest / max(width, height))
            area = (max(1, round(width * factor)), max(1, round(height * factor)))
            self.layer = Image.new("RGBA", area)
            self.draw = ImageDraw.Draw(self.layer)
        else:
            area, self.layer, self.draw = self.size, part_of.layer, part_of.draw
        self.left, self.top = 0.0, 0.0
        self.width, self.height = area
        self.wide = width / min(width, height)  # the width, in short sides
        self.tall = height / min(width, height)

    def square(self, x: float, y: float, side: float) -> "Canvas":
        """A square part of this canvas around a point; `side` is a share of the short side."""
        length = max(1, round(side * min(self.width, self.height)))
        part = Canvas(length, length, part_of=self)
        part.left = self.left + x * self.width - length / 2
        part.top = self.top + y * self.height - length / 2
        return part

    def _at(self, points: Iterable[Point]) -> list[Point]:
        return [(self.left + x * self.width, self.top + y * self.height) for x, y in points]

    def _thick(self, width: float) -> int:
        return max(1, round(width * min(self.width, self.height)))

    def polygon(self, points: Iterable[Point], fill: Colour) -> None:
        self.draw.polygon(self._at(points), fill=fill)

    def oval(self, left: float, top: float, right: float, bottom: float, fill: Colour, alpha: int = 255) -> None:
        self.draw.ellipse(self._at([(left, top), (right, bottom)]), fill=(*fill, alpha))

    def disc(self, x: float, y: float, radius: float, fill: Colour, alpha: int = 255) -> None:
        """A true circle on a canvas of any shape: the radius is a share of the short side."""
        across, down = radius / self.wide, radius / self.tall
        self.oval(x - across, y - down, x + across, y + down, fill, alpha)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        self.draw.rectangle(self._at([(left, top), (right, bottom)]), fill=fill)

    def line(self, points: Iterable[Point], width: float, fill: Colour, alpha: int = 255) -> None:
        self.draw.line(self._at(points), fill=(*fill, alpha), width=self._thick(width), joint="curve")

    def arc(self, box: tuple[float, float, float, float], start: float, end: float, width: float, fill: Colour) -> None:
        self.draw.arc(self._at([box[:2], box[2:]]), start, end, fill=fill, width=self._thick(width))

    def gradient(self, top: Colour, bottom: Colour, begin: float, end: float) -> None:
        first, last = round(begin * self.height), round(end * self.height)
        area = (self.width, max(1, last - first))
        blend = Image.linear_gradient("L").resize(area, Image.Resampling.BICUBIC)
        shaded = Image.composite(Image.new("RGB", area, bottom), Image.new("RGB", area, top), blend)
        self.layer.paste(shaded, (0, first))

    def glow(self, x: float, y: float, radius: float, fill: Colour, strength: float) -> None:
        """A soft light around a point, added to what is there."""
        side = max(2, self._thick(2 * radius))
        # Pillow's gradient is 181 where it meets the middle of a side: what lies beyond would show as a square.
        table = [round(max(0, 180 - value) ** 2 / 180**2 * 255 * strength) for value in range(256)]
        light = Image.new("RGBA", (side, side), fill)
        light.putalpha(Image.radial_gradient("L").resize((side, side), Image.Resampling.BICUBIC).point(table))
        overlay(self.layer, light, (round(x * self.width - side / 2), round(y * self.height - side / 2)))

    def finish(self) -> Image.Image:
        return self.layer.resize(self.size, Image.Resampling.LANCZOS)


def overlay(image: Image.Image, top: Image.Image, corner: tuple[int, int]) -> None:
    """Lay `top` over `image` in place; unlike Pillow's own, `top` may stick out on any side."""
    left, upper = max(0, -corner[0]), max(0, -corner[1])
    part = top.crop((left, upper, min(top.width, image.width - corner[0]), min(top.height, image.height - corner[1])))
    if part.width > 0 and part.height > 0:
        image.alpha_composite(part, (corner[0] + left, corner[1] + upper))


# ---- text ----------------------------------------------------------------------------------------------------------

# Pillow's built-in font has hardly more than ASCII; these letters do not decompose into its glyphs.
_SPELLINGS = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "œ": "oe", "Œ": "OE", "ł": "l", "Ł": "L",
     "đ": "d", "Đ": "D", "ð": "d", "þ": "th", "\u0131": "i", "€": "EUR", "\u00d7": "x", "\u2013": "-", "\u2014": "-"}
)  # fmt: skip


def legible(text: str) -> str:
    """The text as the built-in font can show it best: accents off, no control characters, a bounded length."""
    kept = text if len(text) <= _CAPTION_CHARACTERS else text[: _CAPTION_CHARACTERS - 3] + "..."
    kept = unicodedata.normalize("NFKD", kept.translate(_SPELLINGS))
    kept = "".join(character for character in kept if not unicodedata.combining(character))
    kept = "".join(character if character.isprintable() or character == "\n" else " " for character in kept)
    return "\n".join(filter(None, (" ".join(line.split()) for line in kept.split("\n"))))


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            if font.getlength(f"{line} {word}".strip()) <= width:
                line = f"{line} {word}".strip()
                continue
            lines += [line] if line else []
            line = word
            while font.getlength(line) > width and len(line) > 1:  # a word longer than a line is cut
                fits = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or font.getlength(line[:n]) <= width)
                lines.append(line[:fits])
                line = line[fits:]
        lines += [line] if line else []
    return lines


@dataclass(frozen=True)
class _Block:
    """Lines of text, the font in which they fit, and how far apart they stand."""

    lines: list[str]
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    size: int

    @property
    def step(self) -> int:
        return math.ceil(self.size * 1.25)

    @property
    def height(self) -> int:
        return self.step * len(self.lines)

    def draw(self, target: Image.Image, top: float, fill: Colour, stroke: int = 0, centred: bool = False) -> None:
        pen = ImageDraw.Draw(target)
        edge = _INK if sum(fill) > 300 else _WHITE
        left, anchor = (target.width / 2, "mm") if centred else (self.size * 0.7, "lm")
        for number, line in enumerate(self.lines):
            where = (left, top + self.step * (number + 0.5))
            pen.text(where, line, (*fill, 255), self.font, anchor, stroke_width=stroke, stroke_fill=edge)


def _fit(text: str, width: float, height: float, size: float) -> _Block:
    """Set `text` as large as it fits, from `size` down; what does not fit even when small is cut."""
    while True:
        points = max(9, round(size))
        font = ImageFont.load_default(size=points)
        lines = _wrap(text, font, max(1.0, width - 1.4 * points))
        block = _Block(lines, font, points)
        if block.height <= height or points == 9:
            room = max(1, int(height // block.step))
            return block if len(lines) <= room else _Block([*lines[: room - 1], f"{lines[room - 1]} ..."], font, points)
        size *= 0.88


def caption(image: Image.Image, text: str) -> Image.Image:
    """The picture with `text` in white on a dark strip along its bottom."""
    words = legible(text)
    if not words:
        return image
    size = max(14.0, min(image.width / 24, image.height / 14))
    block = _fit(words, image.width, image.height * 0.42, size)
    strip = Image.new("RGBA", (image.width, block.height + round(block.size * 0.8)), (14, 14, 18, 205))
    block.draw(strip, block.size * 0.4, _WHITE)
    result = image.copy()
    overlay(result, strip, (0, image.height - strip.height))
    return result


def lettering(image: Image.Image, text: str, place: float, colour: Colour) -> Image.Image:
    """The picture with large outlined `text` centred across it; `place` is 0 at the top and 1 at the bottom."""
    words = legible(text)
    if not words:
        return image
    block = _fit(words, image.width * 0.94, image.height * 0.4, max(14.0, min(image.width / 7, image.height / 5)))
    margin = image.height * 0.04
    layer = Image.new("RGBA", image.size)
    top = margin + (image.height - 2 * margin - block.height) * place
    block.draw(layer, top, colour, stroke=max(1, block.size // 14), centred=True)
    return Image.alpha_composite(image, layer)


# ---- things to put on a picture ------------------------------------------------------------------------------------


def _turned(points: int, inner: float, outer: float, middle: float = 0.5) -> list[Point]:
    """The corners of a star that stands on two of its points."""
    corners = []
    for number in range(points * 2):
        radius = inner if number % 2 else outer
        angle = math.pi * number / points - math.pi / 2
        corners.append((0.5 + radius * math.cos(angle), middle + radius * math.sin(angle)))
    return corners


def _curve(along: Callable[[float], Point], steps: int = 60) -> list[Point]:
    return [along(number / steps) for number in range(steps + 1)]


def _hat(canvas: Canvas, colour: Colour) -> None:
    band = COLOURS["red"] if sum(colour) < 500 and colour != COLOURS["red"] else _dark(colour, 0.6)
    canvas.oval(0.02, 0.66, 0.98, 0.9, _dark(colour, 0.25))
    canvas.oval(0.04, 0.65, 0.96, 0.85, _light(colour, 0.12))
    canvas.oval(0.27, 0.69, 0.73, 0.83, band)
    canvas.polygon([(0.235, 0.14), (0.765, 0.14), (0.73, 0.76), (0.27, 0.76)], band)
    canvas.oval(0.258, 0.52, 0.742, 0.63, colour)
    canvas.polygon([(0.235, 0.14), (0.765, 0.14), (0.742, 0.575), (0.258, 0.575)], colour)
    canvas.polygon([(0.3, 0.18), (0.38, 0.19), (0.386, 0.6), (0.32, 0.585)], _light(colour, 0.25))
    canvas.oval(0.235, 0.07, 0.765, 0.21, _light(colour, 0.2))


def _crown(canvas: Canvas, colour: Colour) -> None:
    spikes = [(0.06, 0.26), (0.27, 0.5), (0.5, 0.14), (0.73, 0.5), (0.94, 0.26)]
    canvas.polygon([*spikes, (0.86, 0.84), (0.14, 0.84)], colour)
    canvas.oval(0.14, 0.78, 0.86, 0.9, colour)
    canvas.polygon([(0.5, 0.14), (0.73, 0.5), (0.94, 0.26), (0.86, 0.84), (0.5, 0.86)], _dark(colour, 0.12))
    canvas.polygon([(0.125, 0.68), (0.875, 0.68), (0.86, 0.84), (0.14, 0.84)], _dark(colour, 0.3))
    canvas.oval(0.14, 0.78, 0.86, 0.9, _dark(colour, 0.3))
    for x, y, jewel in ((0.06, 0.25, "red"), (0.5, 0.13, "blue"), (0.94, 0.25, "red")):
        canvas.disc(x, y, 0.055, COLOURS[jewel])
        canvas.disc(x - 0.015, y - 0.018, 0.016, _WHITE)
    for x, y, jewel in ((0.27, 0.77, "green"), (0.5, 0.79, "red"), (0.73, 0.77, "green")):
        canvas.disc(x, y, 0.045, COLOURS[jewel])
        canvas.disc(x - 0.012, y - 0.014, 0.013, _WHITE)


def _glasses(canvas: Canvas, colour: Colour, lens: int = 70) -> None:
    glass = (190, 225, 250) if lens < 200 else _INK
    for middle in (0.26, 0.74):
        canvas.oval(middle - 0.2, 0.3, middle + 0.2, 0.7, colour)
        canvas.oval(middle - 0.165, 0.335, middle + 0.165, 0.665, glass, lens)
        canvas.line([(middle - 0.08, 0.48), (middle - 0.01, 0.41)], 0.022, _WHITE, 190)
    canvas.arc((0.42, 0.4, 0.58, 0.6), 190, 350, 0.035, colour)
    for side in (0.0, 1.0):
        canvas.line([(abs(side - 0.01), 0.4), (abs(side - 0.085), 0.46)], 0.04, colour)


def _sunglasses(canvas: Canvas, colour: Colour) -> None:
    _glasses(canvas, colour, lens=235)


def _moustache(canvas: Canvas, colour: Colour) -> None:
    for side in (-0.47, 0.47):
        steps = [number / 40 for number in range(41)]
        upper = [(0.5 + side * t, 0.4 + 0.15 * math.sin(t * 3.4 - 0.4) - 0.13 * t**4) for t in steps]
        lower = [(0.5 + side * t, 0.54 + 0.17 * math.sin(t * 2.7) - 0.3 * t**3) for t in steps]
        canvas.polygon([*upper, *reversed(lower)], colour)


def _sun(canvas: Canvas, colour: Colour) -> None:
    canvas.polygon(_turned(14, 0.33, 0.48), mix(colour, COLOURS["orange"], 0.35))
    canvas.disc(0.5, 0.5, 0.31, colour)
    canvas.disc(0.47, 0.46, 0.22, _light(colour, 0.3))


def _moon(canvas: Canvas, colour: Colour) -> None:
    outer = _curve(lambda t: (0.5 - 0.46 * math.sin(math.pi * t), 0.5 - 0.46 * math.cos(math.pi * t)))
    inner = _curve(lambda t: (0.5 - 0.2 * math.sin(math.pi * t), 0.5 - 0.46 * math.cos(math.pi * t)))
    crescent = [(x + 0.16, y) for x, y in [*outer, *reversed(inner)]]
    canvas.polygon(crescent, colour)
    for x, y, radius in ((0.3, 0.5, 0.05), (0.37, 0.3, 0.035), (0.38, 0.7, 0.04)):
        canvas.disc(x, y, radius, _dark(colour, 0.14))


def _star(canvas: Canvas, colour: Colour) -> None:
    corners = _turned(5, 0.19, 0.48, 0.53)
    canvas.polygon(corners, colour)
    for number in range(0, 10, 2):  # one half of every ray in shade gives it relief
        canvas.polygon([(0.5, 0.53), corners[number], corners[(number + 1) % 10]], _dark(colour, 0.14))


def _heart_outline(scale: float) -> list[Point]:
    def along(t: float) -> Point:
        angle = 2 * math.pi * t
        down = 13 * math.cos(angle) - 5 * math.cos(2 * angle) - 2 * math.cos(3 * angle) - math.cos(4 * angle)
        return 0.5 + scale * 16 * math.sin(angle) ** 3 / 34, 0.46 - scale * down / 34

    return _curve(along, 120)


def _heart(canvas: Canvas, colour: Colour) -> None:
    canvas.polygon(_heart_outline(1.0), colour)
    canvas.oval(0.17, 0.2, 0.34, 0.37, _light(colour, 0.45))


def _cloud(canvas: Canvas, colour: Colour) -> None:
    for shift, tone in ((0.03, _dark(colour, 0.14)), (0.0, colour)):
        for x, y, radius in ((0.22, 0.58, 0.15), (0.42, 0.46, 0.21), (0.63, 0.5, 0.18), (0.8, 0.6, 0.13)):
            canvas.disc(x, y + shift, radius, tone)
        canvas.box(0.22, 0.58, 0.8, 0.7 + shift, tone)


def _flower(canvas: Canvas, colour: Colour) -> None:
    canvas.line([(0.5, 0.4), (0.51, 0.98)], 0.035, COLOURS["green"])
    canvas.polygon([(0.51, 0.85), (0.66, 0.66), (0.8, 0.68), (0.7, 0.8)], COLOURS["green"])
    canvas.polygon([(0.51, 0.92), (0.36, 0.74), (0.22, 0.76), (0.33, 0.88)], _dark(COLOURS["green"], 0.15))
    for number in range(8):
        angle = math.pi * number / 4
        canvas.disc(0.5 + 0.2 * math.cos(angle), 0.33 + 0.2 * math.sin(angle), 0.12, _dark(colour, 0.12 * (number % 2)))
    canvas.disc(0.5, 0.33, 0.12, COLOURS["amber"])


def _tree(canvas: Canvas, colour: Colour) -> None:
    canvas.box(0.46, 0.82, 0.54, 1.0, COLOURS["brown"])
    for top, bottom, half in ((0.46, 0.88, 0.36), (0.24, 0.64, 0.28), (0.03, 0.4, 0.2)):
        canvas.polygon([(0.5, top), (0.5 + half, bottom), (0.5 - half, bottom)], colour)
        canvas.polygon([(0.5, top), (0.5 + half, bottom), (0.5, bottom)], _dark(colour, 0.2))


def _house(canvas: Canvas, colour: Colour) -> None:
    canvas.box(0.7, 0.14, 0.79, 0.4, _dark(COLOURS["maroon"], 0.2))
    canvas.box(0.16, 0.45, 0.84, 1.0, colour)
    canvas.polygon([(0.5, 0.08), (0.96, 0.48), (0.04, 0.48)], COLOURS["maroon"])
    canvas.box(0.43, 0.66, 0.57, 1.0, COLOURS["brown"])
    for left in (0.23, 0.63):
        canvas.box(left, 0.58, left + 0.14, 0.74, (255, 236, 160))
        canvas.line([(left + 0.07, 0.58), (left + 0.07, 0.74)], 0.012, _INK)
        canvas.line([(left, 0.66), (left + 0.14, 0.66)], 0.012, _INK)


def _cat(canvas: Canvas, colour: Colour) -> None:
    canvas.oval(0.24, 0.56, 0.76, 1.5, _dark(colour, 0.12))
    head = canvas.square(0.5, 0.43, 0.77)
    for side in (-1, 1):
        head.polygon([(0.5 + side * 0.31, 0.08), (0.5 + side * 0.06, 0.26), (0.5 + side * 0.33, 0.46)], colour)
        head.polygon([(0.5 + side * 0.28, 0.15), (0.5 + side * 0.13, 0.26), (0.5 + side * 0.29, 0.38)], (244, 170, 178))
    head.oval(0.16, 0.2, 0.84, 0.78, colour)
    for side in (-1, 1):
        eye = 0.5 + side * 0.15
        head.oval(eye - 0.075, 0.36, eye + 0.075, 0.53, (178, 222, 92))
        head.oval(eye - 0.03, 0.37, eye + 0.03, 0.52, _INK)
        head.disc(eye - 0.02, 0.41, 0.014, _WHITE)
        head.oval(0.5 + side * 0.075 - 0.09, 0.56, 0.5 + side * 0.075 + 0.09, 0.7, _light(colour, 0.6))
        for slope in (-0.03, 0.01, 0.05):
            head.line([(0.5 + side * 0.13, 0.62), (0.5 + side * 0.44, 0.6 + slope)], 0.006, _WHITE)
    head.polygon([(0.45, 0.55), (0.55, 0.55), (0.5, 0.61)], (228, 110, 126))
    head.arc((0.44, 0.58, 0.5, 0.66), 10, 150, 0.01, _INK)
    head.arc((0.5, 0.58, 0.56, 0.66), 30, 170, 0.01, _INK)


@dataclass(frozen=True)
class Thing:
    """Something to draw: its usual colour, where its middle goes, and how much of the short side it takes."""

    draw: Callable[[Canvas, Colour], None]
    colour: Colour
    place: Point
    size: float


THINGS: dict[str, Thing] = {
    "hat": Thing(_hat, (52, 48, 60), (0.5, 0.15), 0.4),
    "crown": Thing(_crown, COLOURS["gold"], (0.5, 0.13), 0.34),
    "glasses": Thing(_glasses, (30, 28, 36), (0.5, 0.38), 0.36),
    "sunglasses": Thing(_sunglasses, (20, 18, 26), (0.5, 0.38), 0.36),
    "moustache": Thing(_moustache, (52, 34, 24), (0.5, 0.5), 0.24),
    "sun": Thing(_sun, COLOURS["yellow"], (0.84, 0.16), 0.26),
    "moon": Thing(_moon, (246, 236, 196), (0.84, 0.16), 0.24),
    "star": Thing(_star, COLOURS["yellow"], (0.18, 0.16), 0.22),
    "heart": Thing(_heart, COLOURS["red"], (0.5, 0.5), 0.34),
    "cloud": Thing(_cloud, (246, 248, 252), (0.26, 0.16), 0.34),
    "flower": Thing(_flower, COLOURS["pink"], (0.4, 0.82), 0.32),
    "tree": Thing(_tree, (40, 120, 66), (0.18, 0.74), 0.44),
    "house": Thing(_house, COLOURS["beige"], (0.78, 0.76), 0.4),
    "cat": Thing(_cat, (232, 150, 70), (0.5, 0.5), 1.0),
}


def _sticker(thing: Thing, side: int, colour: Colour | None) -> Image.Image:
    """One thing with a soft dark rim, which lets it stand out from any ground; what shows through casts none."""
    canvas = Canvas(side, side)
    thing.draw(canvas, colour or thing.colour)
    solid = canvas.layer.getchannel("A").point([0] * 128 + [255] * 128)
    rim = solid.filter(ImageFilter.GaussianBlur(canvas.layer.width / 90))
    shade = Image.new("RGBA", canvas.layer.size, (*_INK, 0))
    shade.putalpha(rim.point([min(170, value * 2) for value in range(256)]))
    canvas.layer = Image.alpha_composite(shade, canvas.layer)
    return canvas.finish()


def draw_thing(
    image: Image.Image,
    name: str,
    *,
    colour: Colour | None = None,
    place: Point | None = None,
    size: float = 1.0,
    count: int = 1,
) -> Image.Image:
    """The picture with the named thing on it; several of one kind are fanned out around its place, each smaller."""
    thing = THINGS[name]
    x, y = place or thing.place
    side = thing.size * size * min(image.size) / math.sqrt(count)
    sticker = _sticker(thing, max(4, min(4096, round(side))), colour)
    result = image.copy()
    for number in range(count):
        angle, radius = number * 2.4, 0.78 * side * math.sqrt(number)  # the golden angle never puts two on one spot
        corner_x = _inside(x * image.width + radius * math.cos(angle), side, image.width)
        corner_y = _inside(y * image.height + radius * math.sin(angle), side, image.height)
        overlay(result, sticker, (corner_x, corner_y))
    return result


def _inside(middle: float, side: float, length: int) -> int:
    """The start of something `side` long around `middle`, moved as little as keeps it within `length`."""
    return round(max(0.0, min(middle - side / 2, length - side)))


def snow(image: Image.Image, rng: random.Random) -> Image.Image:
    canvas = Canvas(*image.size)
    for _ in range(260):
        radius = rng.choice((0.003, 0.004, 0.006, 0.009, 0.013))
        canvas.disc(rng.random(), rng.random(), radius, _WHITE, rng.randint(190, 245))
    veil = Image.new("RGBA", image.size, (236, 242, 250, 38))
    return Image.alpha_composite(Image.alpha_composite(image, veil), canvas.finish())


def rain(image: Image.Image, rng: random.Random) -> Image.Image:
    canvas = Canvas(*image.size)
    for _ in range(230):
        x, y, length = rng.uniform(0, 1.1), rng.uniform(-0.1, 1), rng.uniform(0.04, 0.1)
        canvas.line([(x, y), (x - length * 0.25, y + length)], 0.0022, (206, 224, 246), rng.randint(110, 200))
    gloom = Image.new("RGBA", image.size, (30, 40, 62, 70))
    return Image.alpha_composite(Image.alpha_composite(image, gloom), canvas.finish())


def rainbow(image: Image.Image) -> Image.Image:
    canvas = Canvas(*image.size)
    band = 0.024
    for number, name in enumerate(("red", "orange", "yellow", "green", "blue", "indigo", "violet")):
        inset = number * band
        across, down = inset / canvas.wide, inset / canvas.tall
        canvas.arc((0.04 + across, 0.12 + down, 0.96 - across, 1.3 - down), 180, 360, band * 1.15, COLOURS[name])
    arch = canvas.finish()
    arch.putalpha(arch.getchannel("A").point([round(value * 0.68) for value in range(256)]))
    return Image.alpha_composite(image, arch)


# ---- whole scenes --------------------------------------------------------------------------------------------------

_NOUNS = {
    "night": r"nights?|midnight|starry|galax\w+|space|universe|cosm\w+|dark",
    "sunset": r"sunset|sunrise|dusk|dawn|evening|twilight",
    "sun": r"sun|sunny|sunshine",
    "moon": r"moon|moonlight|moonlit",
    "star": r"stars?|starry|galax\w+|space|universe|cosm\w+",
    "cloud": r"clouds?|cloudy|overcast",
    "mountain": r"mountains?|alps|peaks?|volcano|cliffs?|himalaya\w*",
    "sea": r"seas?|oceans?|lakes?|beach|water|rivers?|waves?|coast|island|otters?|boats?|ships?",
    "forest": r"forests?|trees?|woods?|jungle|pines?",
    "desert": r"deserts?|dunes?|sand|sahara",
    "winter": r"winter|snow\w*|ice|icy|arctic|frozen",
    "city": r"city|cities|skyline|towns?|buildings?|skyscrapers?|street",
    "rain": r"rain|rainy|raining|storm\w*",
    "snowfall": r"snowing|snowfall|snowflakes?|snow",
    "rainbow": r"rainbows?",
    "flower": r"flowers?|roses?|tulips?|meadow|garden",
    "house": r"houses?|homes?|cabins?|cottages?|huts?",
    "heart": r"hearts?|love",
    "cat": r"cats?|kittens?|kitty",
}
_NOUN_PATTERNS = {name: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for name, words in _NOUNS.items()}
# Things that are drawn afterwards: a red hat is no reason for a red sky.
_WORN = re.compile(r"(?:hat|crown|glasses|sunglasses|moustache|mustache|border|frame|tint|text|letters)s?", re.IGNORECASE)
_COLOURED = re.compile(rf"\b({COLOUR_WORD})\b(?:[ \t]+([^\W\d_]{{1,30}}))?", re.IGNORECASE)
_SKIES = [
    ((58, 126, 206), (206, 230, 246)), ((34, 98, 168), (250, 222, 190)), ((70, 150, 178), (242, 240, 208)),
    ((92, 96, 188), (252, 196, 190)), ((44, 132, 140), (250, 226, 170)), ((110, 84, 160), (252, 180, 150)),
]  # fmt: skip


@dataclass(frozen=True)
class _Scene:
    """What a prompt asks to see, and the dice that decide the rest."""

    nouns: frozenset[str]
    painted: dict[str, Colour]  # the colour that stands before a noun we draw
    palette: list[Colour]  # the colours left over, which go over everything
    rng: random.Random

    def blend(self, colour: Colour, share: float, which: int = 0) -> Colour:
        return mix(colour, self.palette[which % len(self.palette)], share) if self.palette else colour


def _read(prompt: str, seed: int) -> _Scene:
    dice = random.Random(hashlib.sha256(f"{seed}\n{prompt}".encode("utf-8", "replace")).digest())  # noqa: S311
    text = prompt[:4000]
    nouns = frozenset(name for name, pattern in _NOUN_PATTERNS.items() if pattern.search(text))
    painted: dict[str, Colour] = {}
    palette: list[Colour] = []
    for match in _COLOURED.finditer(text):
        colour = COLOURS[match[1].lower()]
        named = [name for name, pattern in _NOUN_PATTERNS.items() if pattern.fullmatch(match[2] or "")]
        painted |= dict.fromkeys(named, colour)
        palette += [] if named or _WORN.fullmatch(match[2] or "") else [colour]
    return _Scene(nouns, painted, palette, dice)


def scene(prompt: str, size: tuple[int, int], seed: int) -> Image.Image:
    """A landscape of what the prompt names; everything that it leaves open is decided by its hash and the seed."""
    asked = _read(prompt, seed)
    canvas = Canvas(*size)
    horizon = asked.rng.uniform(0.52, 0.62)
    night = "night" in asked.nouns or ("moon" in asked.nouns and "sun" not in asked.nouns)
    ground = _ground(asked, night)
    haze = _sky(canvas, asked, night)
    light = _lights(canvas, asked, night, horizon)
    if "mountain" in asked.nouns or asked.rng.random() < 0.55:
        _mountains(canvas, asked, horizon, haze, night)
    if "city" in asked.nouns:
        _city(canvas, asked, horizon, night)
    _hills(canvas, asked, horizon, ground, haze)
    dry = asked.nouns & {"forest", "desert", "city", "flower", "house"}
    if "sea" in asked.nouns or (not dry and asked.rng.random() < 0.4):
        _water(canvas, asked, horizon, haze, light, night)
    if "forest" in asked.nouns:
        _forest(canvas, asked, horizon, night)
    picture = canvas.finish()
    picture = _subjects(picture, asked)
    return _weather(picture, asked)


def _sky(canvas: Canvas, asked: _Scene, night: bool) -> Colour:
    top, low = asked.rng.choice(_SKIES)
    if "sunset" in asked.nouns:
        top, low = (72, 52, 128), (255, 158, 84)
    if night:
        top, low = (10, 14, 40), (44, 52, 104)
    top, low = asked.blend(top, 0.62 if not night else 0.3), asked.blend(low, 0.4 if not night else 0.25, 1)
    canvas.gradient(top, low, 0.0, 0.72)
    canvas.box(0, 0.719, 1, 1, low)
    return low


def _lights(canvas: Canvas, asked: _Scene, night: bool, horizon: float) -> tuple[float, Colour]:
    """Stars, clouds, and the sun or the moon; returns where it stands and its colour, for the water to mirror."""
    rng = asked.rng
    if night or "star" in asked.nouns:
        for _ in range(210):
            canvas.disc(rng.random(), rng.uniform(0, horizon), rng.choice((0.001, 0.0015, 0.0025)), _WHITE, 255)
    x = rng.uniform(0.2, 0.8)
    y = horizon - 0.13 if "sunset" in asked.nouns else rng.uniform(0.18, 0.26)
    if night:
        colour = asked.painted.get("moon", (246, 240, 214))
        canvas.glow(x, y, 0.3, colour, 0.5)
        canvas.disc(x, y, 0.085, colour)
        for across, down, radius in ((-0.03, -0.02, 0.018), (0.03, 0.025, 0.024), (0.02, -0.04, 0.011)):
            canvas.disc(x + across / canvas.wide, y + down / canvas.tall, radius, _dark(colour, 0.12))
    else:
        colour = asked.painted.get("sun", (255, 196, 96) if "sunset" in asked.nouns else (255, 240, 176))
        radius = 0.105 if "sun" in asked.nouns else 0.075
        canvas.glow(x, y, 0.5, colour, 0.75)
        canvas.disc(x, y, radius, colour)
        canvas.disc(x, y, radius * 0.82, _light(colour, 0.35))
    if not night or "cloud" in asked.nouns:
        _clouds(canvas, asked, 6 if "cloud" in asked.nouns else rng.randint(1, 3), night)
    return x, colour


def _clouds(canvas: Canvas, asked: _Scene, count: int, night: bool) -> None:
    tone = asked.painted.get("cloud", (70, 78, 120) if night else (255, 255, 255))
    for _ in range(count):
        side = round(asked.rng.uniform(0.16, 0.36) * min(canvas.layer.size))
        puff = Canvas(side, side, finest=side)
        _cloud(puff, tone)
        alpha = puff.layer.getchannel("A").filter(ImageFilter.GaussianBlur(side / 60))
        soft = Image.new("RGBA", puff.layer.size, _dark(tone, 0.08))
        overlay(soft, puff.layer, (0, 0))
        soft.putalpha(alpha.point([round(value * 0.72) for value in range(256)]))
        x, y = asked.rng.random() * canvas.layer.width, asked.rng.uniform(0.06, 0.34) * canvas.layer.height
        overlay(canvas.layer, soft, (round(x - side / 2), round(y - side / 2)))


def _ridge(rng: random.Random, base: float, height: float, rough: float) -> list[Point]:
    """A skyline from edge to edge: every stretch is broken in its middle by less than the one before."""
    heights = [rng.uniform(0.2, 0.6), rng.uniform(0.7, 1.0), rng.uniform(0.2, 0.8)]
    reach = 0.42
    while len(heights) < 120:
        between = [(a + b) / 2 + rng.uniform(-reach, reach) * rough for a, b in itertools.pairwise(heights)]
        heights = [value for pair in zip(heights, between, strict=False) for value in pair] + heights[-1:]
        reach *= 0.5
    return [(number / (len(heights) - 1), base - height * max(0.0, value)) for number, value in enumerate(heights)]


def _mountains(canvas: Canvas, asked: _Scene, horizon: float, haze: Colour, night: bool) -> None:
    rock = asked.painted.get("mountain", asked.blend((42, 48, 80) if night else (84, 96, 128), 0.25))
    bare = asked.nouns & {"desert", "sunset"} and "winter" not in asked.nouns
    for height, share in ((0.36, 0.5), (0.24, 0.22)):
        skyline = _ridge(asked.rng, horizon + 0.03, height, 0.9)
        tone = mix(rock, haze, share)
        if not bare and (share == 0.5 or "winter" in asked.nouns):  # all in white, then rock from the snow line down
            canvas.polygon([*skyline, (1, 1), (0, 1)], mix(_WHITE, haze, 0.6 if night else 0.3))
            snow_line = horizon - height * (0.3 if "winter" in asked.nouns else 0.62)
            skyline = [(x, max(y, snow_line + 0.018 * math.sin(x * 90) + 0.01 * math.sin(x * 211))) for x, y in skyline]
        canvas.polygon([*skyline, (1, 1), (0, 1)], tone)


def _ground(asked: _Scene, night: bool) -> Colour:
    hue = asked.rng.uniform(0.2, 0.4)
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.5, 0.5)
    colour: Colour = (round(red * 255), round(green * 255), round(blue * 255))
    if "desert" in asked.nouns:
        colour = asked.painted.get("desert", (226, 172, 104))
    if "winter" in asked.nouns:
        colour = asked.painted.get("winter", (232, 240, 248))
    colour = asked.blend(colour, 0.45, 1)
    return mix(colour, (14, 18, 44), 0.6) if night else colour


def _hills(canvas: Canvas, asked: _Scene, horizon: float, ground: Colour, haze: Colour) -> None:
    for layer, drop in enumerate((0.02, 0.12, 0.25)):
        phase, waves = asked.rng.uniform(0, 6.3), asked.rng.uniform(3, 7)
        swell = 0.035 + 0.01 * layer

        def top(t: float, p: float = phase, w: float = waves, d: float = drop, s: float = swell) -> Point:
            return t, horizon + d - s * (math.sin(p + t * w) + 0.35 * math.sin(2.3 * p + t * w * 2.1))

        tone = mix(_dark(ground, 0.16 * layer), haze, 0.3 - 0.14 * layer)
        canvas.polygon([*_curve(top, 90), (1, 1), (0, 1)], tone)


def _city(canvas: Canvas, asked: _Scene, horizon: float, night: bool) -> None:
    for tone, tallest in (((96, 108, 140), 0.36), ((58, 66, 94), 0.26)):
        left = -0.02
        while left < 1:
            width, height = asked.rng.uniform(0.04, 0.09), asked.rng.uniform(0.3, 1) * tallest
            wall = _dark(asked.blend(asked.painted.get("city", tone), 0.25), 0.45 if night else 0.0)
            canvas.box(left, horizon - height, left + width, 1, wall)
            for row in range(int(height / 0.024)):
                for column in range(int(width / 0.016)):
                    lit = asked.rng.random() < (0.55 if night else 0.3)
                    x, y = left + 0.005 + column * 0.016, horizon - height + 0.01 + row * 0.024
                    canvas.box(x, y, x + 0.008, y + 0.011, (255, 226, 140) if lit else _dark(wall, 0.25))
            left += width + asked.rng.choice((0.0, 0.006, 0.02))


def _water(
    canvas: Canvas, asked: _Scene, horizon: float, haze: Colour, light: tuple[float, Colour], night: bool
) -> None:
    base = asked.painted.get("sea", asked.blend((18, 40, 92) if night else (30, 110, 168), 0.35))
    shore = horizon + 0.08
    canvas.gradient(mix(base, haze, 0.45), _dark(base, 0.35), shore, 1.0)
    rng = asked.rng
    for number in range(150):
        deep = rng.random() ** 1.4
        y, half = shore + deep * (1 - shore), 0.012 + 0.07 * deep
        near = number % 2 == 0  # every other glint lies on the path of light
        x = light[0] + rng.gauss(0, 0.025 + 0.06 * deep) if near else rng.random()
        tone = mix(light[1], base, 0.25) if near else _light(base, 0.25)
        canvas.oval(x - half, y, x + half, y + 0.002 + 0.004 * deep, tone)


def _forest(canvas: Canvas, asked: _Scene, horizon: float, night: bool) -> None:
    leaf = asked.painted.get("forest", asked.blend((34, 98, 62), 0.25))
    rows: Sequence[tuple[float, float, int]] = ((0.1, 0.12, 26), (0.2, 0.19, 17), (0.36, 0.3, 10))
    for depth, (drop, height, count) in enumerate(rows):
        tone = _dark(leaf, 0.55 if night else 0.14 * depth)
        for number in range(count):
            size = height * asked.rng.uniform(0.75, 1.15)
            if depth == 2 and 0.3 < (number + 0.5) / count < 0.7:
                continue  # a clearing keeps the middle of the picture open
            x, foot = (number + asked.rng.uniform(0.1, 0.9)) / count, horizon + drop + asked.rng.uniform(-0.01, 0.02)
            snowy = "winter" in asked.nouns and number % 3 == 0
            tree = canvas.square(x, foot - size * 0.5 / canvas.tall, size)
            _tree(tree, mix(tone, _WHITE, 0.75) if snowy else tone)


def _subjects(picture: Image.Image, asked: _Scene) -> Image.Image:
    if "house" in asked.nouns:
        picture = draw_thing(picture, "house", colour=asked.painted.get("house"), place=(0.72, 0.6), size=0.75)
    if "flower" in asked.nouns:
        colour = asked.painted.get("flower") or asked.rng.choice([COLOURS[name] for name in ("pink", "red", "violet")])
        for x in (0.1, 0.24, 0.4, 0.58, 0.74, 0.9):
            place = (x, asked.rng.uniform(0.66, 0.76))
            picture = draw_thing(picture, "flower", colour=colour, place=place, size=asked.rng.uniform(0.6, 0.9))
    for name in ("heart", "cat"):
        if name in asked.nouns:
            picture = draw_thing(picture, name, colour=asked.painted.get(name))
    return picture


def _weather(picture: Image.Image, asked: _Scene) -> Image.Image:
    if "rainbow" in asked.nouns:
        picture = rainbow(picture)
    if "rain" in asked.nouns:
        picture = rain(picture, asked.rng)
    return snow(picture, asked.rng) if "snowfall" in asked.nouns else picture
