"""What some models on Replicate call their inputs, as data. Sources: contracts, hosted-others.md; the models' own schemas."""

from __future__ import annotations

from dataclasses import dataclass, replace

from plugins.image_edit import Inputs, Rules, Shapes

_INPUTS = Inputs(formats=frozenset({"image/png", "image/jpeg", "image/webp"}))
_FLUX_RATIOS = ("1:1", "16:9", "3:2", "2:3", "4:5", "5:4", "9:16", "3:4", "4:3", "21:9", "9:21")
_GOOGLE_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_SEEDREAM_RATIOS = ("1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3", "21:9")
_MEGAPIXEL = 1024 * 1024
_1K_TO_4K = {"1K": _MEGAPIXEL, "2K": 4 * _MEGAPIXEL, "4K": 16 * _MEGAPIXEL}
_FORMATS = {"output_format": frozenset({"jpeg", "png", "webp"})}
_TWO_FORMATS = {"output_format": frozenset({"jpeg", "png"})}


@dataclass(frozen=True, kw_only=True)
class Model(Rules):
    """The names of a model's inputs: `pictures` for references, one or a list of them; `count` for how many to make;
    `resolution` for how large."""

    pictures: str = ""
    listed: bool = True
    count: str = ""
    resolution: str = ""


FLUX_1 = Model(
    references=0,
    fields=frozenset({"seed", "output_format"}),
    values=_FORMATS,
    shapes=Shapes(ratios=_FLUX_RATIOS),
    count="num_outputs",
    batch=4,
)
FLUX_1_1 = replace(FLUX_1, count="", batch=1)
KONTEXT = replace(FLUX_1_1, references=1, inputs=_INPUTS, values=_TWO_FORMATS, pictures="input_image", listed=False)
FLUX_2 = replace(FLUX_1_1, references=8, inputs=_INPUTS, pictures="input_images")
NANO_BANANA = Model(
    references=3,
    inputs=_INPUTS,
    fields=frozenset({"output_format"}),
    values=_TWO_FORMATS,
    shapes=Shapes(ratios=_GOOGLE_RATIOS),
    pictures="image_input",
    batch=1,
)
NANO_BANANA_2 = replace(NANO_BANANA, references=14)
NANO_BANANA_PRO = replace(NANO_BANANA_2, shapes=Shapes(ratios=_GOOGLE_RATIOS, resolutions=_1K_TO_4K), resolution="resolution")
SEEDREAM_4 = Model(
    references=10,
    inputs=_INPUTS,
    shapes=Shapes(ratios=_SEEDREAM_RATIOS, resolutions=_1K_TO_4K),
    pictures="image_input",
    resolution="size",
    batch=1,
)
SEEDREAM_4_5 = replace(
    SEEDREAM_4, references=14, shapes=Shapes(ratios=_SEEDREAM_RATIOS, resolutions={"2K": 4 * _MEGAPIXEL, "4K": 16 * _MEGAPIXEL})
)

MODELS: dict[str, Model] = {
    "black-forest-labs/flux-schnell": FLUX_1,
    "black-forest-labs/flux-dev": FLUX_1,
    "black-forest-labs/flux-1.1-pro": FLUX_1_1,
    "black-forest-labs/flux-kontext-pro": KONTEXT,
    "black-forest-labs/flux-kontext-max": KONTEXT,
    "black-forest-labs/flux-2-pro": FLUX_2,
    "black-forest-labs/flux-2-flex": FLUX_2,
    "google/nano-banana": NANO_BANANA,
    "google/nano-banana-2": NANO_BANANA_2,
    "google/nano-banana-pro": NANO_BANANA_PRO,
    "bytedance/seedream-4": SEEDREAM_4,
    "bytedance/seedream-4.5": SEEDREAM_4_5,
}
