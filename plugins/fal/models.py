"""Where some models on fal generate and edit, and what they call it, as data. Sources: contracts, hosted-others.md; the
models' own pages."""

from __future__ import annotations

from dataclasses import dataclass, replace

from plugins.image_edit import Inputs, Rules, Shapes, Sizes

_INPUTS = Inputs(formats=frozenset({"image/png", "image/jpeg", "image/webp"}))
_FLUX_RATIOS = ("21:9", "16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "9:21")
_GOOGLE_RATIOS = ("21:9", "16:9", "3:2", "4:3", "5:4", "1:1", "4:5", "3:4", "2:3", "9:16")
_FORMATS = frozenset({"jpeg", "png"})


@dataclass(frozen=True, kw_only=True)
class Model(Rules):
    """`generates` and `edits` are the paths of the two; `pictures` is what references are called, one or a list of them. A
    model with `sizes` is told `image_size`, one with `shapes` an `aspect_ratio`."""

    generates: str = ""
    edits: str = ""
    pictures: str = "image_urls"
    listed: bool = True


FLUX = Model(
    references=0,
    fields=frozenset({"seed", "output_format", "num_inference_steps", "guidance_scale"}),
    values={"output_format": _FORMATS},
    sizes=Sizes(area=(512 * 512, 2048 * 2048), side=(512, 2048), step=16),
)
KONTEXT = Model(
    references=1,
    inputs=_INPUTS,
    fields=frozenset({"seed", "output_format", "safety_tolerance"}),
    values={"output_format": _FORMATS},
    shapes=Shapes(ratios=_FLUX_RATIOS),
    pictures="image_url",
    listed=False,
)
NANO_BANANA = Model(
    references=3,
    inputs=_INPUTS,
    fields=frozenset({"output_format"}),
    values={"output_format": _FORMATS},
    shapes=Shapes(ratios=_GOOGLE_RATIOS),
)
SEEDREAM = Model(
    references=10,
    inputs=_INPUTS,
    fields=frozenset({"seed"}),
    sizes=Sizes(area=(1024 * 1024, 4096 * 4096), side=(1024, 4096), default="2048x2048"),
)

MODELS: dict[str, Model] = {
    "fal-ai/flux/schnell": replace(FLUX, generates="fal-ai/flux/schnell"),
    "fal-ai/flux/dev": replace(FLUX, generates="fal-ai/flux/dev"),
    "fal-ai/flux-pro/kontext": replace(
        KONTEXT, generates="fal-ai/flux-pro/kontext/text-to-image", edits="fal-ai/flux-pro/kontext"
    ),
    "fal-ai/flux-pro/kontext/max": replace(
        KONTEXT, generates="fal-ai/flux-pro/kontext/max/text-to-image", edits="fal-ai/flux-pro/kontext/max"
    ),
    "fal-ai/nano-banana": replace(NANO_BANANA, generates="fal-ai/nano-banana", edits="fal-ai/nano-banana/edit"),
    "fal-ai/bytedance/seedream/v4": replace(
        SEEDREAM, generates="fal-ai/bytedance/seedream/v4/text-to-image", edits="fal-ai/bytedance/seedream/v4/edit"
    ),
    "fal-ai/bytedance/seedream/v4.5": replace(
        SEEDREAM,
        generates="fal-ai/bytedance/seedream/v4.5/text-to-image",
        edits="fal-ai/bytedance/seedream/v4.5/edit",
        sizes=Sizes(area=(2560 * 1440, 4096 * 4096), side=(1024, 4096), default="2048x2048"),
    ),
}
