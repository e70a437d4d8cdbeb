"""What each Seedream model takes, as data. Source: contracts, bytedance.md sections 2 to 4 (marks in brackets there)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from plugins.image_edit import Inputs, Price, Rules, Sizes, Tier

_1K = ("1024x1024", "864x1152", "1152x864", "1312x736", "736x1312", "832x1248", "1248x832", "1568x672")
_2K = ("2048x2048", "1728x2304", "2304x1728", "2848x1600", "1600x2848", "1664x2496", "2496x1664", "3136x1344")
_3K = ("3072x3072", "2592x3456", "3456x2592", "4096x2304", "2304x4096", "2496x3744", "3744x2496", "4704x2016")
_4K = ("4096x4096", "3520x4704", "4704x3520", "5504x3040", "3040x5504", "3328x4992", "4992x3328", "6240x2656")
_PRESETS = {"1K": _1K, "2K": _2K, "3K": _3K, "4K": _4K}
_LARGEST = 4096 * 4096
_SEEDS = range(-1, 2**31)
_TOOLS = ([{"type": "web_search"}],)  # the vendor's one tool; a chat client's functions are none
_FORMATS = frozenset({"jpeg", "png"})

_BASIC = frozenset({"image/jpeg", "image/png"})
_MORE = _BASIC | {"image/webp", "image/bmp", "image/tiff", "image/gif"}
_HEIC = _MORE | {"image/heic"}
# A reference may have 10 MB or 30, the texts disagree: between the two the service is to judge.
_OLD_INPUTS = Inputs(formats=_BASIC, size=30_000_000, side=(15, 0), area=36_000_000, ratio=3.0)
_INPUTS = Inputs(formats=_MORE, size=30_000_000, side=(15, 0), area=36_000_000, ratio=16.0)
_HEIC_INPUTS = Inputs(formats=_HEIC, size=30_000_000, side=(15, 0), area=36_000_000, ratio=16.0)


def _price(*tiers: Tier, reference: str = "0", included: int = 0) -> Price:
    """In US dollars, as BytePlus lists them; in China there is a list in yuan."""
    return Price(tiers=tiers, reference=reference, included=included, date="2026-11-22", source="BytePlus ModelArk")


@dataclass(frozen=True, kw_only=True)
class Seedream(Rules):
    """`answers` is the response_format asked for; `group` says that `sequential_image_generation` is a known field, and a
    400 where it is not, even with "disabled"."""

    answers: str = "url"
    group: bool = True


SEEDREAM_3_0 = Seedream(
    model="seedream-3-0-t2i-250415",
    references=0,
    fields=frozenset({"seed", "watermark", "guidance_scale"}),
    values={"seed": _SEEDS},
    sizes=Sizes(area=(512 * 512, 2048 * 2048), side=(512, 2048), ratio=4.0, default="1024x1024"),
    group=False,
    price=_price(Tier(amount="0.03")),
)
SEEDEDIT_3_0 = Seedream(
    model="seededit-3-0-i2i-250628",
    references=1,
    needs_reference=True,
    inputs=_OLD_INPUTS,
    fields=frozenset({"seed", "watermark", "guidance_scale"}),
    values={"seed": _SEEDS},
    sizes=Sizes(labels=("adaptive",), custom=False, default="adaptive"),
    group=False,
)
SEEDREAM_4_0 = Seedream(
    model="seedream-4-0-250828",
    references=10,  # 10 at launch, 14 in later general text: 10 is right either way
    inputs=_INPUTS,
    fields=frozenset({"seed", "watermark"}),
    values={"seed": _SEEDS},
    # The smallest area was 921,600 at launch; "1K" is a label here alone of the 4.x line.
    sizes=Sizes(labels=("1K", "2K", "4K"), area=(921_600, _LARGEST), presets=_PRESETS, default="2K"),
    answers="b64_json",
    partial_images=True,
    price=_price(Tier(amount="0.03")),
)
SEEDREAM_4_5 = Seedream(
    model="seedream-4-5-251128",
    references=14,
    inputs=_INPUTS,
    fields=frozenset({"seed", "watermark"}),
    values={"seed": _SEEDS},
    sizes=Sizes(labels=("2K", "4K"), area=(3_686_400, _LARGEST), presets=_PRESETS, default="2K"),
    partial_images=True,
    price=_price(Tier(amount="0.04")),
)
SEEDREAM_5_0_LITE = Seedream(
    model="seedream-5-0-260128",
    references=14,
    inputs=_INPUTS,
    fields=frozenset({"watermark", "output_format", "tools"}),
    values={"output_format": _FORMATS, "tools": _TOOLS},
    sizes=Sizes(labels=("2K", "3K", "4K"), area=(3_686_400, _LARGEST), presets=_PRESETS, default="2K"),
    partial_images=True,
    price=_price(Tier(amount="0.035")),
)
SEEDREAM_5_0_PRO = Seedream(
    model="dola-seedream-5-0-pro-260628",
    references=10,
    inputs=_HEIC_INPUTS,
    # `background` is known to a third party alone, and an error beside some formats: it is left out until that is settled.
    fields=frozenset({"watermark", "output_format"}),
    values={"output_format": _FORMATS},
    # The largest area is told as 4,624,220 and as 4,194,304: the smaller one is right either way.
    sizes=Sizes(labels=("1K", "1.5K", "2K"), area=(921_600, 4_194_304), step=16, presets={"1K": _1K, "2K": _2K}, default="2K"),
    group=False,
    price=_price(Tier(amount="0.045", pixels=2_360_000), Tier(amount="0.09"), reference="0.003", included=1),
)
# Flash and 5.5 are known from third parties, who give them Pro's rules (contracts, bytedance.md sections 2 and 3).
SEEDREAM_5_0_FLASH = replace(
    SEEDREAM_5_0_PRO, model="seedream-5-0-flash-260915", inputs=_INPUTS, price=_price(Tier(amount="0.018"))
)
SEEDREAM_5_5 = replace(
    SEEDREAM_5_0_PRO,
    model="seedream-5-5-261028",
    price=_price(Tier(amount="0.020", resolution=("1K", "1.5K")), Tier(amount="0.035"), reference="0.008"),
)

MODELS: dict[str, Seedream] = {
    "seedream-3.0": SEEDREAM_3_0,
    "seedream-3-0-t2i-250415": SEEDREAM_3_0,
    "seededit-3.0": SEEDEDIT_3_0,
    "seededit-3-0-i2i-250628": SEEDEDIT_3_0,
    "seedream-4.0": SEEDREAM_4_0,
    "seedream-4-0-250828": SEEDREAM_4_0,
    "seedream-4.5": SEEDREAM_4_5,
    "seedream-4-5-251128": SEEDREAM_4_5,
    "seedream-5.0-lite": SEEDREAM_5_0_LITE,
    "seedream-5-0-260128": SEEDREAM_5_0_LITE,
    "seedream-5-0-lite-260128": SEEDREAM_5_0_LITE,
    "seedream-5.0-pro": SEEDREAM_5_0_PRO,
    "dola-seedream-5-0-pro-260628": SEEDREAM_5_0_PRO,
    "seedream-5.0-flash": SEEDREAM_5_0_FLASH,
    "seedream-5-0-flash-260915": SEEDREAM_5_0_FLASH,
    "seedream-5.5": SEEDREAM_5_5,
    "seedream-5-5-261028": SEEDREAM_5_5,
    "dola-seedream-5-5-261028": replace(SEEDREAM_5_5, model="dola-seedream-5-5-261028"),
}
