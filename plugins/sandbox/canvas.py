"""A layer to draw plain vector shapes on, whatever the size of the picture below."""

from collections.abc import Callable, Iterable

from PIL import Image, ImageDraw

from .colours import Colour

Point = tuple[float, float]

_FINEST = 2048  # shapes are drawn at four times their size while that stays within this many pixels


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


def curve(along: Callable[[float], Point], steps: int = 60) -> list[Point]:
    """Points along a line, which is given as a place for every number from 0 to 1."""
    return [along(number / steps) for number in range(steps + 1)]
