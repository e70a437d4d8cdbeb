"""Operations that put something on or around a picture: a border, text, or a thing that is drawn."""

import re

from PIL import Image

from .captions import lettering
from .colours import BLACK, COLOURS, WHITE, mix
from .request import NUMBERS, Request
from .things import THINGS, draw_thing


def border(image: Image.Image, request: Request, frame: bool = False) -> Image.Image:
    short = min(image.size)
    if request.percent is not None:
        width = short * request.percent
    else:
        usual = short * (0.07 if frame else 0.05) * request.strength
        width = request.number("px|pixels?") or request.number("") or usual
    edge = max(1, round(min(width, short, 1000.0)))
    bright = image.convert("L").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    plain = BLACK if isinstance(bright, int) and bright > 190 else WHITE
    colour = request.colour or (COLOURS["brown"] if frame else plain)
    result = Image.new("RGBA", (image.width + 2 * edge, image.height + 2 * edge), colour)
    if frame:  # a moulding: a dark rim, the wood, and a gilt line next to the picture
        dark, shade, gilt = mix(colour, BLACK, 0.5), mix(colour, BLACK, 0.45), COLOURS["gold"]
        for inset, tone in ((0.0, dark), (0.12, colour), (0.72, shade), (0.8, gilt)):
            gap = round(edge * inset)
            result.paste(tone, (gap, gap, result.width - gap, result.height - gap))
    result.paste(image, (edge, edge))
    return result


def text(image: Image.Image, request: Request) -> Image.Image:
    _, down = request.sides
    usual = 0.0 if request.says(r"\b(?:title|heading)\b") else 1.0 if request.says(r"\b(?:caption|watermark)\b") else 0.5
    words = request.match["double"] or request.match["single"]
    return lettering(image, words, usual if down is None else down, request.colour or WHITE)


def thing(image: Image.Image, request: Request, name: str) -> Image.Image:
    size = 1.5 if request.says(r"\b(?:big|large|huge|giant)\b") else 0.6 if request.says(r"\b(?:small|tiny)\b") else 1.0
    place = request.place(THINGS[name].place)
    return draw_thing(image, name, colour=request.colour, place=place, size=size, count=_count(request, name))


def _count(request: Request, name: str) -> int:
    if name in ("glasses", "sunglasses"):  # a pair of them is one
        return 1
    said = re.findall(rf"\b(?a:({'|'.join(NUMBERS)}|[0-9]{{1,2}}))\b(?![ \t]*(?:%|px))", request.before, re.IGNORECASE)
    if said:
        return max(1, min(12, NUMBERS.get(said[-1].lower()) or int(said[-1])))
    return 3 if request.match[0].lower().endswith("s") else 1
