"""What each Grok Imagine model takes, as data. Source: contracts, xai.md (marks in brackets there)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plugins.image_edit import Inputs, Price, Rules, Shapes, Tier

_MEGAPIXEL = 1024 * 1024
_SHAPES = Shapes(
    ratios=(
        *("1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2", "9:19.5", "19.5:9", "9:20", "20:9"),
        *("1:2", "2:1", "21:9", "5:2", "auto"),
    ),
    resolutions={"1k": _MEGAPIXEL, "1.5k": _MEGAPIXEL * 9 // 4, "2k": 4 * _MEGAPIXEL},  # lower case: others are refused
    follows=True,
)
_LISTED: dict[str, Any] = {"date": "2026-11-22", "source": "docs.x.ai"}
_1K = ("", "1k")  # it is the default

GROK_IMAGINE = Rules(
    references=3,  # resellers say 5; the vendor says 3
    inputs=Inputs(formats=frozenset({"image/jpeg", "image/png", "image/webp"})),
    shapes=_SHAPES,
    edit_batch=1,  # by one account `n` is ignored beside a picture: a call for each is right either way
    price=Price(tiers=(Tier(amount="0.02"),), reference="0.002", **_LISTED),
)
GROK_IMAGINE_QUALITY = replace(
    GROK_IMAGINE,
    price=Price(
        tiers=(Tier(amount="0.05", resolution=_1K), Tier(amount="0.07", resolution=("2k",))), reference="0.01", **_LISTED
    ),
)
GROK_IMAGINE_2 = replace(
    GROK_IMAGINE,
    fields=frozenset({"quality"}),
    values={"quality": frozenset({"low", "medium"})},
    nearest={"quality": {"standard": "medium", "high": "medium", "hd": "medium"}},
    price=Price(
        tiers=(
            Tier(amount="0.04", quality=("low",), resolution=_1K),
            Tier(amount="0.06", quality=("low",), resolution=("2k",)),
            Tier(amount="0.06", quality=("", "medium"), resolution=_1K),
            Tier(amount="0.08", quality=("", "medium"), resolution=("2k",)),
        ),
        reference="0.01",
        **_LISTED,
    ),
)

MODELS: dict[str, Rules] = {
    "grok-imagine-image": GROK_IMAGINE,
    "grok-imagine-image-2026-03-02": GROK_IMAGINE,
    "grok-imagine-image-quality": GROK_IMAGINE_QUALITY,
    "grok-imagine-image-quality-20260403": GROK_IMAGINE_QUALITY,
    "grok-imagine-image-quality-latest": GROK_IMAGINE_QUALITY,
    "grok-imagine-image-2.0": GROK_IMAGINE_2,
    "grok-imagine-image-2-0": replace(GROK_IMAGINE_2, model="grok-imagine-image-2.0"),  # the origin's spelling
}
