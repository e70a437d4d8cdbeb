"""What each model takes, as data. Source: contracts, zai.md (marks in brackets there)."""

from __future__ import annotations

from dataclasses import replace

from plugins.image_edit import Price, Rules, Sizes, Tier

_HD = {"standard": "hd", "low": "hd", "medium": "hd", "high": "hd"}
_EITHER = {"low": "standard", "medium": "standard", "high": "hd"}

_GLM_SIZES = ("1280x1280", "1568x1056", "1056x1568", "1472x1088", "1088x1472", "1728x960", "960x1728")
_COGVIEW_SIZES = ("1024x1024", "768x1344", "864x1152", "1344x768", "1152x864", "1440x720", "720x1440")

GLM_IMAGE = Rules(
    references=0,  # there is no field for a picture, and no path that edits
    fields=frozenset({"quality"}),
    values={"quality": frozenset({"hd"})},
    nearest={"quality": _HD},
    sizes=Sizes(area=(1024 * 1024, 1 << 22), side=(1024, 2048), ratio=2.0, step=32, presets={"": _GLM_SIZES}),
    price=Price(tiers=(Tier(amount="0.015"),), date="2026-11-22", source="docs.z.ai"),
)
COGVIEW_4 = Rules(
    references=0,
    fields=frozenset({"quality"}),
    values={"quality": frozenset({"hd", "standard"})},
    nearest={"quality": _EITHER},
    sizes=Sizes(area=(512 * 512, 1 << 21), side=(512, 2048), ratio=4.0, step=16, presets={"": _COGVIEW_SIZES}),
)

MODELS: dict[str, Rules] = {
    "glm-image": GLM_IMAGE,
    "cogview-4-250304": COGVIEW_4,
    "cogview-4": COGVIEW_4,  # in China alone, like the next
    "cogview-3-flash": replace(COGVIEW_4, fields=frozenset()),  # of its quality nothing is told
}
