"""What each of Gemini's image models takes, as data. Source: contracts, google-gemini.md part A (marks in brackets there)."""

from __future__ import annotations

from dataclasses import replace

from plugins.image_edit import Inputs, Rules, Shapes

_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_MORE = (*_RATIOS, "1:4", "4:1", "1:8", "8:1")
_MEGAPIXEL = 1024 * 1024
_SIZES = {"1K": _MEGAPIXEL, "2K": 4 * _MEGAPIXEL, "4K": 16 * _MEGAPIXEL}  # capital K: in lower case it is a 400

GEMINI_2_5 = Rules(
    references=3,
    inputs=Inputs(formats=frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})),
    fields=frozenset({"seed"}),
    values={"seed": range(-(2**31), 2**31)},
    shapes=Shapes(ratios=_RATIOS),  # about a megapixel; there is no imageSize
)
GEMINI_3 = replace(GEMINI_2_5, references=14, shapes=Shapes(ratios=_RATIOS, resolutions=_SIZES))
GEMINI_3_1_FLASH = replace(GEMINI_3, shapes=Shapes(ratios=_MORE, resolutions={"512": 512 * 512, **_SIZES}))
# 1K is all it makes, so it need not be told; whether it knows the field is not.
GEMINI_3_1_FLASH_LITE = replace(GEMINI_3, shapes=Shapes(ratios=_RATIOS))
# Known from a third party, who tells of 14 ratios. Of sizes, those that all who have any have.
NANO_BANANA_2_1 = replace(GEMINI_3, shapes=Shapes(ratios=_MORE, resolutions=_SIZES))

MODELS: dict[str, Rules] = {
    "gemini-2.5-flash-image": GEMINI_2_5,  # its shutdown is told as 2026-10-02 and as 2027-03-15
    "gemini-3.1-flash-image": GEMINI_3_1_FLASH,
    "gemini-3.1-flash-lite-image": GEMINI_3_1_FLASH_LITE,
    "gemini-3-pro-image": GEMINI_3,
    "gemini-nano-banana-2.1": NANO_BANANA_2_1,
}
