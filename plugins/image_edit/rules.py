"""What a model takes, as data: sizes or shapes, fields and their values, and what a reference may be."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Which values of `size` a model takes. Sides are pixels, areas are pixels in all."""

    labels: tuple[str, ...] = ()  # such as "2K"; "1024x1024" where the sizes are a closed list
    custom: bool = True  # any "WxH" within what follows is taken
    area: tuple[int, int] = (1, 1 << 28)
    side: tuple[int, int] = (1, 1 << 14)
    ratio: float = 16.0  # the longer side over the shorter, at most
    step: int = 1  # sides are multiples of it
    # Label -> the "WxH" that the vendor recommends. Those of "" are legal, whatever holds for others.
    presets: Mapping[str, Collection[str]] = field(default_factory=dict)
    default: str | None = None  # sent where the client asks for none; None leaves it to the service


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Which values of `aspect_ratio` and `resolution` a model takes in place of `size`."""

    ratios: tuple[str, ...] = ()  # "16:9"; "auto" among them lets the service choose where the client leaves it out or says so
    resolutions: Mapping[str, int] = field(default_factory=dict)  # label -> pixels in all, about; empty: there is no such field
    follows: bool = False  # an edit of one picture has that picture's shape, whatever is asked
    tolerance: float = 0.25  # a size in pixels is honoured if its area is that near to a label's; else the change is named


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What one reference may be. 0 and empty are no limit; what breaks one is a 400 before any money is spent."""

    formats: frozenset[str] = frozenset()  # media types: "image/png"
    size: int = 0  # bytes
    side: tuple[int, int] = (0, 0)  # pixels, at least and at most
    area: int = 0  # pixels in all
    ratio: float = 0.0  # the longer side over the shorter, at most


@dataclass(frozen=True)
class Decimals:
    """For `values`: any number from `least` to `most`, whole or not."""

    least: float
    most: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and self.least <= value <= self.most

    def __str__(self) -> str:
        return f"{self.least:g} to {self.most:g}"


@dataclass(frozen=True, kw_only=True)
class Tier:
    """One line of a price list: what a picture costs that is all that is said here."""

    amount: str
    """US dollars for one picture, in decimals: `"0.045"`."""
    quality: tuple[str, ...] = ()
    """One of these; empty is any."""
    resolution: tuple[str, ...] = ()
    """One of these labels was asked for; empty is any."""
    pixels: int = 0
    """It has at most so many; 0 is any number."""
    edit: bool | None = None
    """Made with references or without; left out, either."""

    def __post_init__(self) -> None:
        _check_amount("amount", self.amount)


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a model's pictures cost, where the service does not tell. A price that is not known is none at all, never 0."""

    tiers: tuple[Tier, ...] = ()
    """The first that applies counts; where none does, the price is not known."""
    reference: str = "0"
    """US dollars for each reference."""
    included: int = 0
    """References that cost nothing."""
    tokens: dict[str, str] = field(default_factory=dict)
    """US dollars for a million tokens of `text_input`, `image_input` and `output`, where the service counts them."""
    date: str = ""
    """When the price list was read: `"2026-11-22"`."""
    source: str = ""
    """Where it was read."""

    def __post_init__(self) -> None:
        _check_amount("reference", self.reference)
        for name, amount in self.tokens.items():
            if name not in ("text_input", "image_input", "output"):
                raise ValueError(f"tokens.{name}: is no kind of token; known are text_input, image_input and output")
            _check_amount(f"tokens.{name}", amount)


def _check_amount(name: str, amount: str) -> None:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", amount):
        raise ValueError(f"{name}: must be US dollars in decimals, such as '0.045'")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What one model takes. The default is a model that takes a prompt and references, and nothing else.

    `sizes` is for a model that is told its size as one value, `shapes` for one that is told a ratio and a resolution; with
    neither, `size`, `aspect_ratio` and `resolution` pass as they came where `fields` names them.
    """

    model: str = ""  # the vendor's id; "" means the name itself
    references: int = 16  # at most; 0 is a model without editing
    needs_reference: bool = False
    inputs: Inputs = field(default_factory=Inputs)
    fields: frozenset[str] = frozenset()  # of the vocabulary and beyond
    others: bool = False  # whether fields outside the vocabulary that nobody named are passed on: the service tolerates them
    sizes: Sizes | None = None
    shapes: Shapes | None = None
    edit_fields: frozenset[str] = frozenset()  # taken beside a reference alone
    mask: bool = False
    masks: Inputs = field(default_factory=Inputs)  # what a mask may be; it always has the first reference's width and height
    values: Mapping[str, Container[object]] = field(default_factory=dict)  # field -> what it may be; a set of words, a range
    nearest: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # field -> word -> the legal one nearest
    batch: int = 0  # pictures that one run can make, where that is fewer than the provider's `batch`
    edit_batch: int = 0  # the same, with references
    partial_images: bool = False  # whether previews are made while a picture is
    price: Price | None = None
