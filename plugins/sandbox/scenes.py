"""Draws a whole landscape from nothing but a prompt."""

import colorsys
import hashlib
import itertools
import math
import random
import re
from dataclasses import dataclass

from PIL import Image, ImageFilter

from .canvas import Canvas, Point, curve, overlay
from .colours import COLOUR_WORD, COLOURS, WHITE, Colour, darker, lighter, mix
from .things import THINGS, draw_thing
from .weather import rain, rainbow, snow

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
    return _weather(_subjects(canvas.finish(), asked), asked)


def _sky(canvas: Canvas, asked: _Scene, night: bool) -> Colour:
    top, low = asked.rng.choice(_SKIES)
    if "sunset" in asked.nouns:
        top, low = (72, 52, 128), (255, 158, 84)
    if night:
        top, low = (10, 14, 40), (44, 52, 104)
    top, low = asked.blend(top, 0.3 if night else 0.62), asked.blend(low, 0.25 if night else 0.4, 1)
    canvas.gradient(top, low, 0.0, 0.72)
    canvas.box(0, 0.719, 1, 1, low)
    return low


def _lights(canvas: Canvas, asked: _Scene, night: bool, horizon: float) -> tuple[float, Colour]:
    """Stars, clouds, and the sun or the moon; returns where it stands and its colour, for the water to mirror."""
    rng = asked.rng
    if night or "star" in asked.nouns:
        for _ in range(210):
            canvas.disc(rng.random(), rng.uniform(0, horizon), rng.choice((0.001, 0.0015, 0.0025)), WHITE)
    x = rng.uniform(0.2, 0.8)
    y = horizon - 0.13 if "sunset" in asked.nouns else rng.uniform(0.18, 0.26)
    if night:
        colour = asked.painted.get("moon", (246, 240, 214))
        canvas.glow(x, y, 0.3, colour, 0.5)
        canvas.disc(x, y, 0.085, colour)
        for across, down, radius in ((-0.03, -0.02, 0.018), (0.03, 0.025, 0.024), (0.02, -0.04, 0.011)):
            canvas.disc(x + across / canvas.wide, y + down / canvas.tall, radius, darker(colour, 0.12))
    else:
        colour = asked.painted.get("sun", (255, 196, 96) if "sunset" in asked.nouns else (255, 240, 176))
        radius = 0.105 if "sun" in asked.nouns else 0.075
        canvas.glow(x, y, 0.5, colour, 0.75)
        canvas.disc(x, y, radius, colour)
        canvas.disc(x, y, radius * 0.82, lighter(colour, 0.35))
    if not night or "cloud" in asked.nouns:
        _clouds(canvas, asked, 6 if "cloud" in asked.nouns else rng.randint(1, 3), night)
    return x, colour


def _clouds(canvas: Canvas, asked: _Scene, count: int, night: bool) -> None:
    tone = asked.painted.get("cloud", (70, 78, 120) if night else WHITE)
    for _ in range(count):
        side = round(asked.rng.uniform(0.16, 0.36) * min(canvas.layer.size))
        puff = Canvas(side, side, finest=side)
        THINGS["cloud"].draw(puff, tone)
        alpha = puff.layer.getchannel("A").filter(ImageFilter.GaussianBlur(side / 60))
        soft = Image.new("RGBA", puff.layer.size, darker(tone, 0.08))
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
            canvas.polygon([*skyline, (1, 1), (0, 1)], mix(WHITE, haze, 0.6 if night else 0.3))
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

        tone = mix(darker(ground, 0.16 * layer), haze, 0.3 - 0.14 * layer)
        canvas.polygon([*curve(top, 90), (1, 1), (0, 1)], tone)


def _city(canvas: Canvas, asked: _Scene, horizon: float, night: bool) -> None:
    for tone, tallest in (((96, 108, 140), 0.36), ((58, 66, 94), 0.26)):
        left = -0.02
        while left < 1:
            width, height = asked.rng.uniform(0.04, 0.09), asked.rng.uniform(0.3, 1) * tallest
            wall = darker(asked.blend(asked.painted.get("city", tone), 0.25), 0.45 if night else 0.0)
            canvas.box(left, horizon - height, left + width, 1, wall)
            for row in range(int(height / 0.024)):
                for column in range(int(width / 0.016)):
                    lit = asked.rng.random() < (0.55 if night else 0.3)
                    x, y = left + 0.005 + column * 0.016, horizon - height + 0.01 + row * 0.024
                    canvas.box(x, y, x + 0.008, y + 0.011, (255, 226, 140) if lit else darker(wall, 0.25))
            left += width + asked.rng.choice((0.0, 0.006, 0.02))


def _water(canvas: Canvas, asked: _Scene, horizon: float, haze: Colour, light: tuple[float, Colour], night: bool) -> None:
    base = asked.painted.get("sea", asked.blend((18, 40, 92) if night else (30, 110, 168), 0.35))
    shore = horizon + 0.08
    canvas.gradient(mix(base, haze, 0.45), darker(base, 0.35), shore, 1.0)
    rng = asked.rng
    for number in range(150):
        deep = rng.random() ** 1.4
        y, half = shore + deep * (1 - shore), 0.012 + 0.07 * deep
        near = number % 2 == 0  # every other glint lies on the path of light
        x = light[0] + rng.gauss(0, 0.025 + 0.06 * deep) if near else rng.random()
        tone = mix(light[1], base, 0.25) if near else lighter(base, 0.25)
        canvas.oval(x - half, y, x + half, y + 0.002 + 0.004 * deep, tone)


def _forest(canvas: Canvas, asked: _Scene, horizon: float, night: bool) -> None:
    leaf = asked.painted.get("forest", asked.blend((34, 98, 62), 0.25))
    for depth, (drop, height, count) in enumerate(((0.1, 0.12, 26), (0.2, 0.19, 17), (0.36, 0.3, 10))):
        tone = darker(leaf, 0.55 if night else 0.14 * depth)
        for number in range(count):
            size = height * asked.rng.uniform(0.75, 1.15)
            if depth == 2 and 0.3 < (number + 0.5) / count < 0.7:
                continue  # a clearing keeps the middle of the picture open
            x, foot = (number + asked.rng.uniform(0.1, 0.9)) / count, horizon + drop + asked.rng.uniform(-0.01, 0.02)
            snowy = "winter" in asked.nouns and number % 3 == 0
            part = canvas.square(x, foot - size * 0.5 / canvas.tall, size)
            THINGS["tree"].draw(part, mix(tone, WHITE, 0.75) if snowy else tone)


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
