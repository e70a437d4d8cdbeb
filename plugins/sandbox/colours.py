"""Colours: the names that a prompt may use for them, and how they are mixed."""

import re

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (214, 40, 48), "orange": (245, 140, 32), "yellow": (250, 212, 52), "green": (46, 160, 72),
    "blue": (38, 92, 220), "purple": (132, 60, 182), "violet": (132, 60, 182), "pink": (245, 128, 176),
    "brown": (124, 78, 44), "black": (22, 22, 26), "white": (255, 255, 255), "gray": (128, 128, 128),
    "grey": (128, 128, 128), "gold": (226, 178, 50), "golden": (226, 178, 50), "silver": (192, 198, 206),
    "cyan": (40, 200, 220), "turquoise": (52, 204, 190), "teal": (20, 134, 136), "magenta": (212, 40, 166),
    "navy": (20, 34, 92), "maroon": (120, 20, 36), "beige": (228, 212, 176), "lime": (150, 214, 40),
    "indigo": (68, 40, 150), "crimson": (190, 16, 56), "amber": (250, 184, 20), "lavender": (186, 160, 226),
}  # fmt: skip
INK: Colour = (24, 22, 32)
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)

# Where case is ignored, a dotless i is an i too; only ASCII letters find their way back to the table.
COLOUR_WORD = f"(?a:{'|'.join(sorted(COLOURS, key=len, reverse=True))})"
COLOUR = (
    r"(?:\b(?P<shade>light|pale|dark|deep|bright)[ -]?)?"
    rf"(?:\b(?P<name>{COLOUR_WORD})(?:ish)?\b|(?P<hex>#[0-9a-f]{{6}})\b)"
)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """The colour that lies `share` of the way from `one` to `other`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def darker(colour: Colour, share: float = 0.35) -> Colour:
    return mix(colour, INK, share)


def lighter(colour: Colour, share: float = 0.35) -> Colour:
    return mix(colour, WHITE, share)


def colour_of(match: re.Match[str]) -> Colour:
    """The colour that a match of `COLOUR` stands for."""
    if match["hex"]:
        red, green, blue = bytes.fromhex(match["hex"][1:])
        return red, green, blue
    colour = COLOURS[match["name"].lower()]
    if not match["shade"] or match["shade"].lower() == "bright":
        return colour
    return mix(colour, WHITE if match["shade"].lower() in ("light", "pale") else BLACK, 0.45)
