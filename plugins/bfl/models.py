"""What each FLUX model takes, as data. Source: contracts, bfl.md (marks in brackets there)."""

from __future__ import annotations

from dataclasses import replace

from plugins.image_edit import Decimals, Inputs, Rules, Shapes, Sizes

_FIELDS = frozenset({"seed", "output_format", "safety_tolerance", "prompt_upsampling"})
_VALUES = {"output_format": frozenset({"jpeg", "png"}), "safety_tolerance": range(7), "prompt_upsampling": (True, False)}
_INPUTS = Inputs(formats=frozenset({"image/png", "image/jpeg", "image/webp"}))
_FOUR_MEGAPIXELS = 4 * 1024 * 1024
_RATIOS = ("21:9", "16:9", "3:2", "4:3", "5:4", "1:1", "4:5", "3:4", "2:3", "9:16", "9:21")

FLUX_2 = Rules(
    references=8,
    inputs=_INPUTS,
    fields=_FIELDS,
    values=_VALUES,
    sizes=Sizes(area=(64 * 64, _FOUR_MEGAPIXELS), side=(64, 4096), step=16),
)
FLUX_2_FLEX = replace(
    FLUX_2,
    fields=_FIELDS | {"steps", "guidance"},
    values={**_VALUES, "steps": range(1, 51), "guidance": Decimals(1.5, 10)},
)
FLUX_2_KLEIN = replace(FLUX_2, references=4)
KONTEXT = Rules(
    references=4,  # input_image to input_image_4; how many it takes is not told, and more than it knows may be ignored
    inputs=_INPUTS,
    fields=_FIELDS,
    values=_VALUES,
    shapes=Shapes(ratios=_RATIOS),
)
FLUX_1_1 = Rules(
    references=0,
    fields=_FIELDS,
    values=_VALUES,
    sizes=Sizes(area=(256 * 256, _FOUR_MEGAPIXELS), side=(256, 1440), step=32),
)
ULTRA = replace(KONTEXT, references=0)

MODELS: dict[str, Rules] = {
    "flux-2-pro": FLUX_2,
    "flux-2-pro-preview": FLUX_2,
    "flux-2-max": FLUX_2,
    "flux-2-flex": FLUX_2_FLEX,
    "flux-2-klein-4b": FLUX_2_KLEIN,
    "flux-2-klein-9b": FLUX_2_KLEIN,
    "flux-kontext-pro": KONTEXT,
    "flux-kontext-max": KONTEXT,
    "flux-pro-1.1": FLUX_1_1,
    "flux-pro-1.1-ultra": ULTRA,
}
