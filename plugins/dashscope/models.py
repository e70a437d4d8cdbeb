"""What each model takes and where it is asked, as data. Source: contracts, dashscope.md (marks in brackets there)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from plugins.image_edit import Inputs, Rules, Sizes

_FIELDS = frozenset({"seed", "negative_prompt", "prompt_extend", "watermark"})
_SWITCH = (True, False)
_INPUTS = Inputs(
    formats=frozenset({"image/jpeg", "image/png", "image/bmp", "image/tiff", "image/webp", "image/gif"}),
    size=10 * 1024 * 1024,
    side=(384, 3072),
)
_LISTED = Sizes(labels=("1328x1328", "1664x928", "928x1664", "1472x1104", "1104x1472"), custom=False)
_ANY = Sizes(area=(512 * 512, 2048 * 2048), side=(256, 4096), ratio=8.0)
# Of Wan's sizes nothing is told but how they are written: these are within what any of its lines is said to make.
_WAN_SIZES = Sizes(area=(768 * 768, 1280 * 1280), side=(512, 1440), ratio=3.0)


@dataclass(frozen=True)
class Text:
    """Any words that are no longer than that."""

    most: int

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and len(value) <= self.most

    def __str__(self) -> str:
        return f"text of at most {self.most} characters"


_VALUES = {"seed": range(2**31), "prompt_extend": _SWITCH, "watermark": _SWITCH, "negative_prompt": Text(500)}


@dataclass(frozen=True, kw_only=True)
class Model(Rules):
    """`path` is below `/api/v1/services/aigc`; `job` says that it is submitted and asked for; `messages` that a request is a
    conversation of one turn, else a prompt with `images` beside it."""

    path: str = "multimodal-generation/generation"
    job: bool = False
    messages: bool = True


QWEN_IMAGE = Model(references=0, fields=_FIELDS, values=_VALUES, sizes=_LISTED, batch=1)
QWEN_IMAGE_2 = Model(references=3, inputs=_INPUTS, fields=_FIELDS, values=_VALUES, sizes=_ANY, batch=6)
QWEN_IMAGE_2_1_PRO = replace(QWEN_IMAGE_2, references=10)
QWEN_EDIT = replace(QWEN_IMAGE_2, needs_reference=True, batch=1)  # how many the first makes at once is not told
QWEN_EDIT_PLUS = replace(QWEN_EDIT, batch=6)
WAN_2_2 = Model(
    references=0,
    fields=_FIELDS,
    values=_VALUES,
    sizes=_WAN_SIZES,
    batch=4,
    path="text2image/image-synthesis",
    job=True,
    messages=False,
)
WAN_2_5_EDIT = replace(WAN_2_2, references=3, needs_reference=True, inputs=_INPUTS, path="image2image/image-synthesis")
WAN_2_6 = replace(WAN_2_2, references=3, inputs=_INPUTS, path="image-generation/generation", messages=True)

MODELS: dict[str, Model] = {
    "qwen-image": QWEN_IMAGE,
    "qwen-image-plus": QWEN_IMAGE,
    "qwen-image-max": QWEN_IMAGE,
    "qwen-image-2.0": QWEN_IMAGE_2,
    "qwen-image-2.0-pro": QWEN_IMAGE_2,
    "qwen-image-2.1-pro": QWEN_IMAGE_2_1_PRO,
    "qwen-image-3.0": QWEN_IMAGE_2,
    "qwen-image-3.0-pro": QWEN_IMAGE_2,
    "qwen-image-edit": QWEN_EDIT,
    "qwen-image-edit-plus": QWEN_EDIT_PLUS,
    "qwen-image-edit-max": QWEN_EDIT_PLUS,
    "wan2.2-t2i-flash": WAN_2_2,
    "wan2.2-t2i-plus": WAN_2_2,
    "wan2.5-i2i-preview": WAN_2_5_EDIT,
    "wan2.6-t2i": replace(WAN_2_6, references=0),
    "wan2.6-image": WAN_2_6,
}
