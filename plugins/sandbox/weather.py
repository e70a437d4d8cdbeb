"""Draws snow, rain and a rainbow over a whole picture."""

import random

from PIL import Image

from .canvas import Canvas
from .colours import COLOURS, WHITE


def snow(image: Image.Image, rng: random.Random) -> Image.Image:
    canvas = Canvas(*image.size)
    for _ in range(260):
        radius = rng.choice((0.003, 0.004, 0.006, 0.009, 0.013))
        canvas.disc(rng.random(), rng.random(), radius, WHITE, rng.randint(190, 245))
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
