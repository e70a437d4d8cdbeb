"""Writes text onto a picture: a caption along the bottom, or large letters across it."""

import bisect
import math
import unicodedata
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from .canvas import overlay
from .colours import INK, WHITE, Colour

_CAPTION_CHARACTERS = 700


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
    kept = kept[:_CAPTION_CHARACTERS]  # one character may have come apart into many
    kept = "".join(character if character.isprintable() or character == "\n" else " " for character in kept)
    return "\n".join(filter(None, (" ".join(line.split()) for line in kept.split("\n"))))


_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _fitting(word: str, font: _Font, width: float) -> int:
    """How many characters of a word go on one line; one always does."""
    return max(1, bisect.bisect_right(range(1, len(word) + 1), width, key=lambda length: font.getlength(word[:length])))


def _wrap(text: str, font: _Font, width: float, most: int) -> list[str]:
    """The text in lines, broken within a word only where it is longer than a line; one line too many is enough."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            if font.getlength(f"{line} {word}".strip()) <= width:
                line = f"{line} {word}".strip()
                continue
            lines += [line] if line else []
            line = word
            while len(lines) <= most and (fits := _fitting(line[:400], font, width)) < len(line):
                lines.append(line[:fits])
                line = line[fits:]
            if len(lines) > most:
                return lines
        lines += [line] if line else []
    return lines


@dataclass(frozen=True)
class _Block:
    """Lines of text, the font in which they fit, and how far apart they stand."""

    lines: list[str]
    font: _Font
    size: int

    @property
    def step(self) -> int:
        return math.ceil(self.size * 1.25)

    @property
    def height(self) -> int:
        return self.step * len(self.lines)

    def draw(self, target: Image.Image, top: float, fill: Colour, stroke: int = 0, centred: bool = False) -> None:
        pen = ImageDraw.Draw(target)
        edge = INK if sum(fill) > 300 else WHITE
        left, anchor = (target.width / 2, "mm") if centred else (self.size * 0.7, "lm")
        for number, line in enumerate(self.lines):
            where = (left, top + self.step * (number + 0.5))
            pen.text(where, line, (*fill, 255), self.font, anchor, stroke_width=stroke, stroke_fill=edge)


def _fit(text: str, width: float, height: float, size: float) -> _Block:
    """Set `text` as large as it fits, from `size` down; what does not fit even when small is cut."""
    while True:
        points = max(9, round(size))
        font = ImageFont.load_default(size=points)
        room = max(1, math.floor(height / math.ceil(points * 1.25)))
        lines = _wrap(text, font, max(1.0, width - 1.4 * points), room)
        if len(lines) <= room:
            return _Block(lines, font, points)
        if points == 9:
            return _Block([*lines[: room - 1], f"{lines[room - 1]} ..."], font, points)
        size *= 0.88


def caption(image: Image.Image, text: str) -> Image.Image:
    """The picture with `text` in white on a dark strip along its bottom."""
    words = legible(text)
    if not words:
        return image
    size = max(14.0, min(image.width / 24, image.height / 14))
    block = _fit(words, image.width, image.height * 0.42, size)
    strip = Image.new("RGBA", (image.width, block.height + round(block.size * 0.8)), (14, 14, 14, 205))
    block.draw(strip, block.size * 0.4, WHITE)
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
