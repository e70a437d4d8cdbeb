"""What each GPT image model takes, as data. Source: contracts, openai.md (marks in brackets there)."""

from __future__ import annotations

from dataclasses import replace

from plugins.image_edit import Inputs, Price, Rules, Sizes

_FIELDS = frozenset({"quality", "background", "output_format", "output_compression", "moderation"})
_QUALITY = frozenset({"low", "medium", "high", "auto"})
_VALUES = {
    "background": frozenset({"transparent", "opaque", "auto"}),
    "output_format": frozenset({"png", "jpeg", "webp"}),  # gif and svg are for entitled projects alone
    "output_compression": range(101),
    "moderation": frozenset({"low", "auto"}),
}
_DALL_E = {"standard": "medium", "hd": "high"}  # which clients still send

# The origin's sizes: exact ratios in multiples of 16, where clients ask for a ratio and do not say how large.
_1K = (
    *("1024x1024", "1536x1024", "1024x1536", "1408x1056", "1056x1408", "1280x1024", "1024x1280"),
    *("1536x864", "864x1536", "1792x768", "768x1792"),
)
_4K = ("3840x2160", "2160x3840")
_LISTED = Sizes(labels=("1024x1024", "1536x1024", "1024x1536"), custom=False)
# Without a size the service chooses ("auto"): after the prompt, and an edit after its picture.
_ANY = Sizes(area=(655_360, 8_294_400), side=(16, 3840), ratio=3.0, step=16, presets={"": _1K, "1K": _1K, "4K": _4K})

# What holds for every one of them, and so for those that are known by name alone.
GPT_IMAGE = Rules(
    references=16,
    # "Below 50 MB", of whichever kind: between the two the service is to judge.
    inputs=Inputs(formats=frozenset({"image/png", "image/jpeg", "image/webp"}), size=50 * 1024 * 1024),
    fields=_FIELDS,
    values={"quality": _QUALITY, **_VALUES},
    nearest={"quality": {**_DALL_E, "xhigh": "high", "max": "high"}},
    sizes=_LISTED,
    mask=True,
    masks=Inputs(formats=frozenset({"image/png"}), size=4 * 1024 * 1024),
    partial_images=True,
)
GPT_IMAGE_1_5 = replace(
    GPT_IMAGE,
    edit_fields=frozenset({"input_fidelity"}),  # gpt-image-2 wants it left out; of its successors nothing is told
    values={**GPT_IMAGE.values, "input_fidelity": frozenset({"high", "low"})},
)
GPT_IMAGE_1_MINI = replace(
    GPT_IMAGE_1_5,
    values={**GPT_IMAGE.values, "input_fidelity": frozenset({"low"})},
    nearest={**GPT_IMAGE.nearest, "input_fidelity": {"high": "low"}},
)
GPT_IMAGE_2 = replace(
    GPT_IMAGE,
    sizes=_ANY,
    price=Price(
        tokens={"text_input": "5", "image_input": "8", "output": "30"}, date="2026-11-22", source="OpenAI, by a third party"
    ),
)
GPT_IMAGE_2_5 = replace(
    GPT_IMAGE_2,
    values={**GPT_IMAGE.values, "quality": _QUALITY | {"xhigh", "max"}},
    nearest={"quality": _DALL_E},
)

MODELS: dict[str, Rules] = {
    "gpt-image-2.6-sunburst": GPT_IMAGE,
    "gpt-image-2.6-flare": GPT_IMAGE,
    "gpt-image-2.5-sunburst": GPT_IMAGE_2_5,
    "gpt-image-2.5-sunburst-2026-09-08": GPT_IMAGE_2_5,
    "gpt-image-2.5-flare": GPT_IMAGE_2_5,
    "gpt-image-2.5-flare-2026-09-08": GPT_IMAGE_2_5,
    "gpt-image-2": GPT_IMAGE_2,
    "gpt-image-2-2026-04-21": GPT_IMAGE_2,
    "gpt-image-1.5": GPT_IMAGE_1_5,
    "gpt-image-1-mini": GPT_IMAGE_1_MINI,
    "chatgpt-image-latest": GPT_IMAGE,
}
