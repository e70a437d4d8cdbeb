"""Draws the things that can be put on a picture, such as a hat, a sun or a cat."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from PIL import Image, ImageFilter

from .canvas import Canvas, Point, curve, overlay
from .colours import COLOURS, INK, WHITE, Colour, darker, lighter, mix


def _turned(points: int, inner: float, outer: float, middle: float = 0.5) -> list[Point]:
    """The corners of a star that stands on two of its points."""
    corners = []
    for number in range(points * 2):
        radius = inner if number % 2 else outer
        angle = math.pi * number / points - math.pi / 2
        corners.append((0.5 + radius * math.cos(angle), middle + radius * math.sin(angle)))
    return corners


def _hat(canvas: Canvas, colour: Colour) -> None:
    band = COLOURS["red"] if sum(colour) < 500 and colour != COLOURS["red"] else darker(colour, 0.6)
    canvas.oval(0.02, 0.66, 0.98, 0.9, darker(colour, 0.25))
    canvas.oval(0.04, 0.65, 0.96, 0.85, lighter(colour, 0.12))
    canvas.oval(0.27, 0.69, 0.73, 0.83, band)
    canvas.polygon([(0.235, 0.14), (0.765, 0.14), (0.73, 0.76), (0.27, 0.76)], band)
    canvas.oval(0.258, 0.52, 0.742, 0.63, colour)
    canvas.polygon([(0.235, 0.14), (0.765, 0.14), (0.742, 0.575), (0.258, 0.575)], colour)
    canvas.polygon([(0.3, 0.18), (0.38, 0.19), (0.386, 0.6), (0.32, 0.585)], lighter(colour, 0.25))
    canvas.oval(0.235, 0.07, 0.765, 0.21, lighter(colour, 0.2))


def _crown(canvas: Canvas, colour: Colour) -> None:
    spikes = [(0.06, 0.26), (0.27, 0.5), (0.5, 0.14), (0.73, 0.5), (0.94, 0.26)]
    canvas.polygon([*spikes, (0.86, 0.84), (0.14, 0.84)], colour)
    canvas.oval(0.14, 0.78, 0.86, 0.9, colour)
    canvas.polygon([(0.5, 0.14), (0.73, 0.5), (0.94, 0.26), (0.86, 0.84), (0.5, 0.86)], darker(colour, 0.12))
    canvas.polygon([(0.125, 0.68), (0.875, 0.68), (0.86, 0.84), (0.14, 0.84)], darker(colour, 0.3))
    canvas.oval(0.14, 0.78, 0.86, 0.9, darker(colour, 0.3))
    for x, y, jewel in ((0.06, 0.25, "red"), (0.5, 0.13, "blue"), (0.94, 0.25, "red")):
        canvas.disc(x, y, 0.055, COLOURS[jewel])
        canvas.disc(x - 0.015, y - 0.018, 0.016, WHITE)
    for x, y, jewel in ((0.27, 0.77, "green"), (0.5, 0.79, "red"), (0.73, 0.77, "green")):
        canvas.disc(x, y, 0.045, COLOURS[jewel])
        canvas.disc(x - 0.012, y - 0.014, 0.013, WHITE)


def _glasses(canvas: Canvas, colour: Colour, lens: int = 70) -> None:
    glass = (190, 225, 250) if lens < 200 else INK
    for middle in (0.26, 0.74):
        canvas.oval(middle - 0.2, 0.3, middle + 0.2, 0.7, colour)
        canvas.oval(middle - 0.165, 0.335, middle + 0.165, 0.665, glass, lens)
        canvas.line([(middle - 0.08, 0.48), (middle - 0.01, 0.41)], 0.022, WHITE, 190)
    canvas.arc((0.42, 0.4, 0.58, 0.6), 190, 350, 0.035, colour)
    for side in (0.0, 1.0):
        canvas.line([(abs(side - 0.01), 0.4), (abs(side - 0.085), 0.46)], 0.04, colour)


def _moustache(canvas: Canvas, colour: Colour) -> None:
    for side in (-0.47, 0.47):
        steps = [number / 40 for number in range(41)]
        upper = [(0.5 + side * t, 0.4 + 0.15 * math.sin(t * 3.4 - 0.4) - 0.13 * t**4) for t in steps]
        lower = [(0.5 + side * t, 0.54 + 0.17 * math.sin(t * 2.7) - 0.3 * t**3) for t in steps]
        canvas.polygon([*upper, *reversed(lower)], colour)


def _sun(canvas: Canvas, colour: Colour) -> None:
    canvas.polygon(_turned(14, 0.33, 0.48), mix(colour, COLOURS["orange"], 0.35))
    canvas.disc(0.5, 0.5, 0.31, colour)
    canvas.disc(0.47, 0.46, 0.22, lighter(colour, 0.3))


def _moon(canvas: Canvas, colour: Colour) -> None:
    outer = curve(lambda t: (0.5 - 0.46 * math.sin(math.pi * t), 0.5 - 0.46 * math.cos(math.pi * t)))
    inner = curve(lambda t: (0.5 - 0.2 * math.sin(math.pi * t), 0.5 - 0.46 * math.cos(math.pi * t)))
    crescent = [(x + 0.16, y) for x, y in [*outer, *reversed(inner)]]
    canvas.polygon(crescent, colour)
    for x, y, radius in ((0.3, 0.5, 0.05), (0.37, 0.3, 0.035), (0.38, 0.7, 0.04)):
        canvas.disc(x, y, radius, darker(colour, 0.14))


def _star(canvas: Canvas, colour: Colour) -> None:
    corners = _turned(5, 0.19, 0.48, 0.53)
    canvas.polygon(corners, colour)
    for number in range(0, 10, 2):  # one half of every ray in shade gives it relief
        canvas.polygon([(0.5, 0.53), corners[number], corners[(number + 1) % 10]], darker(colour, 0.14))


def _heart(canvas: Canvas, colour: Colour) -> None:
    def outline(t: float) -> Point:
        angle = 2 * math.pi * t
        down = 13 * math.cos(angle) - 5 * math.cos(2 * angle) - 2 * math.cos(3 * angle) - math.cos(4 * angle)
        return 0.5 + 16 * math.sin(angle) ** 3 / 34, 0.46 - down / 34

    canvas.polygon(curve(outline, 120), colour)
    canvas.oval(0.17, 0.2, 0.34, 0.37, lighter(colour, 0.45))


def _cloud(canvas: Canvas, colour: Colour) -> None:
    for shift, tone in ((0.03, darker(colour, 0.14)), (0.0, colour)):
        for x, y, radius in ((0.22, 0.58, 0.15), (0.42, 0.46, 0.21), (0.63, 0.5, 0.18), (0.8, 0.6, 0.13)):
            canvas.disc(x, y + shift, radius, tone)
        canvas.box(0.22, 0.58, 0.8, 0.7 + shift, tone)


def _flower(canvas: Canvas, colour: Colour) -> None:
    canvas.line([(0.5, 0.4), (0.51, 0.98)], 0.035, COLOURS["green"])
    canvas.polygon([(0.51, 0.85), (0.66, 0.66), (0.8, 0.68), (0.7, 0.8)], COLOURS["green"])
    canvas.polygon([(0.51, 0.92), (0.36, 0.74), (0.22, 0.76), (0.33, 0.88)], darker(COLOURS["green"], 0.15))
    for number in range(8):
        angle = math.pi * number / 4
        canvas.disc(0.5 + 0.2 * math.cos(angle), 0.33 + 0.2 * math.sin(angle), 0.12, darker(colour, 0.12 * (number % 2)))
    canvas.disc(0.5, 0.33, 0.12, COLOURS["amber"])


def _tree(canvas: Canvas, colour: Colour) -> None:
    canvas.box(0.46, 0.82, 0.54, 1.0, COLOURS["brown"])
    for top, bottom, half in ((0.46, 0.88, 0.36), (0.24, 0.64, 0.28), (0.03, 0.4, 0.2)):
        canvas.polygon([(0.5, top), (0.5 + half, bottom), (0.5 - half, bottom)], colour)
        canvas.polygon([(0.5, top), (0.5 + half, bottom), (0.5, bottom)], darker(colour, 0.2))


def _house(canvas: Canvas, colour: Colour) -> None:
    canvas.box(0.7, 0.14, 0.79, 0.4, darker(COLOURS["maroon"], 0.2))
    canvas.box(0.16, 0.45, 0.84, 1.0, colour)
    canvas.polygon([(0.5, 0.08), (0.96, 0.48), (0.04, 0.48)], COLOURS["maroon"])
    canvas.box(0.43, 0.66, 0.57, 1.0, COLOURS["brown"])
    for left in (0.23, 0.63):
        canvas.box(left, 0.58, left + 0.14, 0.74, (255, 236, 160))
        canvas.line([(left + 0.07, 0.58), (left + 0.07, 0.74)], 0.012, INK)
        canvas.line([(left, 0.66), (left + 0.14, 0.66)], 0.012, INK)


def _cat(canvas: Canvas, colour: Colour) -> None:
    canvas.oval(0.24, 0.56, 0.76, 1.5, darker(colour, 0.12))
    head = canvas.square(0.5, 0.43, 0.77)
    for side in (-1, 1):
        head.polygon([(0.5 + side * 0.31, 0.08), (0.5 + side * 0.06, 0.26), (0.5 + side * 0.33, 0.46)], colour)
        head.polygon([(0.5 + side * 0.28, 0.15), (0.5 + side * 0.13, 0.26), (0.5 + side * 0.29, 0.38)], (244, 170, 178))
    head.oval(0.16, 0.2, 0.84, 0.78, colour)
    for side in (-1, 1):
        eye = 0.5 + side * 0.15
        head.oval(eye - 0.075, 0.36, eye + 0.075, 0.53, (178, 222, 92))
        head.oval(eye - 0.03, 0.37, eye + 0.03, 0.52, INK)
        head.disc(eye - 0.02, 0.41, 0.014, WHITE)
        head.oval(0.5 + side * 0.075 - 0.09, 0.56, 0.5 + side * 0.075 + 0.09, 0.7, lighter(colour, 0.6))
        for slope in (-0.03, 0.01, 0.05):
            head.line([(0.5 + side * 0.13, 0.62), (0.5 + side * 0.44, 0.6 + slope)], 0.006, WHITE)
    head.polygon([(0.45, 0.55), (0.55, 0.55), (0.5, 0.61)], (228, 110, 126))
    head.arc((0.44, 0.58, 0.5, 0.66), 10, 150, 0.01, INK)
    head.arc((0.5, 0.58, 0.56, 0.66), 30, 170, 0.01, INK)


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
    "sunglasses": Thing(partial(_glasses, lens=235), (20, 18, 26), (0.5, 0.38), 0.36),
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
    drawn = canvas.finish()
    solid = drawn.getchannel("A").point([0] * 128 + [255] * 128)
    rim = solid.filter(ImageFilter.GaussianBlur(side / 90))
    shade = Image.new("RGBA", drawn.size, INK)
    shade.putalpha(rim.point([min(170, value * 2) for value in range(256)]))
    return Image.alpha_composite(shade, drawn)


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
