"""What each of Gemini's image models takes, as data. Source: contracts, google-gemini.md part A (marks in brackets there)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plugins.image_edit import Inputs, Price, Rules, Shapes, Tier

_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_MORE = (*_RATIOS, "1:4", "4:1", "1:8", "8:1")
_MEGAPIXEL = 1024 * 1024
_LISTED: dict[str, Any] = {"date": "2026-11-22", "source": "ai.google.dev, by third parties"}
_SIZES = {"1K": _MEGAPIXEL, "2K": 4 * _MEGAPIXEL, "4K": 16 * _MEGAPIXEL}  # capital K: in lower case it is a 400

GEMINI_2_5 = Rules(
    references=3,
    inputs=Inputs(formats=frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})),
    fields=frozenset({"seed"}),
    values={"seed": range(-(2**31), 2**31)},
    shapes=Shapes(ratios=_RATIOS),  # about a megapixel; there is no imageSize
    price=Price(tiers=(Tier(amount="0.039"),), **_LISTED),
)
GEMINI_3 = replace(GEMINI_2_5, references=14, shapes=Shapes(ratios=_RATIOS, resolutions=_SIZES), price=None)
GEMINI_3_PRO = replace(
    GEMINI_3,
    price=Price(tiers=(Tier(amount="0.134", resolution=("", "1K", "2K")), Tier(amount="0.24", resolution=("4K",))), **_LISTED),
)
GEMINI_3_1_FLASH = replace(
    GEMINI_3,
    shapes=Shapes(ratios=_MORE, resolutions={"512": 512 * 512, **_SIZES}),
    price=Price(
        tiers=(
            Tier(amount="0.045", resolution=("512",)),
            Tier(amount="0.067", resolution=("", "1K")),
            Tier(amount="0.101", resolution=("2K",)),
            Tier(amount="0.151", resolution=("4K",)),
        ),
        **_LISTED,
    ),
)
# 1K is all it makes, so it need not be told; whether it knows the field is not.
GEMINI_3_1_FLASH_LITE = replace(GEMINI_3, shapes=Shapes(ratios=_RATIOS))
# Known from a third party, who tells of 14 ratios. Of sizes, those that all who have any have.
NANO_BANANA_2_1 = replace(GEMINI_3, shapes=Shapes(ratios=_MORE, resolutions=_SIZES))

MODELS: dict[str, Rules] = {
    "gemini-2.5-flash-image": GEMINI_2_5,  # its shutdown is told as 2026-10-02 and as 2027-03-15
    "gemini-3.1-flash-image": GEMINI_3_1_FLASH,
    "gemini-3.1-flash-lite-image": GEMINI_3_1_FLASH_LITE,
    "gemini-3-pro-image": GEMINI_3_PRO,
    "gemini-nano-banana-2.1": NANO_BANANA_2_1,
}
