"""What FLUX takes on Fireworks, as data. Source: contracts, hosted-others.md."""

from __future__ import annotations

from dataclasses import dataclass

from plugins.image_edit import Inputs, Rules, Shapes

_RATIOS = ("1:1", "21:9", "16:9", "3:2", "5:4", "4:5", "2:3", "9:16", "9:21", "4:3", "3:4")


@dataclass(frozen=True, kw_only=True)
class Model(Rules):
    """`job` says that it is submitted and asked for; the others answer with the picture's bytes."""

    job: bool = False


FLUX = Model(
    references=0,
    fields=frozenset({"seed", "output_format", "num_inference_steps", "guidance_scale"}),
    values={"output_format": frozenset({"jpeg", "png"})},
    shapes=Shapes(ratios=_RATIOS),
)
KONTEXT = Model(
    references=1,
    inputs=Inputs(formats=frozenset({"image/png", "image/jpeg", "image/webp"})),
    fields=frozenset({"seed", "output_format", "safety_tolerance", "prompt_upsampling"}),
    values={"output_format": frozenset({"jpeg", "png"})},
    shapes=Shapes(ratios=_RATIOS),
    job=True,
)

MODELS: dict[str, Model] = {
    "accounts/fireworks/models/flux-1-schnell-fp8": FLUX,
    "accounts/fireworks/models/flux-1-dev-fp8": FLUX,
    "accounts/fireworks/models/flux-kontext-pro": KONTEXT,
    "accounts/fireworks/models/flux-kontext-max": KONTEXT,
}
