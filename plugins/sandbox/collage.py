"""Brings several pictures together in one."""

import math
from collections.abc import Callable, Sequence

from PIL import Image, ImageOps

from .canvas import Point, overlay
from .files import MAX_SIDE, fitted

Arrangement = Callable[[Sequence[Image.Image]], Image.Image]


def single(pictures: Sequence[Image.Image]) -> Image.Image:
    return pictures[0]


def row(pictures: Sequence[Image.Image]) -> Image.Image:
    """The pictures side by side at one height."""
    ratios = [min(4.0, picture.width / picture.height) for picture in pictures]  # a mere line does not push out the rest
    height = max(1, round(min(max(picture.height for picture in pictures), MAX_SIDE / sum(ratios))))
    parts = [ImageOps.fit(picture, (max(1, round(height * ratio)), height), Image.Resampling.LANCZOS)
             for picture, ratio in zip(pictures, ratios, strict=True)]  # fmt: skip
    result = Image.new("RGBA", (sum(part.width for part in parts), height))
    left = 0
    for part in parts:
        result.paste(part, (left, 0))
        left += part.width
    return result


def column(pictures: Sequence[Image.Image]) -> Image.Image:
    """The pictures one below the other at one width."""
    turned = [picture.transpose(Image.Transpose.TRANSPOSE) for picture in pictures]
    return row(turned).transpose(Image.Transpose.TRANSPOSE)


def grid(pictures: Sequence[Image.Image]) -> Image.Image:
    """The pictures in rows of equally many, as in a photo album."""
    columns = len(pictures) if len(pictures) <= 3 else math.ceil(math.sqrt(len(pictures)))
    return column([row(pictures[start : start + columns]) for start in range(0, len(pictures), columns)])


def blend(pictures: Sequence[Image.Image]) -> Image.Image:
    """The pictures laid over one another, each as strong as the others."""
    result = pictures[0]
    for number, picture in enumerate(pictures[1:], 2):
        result = Image.blend(result, fitted(picture, result.size), 1 / number)
    return result


def inset(pictures: Sequence[Image.Image], base: int = 0, place: Point = (0.5, 0.6)) -> Image.Image:
    """All other pictures, smaller, on one of them."""
    result = pictures[base].copy()
    others = [picture for number, picture in enumerate(pictures) if number != base]
    side = min(0.45, 0.9 / len(others)) * min(result.size)
    for number, picture in enumerate(others):
        small = ImageOps.contain(picture, (max(1, round(side)), max(1, round(side))), Image.Resampling.LANCZOS)
        x = place[0] if len(others) == 1 else (number + 0.5) / len(others)
        overlay(result, small, (round((result.width - small.width) * x), round((result.height - small.height) * place[1])))
    return result
