"""What FLUX takes on Together, as data. Source: contracts, hosted-others.md."""

from __future__ import annotations

from dataclasses import dataclass, replace

from plugins.image_edit import Decimals, Inputs, Rules, Sizes

_INPUTS = Inputs(formats=frozenset({"image/png", "image/jpeg", "image/webp"}))


@dataclass(frozen=True, kw_only=True)
class Model(Rules):
    """`pictures` is what references are called; `image_url` is one of them, everything else a list."""

    pictures: str = ""


FLUX_1 = Model(
    references=0,
    fields=frozenset({"seed", "output_format", "steps", "negative_prompt", "guidance_scale", "disable_safety_checker"}),
    values={
        "output_format": frozenset({"jpeg", "png"}),
        "steps": range(1, 1001),  # what a model has as its own limit is not told; these are numbers, that is all
        "guidance_scale": Decimals(0, 1000),
        "disable_safety_checker": (True, False),
    },
    sizes=Sizes(area=(256 * 256, 1440 * 1440), side=(256, 1440), step=16),
)
KONTEXT = replace(FLUX_1, references=1, inputs=_INPUTS, pictures="image_url")
FLUX_2 = replace(
    FLUX_1,
    references=8,  # as many as at FLUX's own vendor
    inputs=_INPUTS,
    pictures="reference_images",
    sizes=Sizes(area=(256 * 256, 2048 * 2048), side=(256, 2048), step=16),
)

MODELS: dict[str, Model] = {
    "black-forest-labs/FLUX.1-schnell": FLUX_1,
    "black-forest-labs/FLUX.1.1-pro": FLUX_1,
    "black-forest-labs/FLUX.1-kontext-pro": KONTEXT,
    "black-forest-labs/FLUX.1-kontext-max": KONTEXT,
    "black-forest-labs/FLUX.2-pro": FLUX_2,
    "black-forest-labs/FLUX.2-flex": FLUX_2,
    "black-forest-labs/FLUX.2-dev": FLUX_2,
}
