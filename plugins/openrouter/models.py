"""What some of the image models behind OpenRouter take, as data. Source: contracts, openrouter.md section A."""

from __future__ import annotations

from dataclasses import dataclass, replace

from plugins.image_edit import Inputs, Rules, Shapes

_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_INPUTS = Inputs(formats=frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"}))
_ONE_SIZE = Shapes(ratios=_RATIOS)
_MEGAPIXEL = 1024 * 1024
_SIZES = Shapes(ratios=_RATIOS, resolutions={"1K": _MEGAPIXEL, "2K": 4 * _MEGAPIXEL, "4K": 16 * _MEGAPIXEL})


@dataclass(frozen=True, kw_only=True)
class Routed(Rules):
    """`modalities` is what the model is asked for: one that makes pictures alone refuses to be asked for text."""

    modalities: tuple[str, ...] = ("image", "text")


# How many references a model takes is its vendor's to say: where that is not known, 16 as at OpenAI, and the service judges.
TALKS = Routed(shapes=_ONE_SIZE, inputs=_INPUTS)
PAINTS = Routed(shapes=_ONE_SIZE, inputs=_INPUTS, modalities=("image",))
GEMINI_2_5 = replace(TALKS, references=3)
GEMINI_3 = replace(TALKS, references=14, shapes=_SIZES)

MODELS: dict[str, Routed] = {
    "google/gemini-2.5-flash-image": GEMINI_2_5,
    "google/gemini-3.1-flash-image": GEMINI_3,
    "google/gemini-3-pro-image": GEMINI_3,
    "openai/gpt-5-image": TALKS,
    "openai/gpt-5-image-mini": TALKS,
    "black-forest-labs/flux.2-pro": replace(PAINTS, references=8),
    "black-forest-labs/flux.2-flex": replace(PAINTS, references=8),
    "black-forest-labs/flux.2-max": replace(PAINTS, references=8),
    "black-forest-labs/flux.2-klein-4b": replace(PAINTS, references=4),
    "bytedance-seed/seedream-4.5": replace(PAINTS, references=14),
}
