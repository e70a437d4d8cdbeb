"""The rules of each Ark image model, as data: ids, fields, references and the size language."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Every field of the request body that the vendor's documents or SDKs name. `n` is not among them.
FIELDS = frozenset({
    "model", "prompt", "image", "size", "response_format", "watermark", "seed", "guidance_scale",
    "sequential_image_generation", "sequential_image_generation_options", "stream", "optimize_prompt",
    "optimize_prompt_options", "output_format", "tools", "layer_decomposition", "background",
})
MAX_GROUP = 15  # references and results of one request together

_GROUP = frozenset({"sequential_image_generation", "sequential_image_generation_options"})
_LAYERS = frozenset({"layer_decomposition", "background"})
_BASIC = frozenset({"jpeg", "png"})
_MORE = _BASIC | {"webp", "bmp", "tiff", "gif"}
_HEIC = _MORE | {"heic", "heif"}
_TYPES = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 429: "TooManyRequests",
          500: "InternalServerError"}


class Refusal(Exception):
    """A request that Ark answers with an error body."""

    def __init__(self, status: int, code: str, message: str, *, kind: str | None = None,
                 headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers or {})
        self.kind = _TYPES.get(status, "") if kind is None else kind

    def body(self, request_id: str) -> dict[str, dict[str, str]]:
        message = f"{self.message} Request id: {request_id}"
        return {"error": {"code": self.code, "message": message, "param": "", "type": self.kind}}


def invalid(name: str, why: str, *, kind: str | None = None) -> Refusal:
    return Refusal(400, "InvalidParameter", f"The parameter `{name}` specified in the request is not valid: {why}.",
                   kind=kind)


def unsupported(name: str) -> Refusal:
    # "are not valid" is the service's own grammar, as quoted from a live answer.
    return Refusal(400, "InvalidParameter", f"The parameter `{name}` specified in the request are not valid: "
                   f"the parameter `{name}` is not supported by the current model.")


def missing(name: str) -> Refusal:
    return Refusal(400, "MissingParameter", f"The request failed because it is missing the `{name}` parameter.")


@dataclass(frozen=True, kw_only=True)
class Model:
    """One column of the support matrix. A field that stands in none of the three sets is taken and checked."""

    ids: tuple[str, ...]
    named: str                                  # what the service calls it in a message about sizes
    refused: frozenset[str] = frozenset()       # 400 whenever present, whatever the value
    undocumented: frozenset[str] = frozenset()  # handled as a name nobody has heard of
    idle: frozenset[str] = frozenset()          # accepted, to no effect
    fast_mode: bool = False                     # of optimize_prompt_options

    max_refs: int
    image_required: bool = False                # then exactly one, and as a string
    formats: frozenset[str] = _MORE
    max_bytes: int = 10_000_000
    ratio: int = 16                             # of a reference's long side to its short one

    labels: tuple[str, ...] = ()
    pixels: tuple[int, int] | None = None       # of a custom WxH
    sides: tuple[int, int] | None = None
    step: int = 1                               # both sides are multiples of it
    size: str                                   # when the request names none
    picture: str = "jpeg"                       # when the request names no output_format, or may not


_OLD = _GROUP | {"stream", "output_format", "tools", "optimize_prompt_options"}
# The vendor's list for these is closed: what is known and not supported is refused there, but each name was not seen.
_CLOSED = frozenset({"tools", "guidance_scale", "seed"})
_PRO_PIXELS = (921_600, 4_624_220)

SEEDREAM_3 = Model(
    ids=("seedream-3-0-t2i-250415",), named="doubao-seedream-3-0-t2i", idle=_OLD, undocumented=_LAYERS,
    max_refs=0, formats=_BASIC, ratio=3, sides=(512, 2048), size="1024x1024",
)
SEEDEDIT_3 = Model(
    ids=("seededit-3-0-i2i-250628",), named="doubao-seededit-3-0-i2i", idle=_OLD, undocumented=_LAYERS,
    max_refs=1, image_required=True, formats=_BASIC, ratio=3, labels=("adaptive",), size="adaptive",
)
SEEDREAM_4 = Model(
    ids=("seedream-4-0-250828",), named="doubao-seedream-4-0", undocumented=_LAYERS,
    idle=frozenset({"output_format", "tools", "guidance_scale", "seed"}),
    fast_mode=True, max_refs=10,  # 14 in later texts; no more than 10 is safe
    labels=("1K", "2K", "4K"), pixels=(921_600, 16_777_216), size="2048x2048",
)
SEEDREAM_4_5 = Model(
    ids=("seedream-4-5-251128",), named="doubao-seedream-4-5", undocumented=_LAYERS,
    idle=frozenset({"output_format", "tools", "guidance_scale", "seed"}),
    max_refs=14, labels=("2K", "4K"), pixels=(3_686_400, 16_777_216), size="2048x2048",
)
SEEDREAM_5_LITE = Model(
    ids=("seedream-5-0-260128", "seedream-5-0-lite-260128"), named="doubao-seedream-5-0", undocumented=_LAYERS,
    idle=frozenset({"guidance_scale", "seed"}),
    max_refs=14, labels=("2K", "3K", "4K"), pixels=(3_686_400, 16_777_216), size="2048x2048",
)
SEEDREAM_5_PRO = Model(
    ids=("seedream-5-0-pro-260628", "dola-seedream-5-0-pro-260628"), named="doubao-seedream-5-0-pro",
    refused=_GROUP | {"stream"}, undocumented=_CLOSED, max_refs=10, formats=_HEIC, max_bytes=30_000_000,
    labels=("1K", "1.5K", "2K"), pixels=_PRO_PIXELS, step=16, size="1024x1024",
)
SEEDREAM_5_FLASH = Model(
    ids=("seedream-5-0-flash-260915",), named="doubao-seedream-5-0-flash",
    refused=_GROUP | {"stream"}, undocumented=_CLOSED, max_refs=10,
    labels=("1K", "1.5K", "2K"), pixels=_PRO_PIXELS, step=16, size="1024x1024",
)
SEEDREAM_5_5 = Model(
    ids=("seedream-5-5-261028", "dola-seedream-5-5-261028"), named="doubao-seedream-5-5",
    refused=_GROUP | {"stream"}, undocumented=_CLOSED, max_refs=10, formats=_HEIC,
    labels=("1K", "1.5K", "2K"), pixels=_PRO_PIXELS, step=16, size="2K", picture="png",
)
_ROWS = (SEEDREAM_3, SEEDEDIT_3, SEEDREAM_4, SEEDREAM_4_5, SEEDREAM_5_LITE, SEEDREAM_5_PRO, SEEDREAM_5_FLASH,
         SEEDREAM_5_5)
MODELS: Mapping[str, Model] = {
    # China's names are the same behind `doubao-`, which there stands in the place of `dola-`.
    name: row for row in _ROWS for plain in row.ids for name in (plain, f"doubao-{plain.removeprefix('dola-')}")
}

# Endpoints of a public gateway. Two of them go by the name of the vendor's video family, and are these image models.
ENDPOINTS: Mapping[str, str] = {
    "ep-20260624213657-7zc5n": "seedream-5-0-260128",
    "ep-20260624042612-7dxcv": "seedream-4-5-251128",
    "ep-20260803211347-hq9k8": "dola-seedream-5-0-pro-260628",
}

# A label's real size follows words in the prompt; the emulator makes squares.
_LABELS = {"1K": 1024, "1.5K": 1536, "2K": 2048, "3K": 3072, "4K": 4096}
_CUSTOM = re.compile(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})")


def pixel_size(model: Model, size: object, reference: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the result, or the refusal of a size that this model does not know."""
    if not isinstance(size, str):
        raise invalid("size", "it must be a string", kind="")
    if size in model.labels:
        return reference if size == "adaptive" else (_LABELS[size], _LABELS[size])
    custom = _CUSTOM.fullmatch(size)
    if custom is None or (model.pixels is None and model.sides is None):
        raise invalid("size", f"the specified size is not supported for model {model.named}", kind="")
    width, height = int(custom[1]), int(custom[2])
    _custom_size(model, width, height)
    return width, height


def _custom_size(model: Model, width: int, height: int) -> None:
    # Live answers about sizes show an empty `type`, where others have the reason of the status.
    if model.sides and not all(model.sides[0] <= side <= model.sides[1] for side in (width, height)):
        raise invalid("size", f"each side must be between {model.sides[0]} and {model.sides[1]} pixels", kind="")
    if model.pixels and width * height < model.pixels[0]:
        raise invalid("size", f"image size must be at least {model.pixels[0]} pixels", kind="")
    if model.pixels and width * height > model.pixels[1]:
        raise invalid("size", f"image size must be at most {model.pixels[1]} pixels", kind="")
    if max(width, height) > 16 * min(width, height):
        raise invalid("size", "the aspect ratio must be between 1/16 and 16", kind="")
    if width % model.step or height % model.step:
        raise invalid("size", f"width and height must be multiples of {model.step}", kind="")
