"""What FLUX and SDXL take on Fireworks, as data. Source: contracts, hosted-others.md."""

from __future__ import annotations

from dataclasses import dataclass

from plugins.image_edit import Decimals, Inputs, Rules, Shapes, Sizes

_RATIOS = ("1:1", "21:9", "16:9", "3:2", "5:4", "4:5", "2:3", "9:16", "9:21", "4:3", "3:4")
_VALUES = {"output_format": frozenset({"jpeg", "png"})}
# What a model has as its own limits is not told; these are numbers, that is all.
_STEPS, _SCALE = range(1, 1001), Decimals(0, 1000)


@dataclass(frozen=True, kw_only=True)
class Model(Rules):
    """`job` says that it is submitted and asked for; the others answer with the picture's bytes.

    `before` and `behind` are what stands around the model in the path.
    """

    job: bool = False
    before: str = "workflows"
    behind: str = "text_to_image"


FLUX = Model(
    references=0,
    fields=frozenset({"seed", "output_format", "num_inference_steps", "guidance_scale"}),
    values={**_VALUES, "num_inference_steps": _STEPS, "guidance_scale": _SCALE},
    shapes=Shapes(ratios=_RATIOS),
)
KONTEXT = Model(
    references=1,
    inputs=Inputs(formats=frozenset({"image/png", "image/jpeg", "image/webp"})),
    fields=frozenset({"seed", "output_format", "safety_tolerance", "prompt_upsampling"}),
    values={**_VALUES, "safety_tolerance": range(7), "prompt_upsampling": (True, False)},
    shapes=Shapes(ratios=_RATIOS),
    job=True,
)
# The shapes that SDXL was trained on; a side of another length is refused or makes a poor picture.
_SDXL_SIZES = (*("1024x1024", "1152x896", "896x1152", "1216x832", "832x1216", "1344x768", "768x1344", "1536x640", "640x1536"),)
SDXL = Model(
    references=0,
    fields=frozenset({"seed", "output_format", "negative_prompt", "cfg_scale", "steps", "safety_check"}),
    values={**_VALUES, "steps": _STEPS, "cfg_scale": _SCALE, "safety_check": (True, False)},
    sizes=Sizes(labels=_SDXL_SIZES, custom=False),
    before="image_generation",
    behind="",
)

MODELS: dict[str, Model] = {
    "accounts/fireworks/models/flux-1-schnell-fp8": FLUX,
    "accounts/fireworks/models/flux-1-dev-fp8": FLUX,
    "accounts/fireworks/models/stable-diffusion-xl-1024-v1-0": SDXL,
    "accounts/fireworks/models/flux-kontext-pro": KONTEXT,
    "accounts/fireworks/models/flux-kontext-max": KONTEXT,
}
