"""Size, aspect ratio and resolution in a client's words, made into those that a model takes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

from proxy_core import ClientError

from .changes import Fitting
from .model import Job
from .picture import Image, Link
from .rules import Rules, Shapes, Sizes

_PIXELS = re.compile(r"([1-9][0-9]{0,4})[xX*]([1-9][0-9]{0,4})")
_UNLIKE = 0.04  # of a ratio's logarithm: sides are rounded to whole steps
_AS_LARGE = 0.45  # of an area's logarithm: "1K", "1.5K" and "2K" are further apart
_RATIO = re.compile(r"([0-9]{1,4}(?:\.[0-9]+)?):([0-9]{1,4}(?:\.[0-9]+)?)")
_EXTREME = 1e9  # a ratio that no model comes near to; beyond it, one can be 0 or infinite as a number


def fit_size(fitting: Fitting, rules: Rules) -> None:
    """Turn size, aspect_ratio and resolution into what the model takes: one size, a ratio and a resolution, or none of them."""
    job = fitting.job
    if job.size is not None and job.size.lower() == "auto":
        job = replace(job, size=None)
    if rules.sizes is None and rules.shapes is None:
        if job.size is not None and "size" not in rules.fields:
            legal = "leave it out"
            fitting.unsupported("size", f"{job.name} has no parameter 'size'", instead="it was left out", legal=legal)
            job = replace(job, size=None)
        fitting.job = job
        return
    if job.size is not None and _RATIO.fullmatch(job.size):  # some clients send a ratio as size; services answer that with 400
        if job.aspect_ratio not in (None, job.size):
            _contradicts(fitting, "size", job.size, f"aspect_ratio is {job.aspect_ratio}")
        job = replace(job, size=None, aspect_ratio=job.aspect_ratio or job.size)
    if rules.sizes is not None:
        fitting.job = _sized(fitting, job, rules.sizes)
    elif rules.shapes is not None:
        fitting.job = _shaped(fitting, job, rules.shapes)


def _sized(fitting: Fitting, job: Job, sizes: Sizes) -> Job:
    asked = job.size
    pixels = _pixels(asked) if asked is not None else None
    if pixels is None and all(map(_pixels, sizes.labels)):
        chosen = _in_pixels(fitting, job, sizes)
    elif asked is not None and pixels is None and job.aspect_ratio is not None:
        label = _mapped(fitting, asked, sizes, "size")  # a label says how large, and the ratio of what shape
        if job.resolution is not None and job.resolution.lower() != label.lower():
            _contradicts(fitting, "resolution", job.resolution, f"size is {asked}")
        chosen = _from_ratio(fitting, replace(job, resolution=None), sizes, label)
    elif asked is not None:
        chosen = _mapped(fitting, asked, sizes, "size")
        _agree(fitting, job, pixels, asked)
    else:
        chosen = _from_ratio(fitting, job, sizes, sizes.default or "")
    return replace(job, size=chosen or None, aspect_ratio=None, resolution=None)


def _shaped(fitting: Fitting, job: Job, shapes: Shapes) -> Job:
    if shapes.follows and len(job.references) == 1:
        return _following(fitting, job, shapes, job.references[0])
    return _shape_and_size(fitting, job, shapes)


def _following(fitting: Fitting, job: Job, shapes: Shapes, picture: Image | Link) -> Job:
    """An edit has its one picture's shape, whatever is asked: no ratio is sent, and one that is not the picture's is named."""
    pixels = _pixels(job.size) if job.size is not None else None
    param, value = "aspect_ratio", job.aspect_ratio
    if pixels is not None and job.size is not None:
        _agree(fitting, job, pixels, job.size)
        param, value = "size", job.size
    if value is not None and value.lower() != "auto":
        wanted = pixels[0] / pixels[1] if pixels else _ratio(value)
        has = picture.pixels if isinstance(picture, Image) else None
        if has is None or abs(math.log(has[0] / has[1] / wanted)) > _UNLIKE:
            what = f"{job.name} keeps the shape of the one picture that it edits, and cannot be told {param} {value[:40]}"
            fitting.unsupported(param, what, instead="the picture's shape is kept", legal="leave it out")
    if pixels is None:
        return _shape_and_size(fitting, replace(job, aspect_ratio=None), shapes)
    label, near = _nearest_area(pixels[0] * pixels[1], shapes)
    if not near:
        legal = f"it takes resolution {', '.join(shapes.resolutions)}" if shapes.resolutions else "leave it out"
        what = f"{job.name} cannot make size {job.size}"
        fitting.unsupported("size", what, instead=f"{label or 'its default'} was used", legal=legal)
    return replace(job, size=None, aspect_ratio=None, resolution=label or None)


def _shape_and_size(fitting: Fitting, job: Job, shapes: Shapes) -> Job:
    asked = job.size
    pixels = _pixels(asked) if asked is not None else None
    if asked is not None and pixels is not None:
        _agree(fitting, job, pixels, asked)
        return _shape_of(fitting, job, shapes, asked, pixels)
    if asked is not None and job.resolution is not None and asked.lower() != job.resolution.lower():
        _contradicts(fitting, "resolution", job.resolution, f"size is {asked}")
    resolution = asked or job.resolution  # what is neither pixels nor a ratio says how large
    return replace(
        job,
        size=None,
        aspect_ratio=_nearest_ratio(fitting, job.aspect_ratio, shapes) if job.aspect_ratio is not None else None,
        resolution=_nearest_resolution(fitting, resolution, shapes, "size" if asked else "resolution") if resolution else None,
    )


def _shape_of(fitting: Fitting, job: Job, shapes: Shapes, asked: str, pixels: tuple[int, int]) -> Job:
    """The ratio and resolution nearest to a size in pixels; named unless they come to the same."""
    shape = pixels[0] / pixels[1]
    ratio = min(_numbered(shapes), key=lambda known: abs(math.log(_ratio(known) / shape)), default=None)
    label, near = _nearest_area(pixels[0] * pixels[1], shapes)
    same_shape = ratio is not None and abs(math.log(_ratio(ratio) / shape)) < 0.02
    if not same_shape or not near:
        used = " at ".join(filter(None, [ratio and f"aspect_ratio {ratio}", label])) or "its default"
        legal = f"it takes aspect_ratio {', '.join(shapes.ratios) or 'of no kind'}"
        if shapes.resolutions:
            legal += f" and resolution {', '.join(shapes.resolutions)}"
        fitting.unsupported("size", f"{job.name} cannot make size {asked}", instead=f"{used} was used", legal=legal)
    return replace(job, size=None, aspect_ratio=ratio, resolution=label or None)


def _nearest_area(area: int, shapes: Shapes) -> tuple[str, bool]:
    """(the label nearest to an area, whether that is near enough to be called the same)."""
    areas = shapes.resolutions or {"": 1024 * 1024}
    label = min(areas, key=lambda known: abs(math.log(areas[known] / area)))
    return label, abs(math.log(areas[label] / area)) <= shapes.tolerance


def _numbered(shapes: Shapes) -> list[str]:
    return [ratio for ratio in shapes.ratios if ratio != "auto"]


def _nearest_ratio(fitting: Fitting, asked: str, shapes: Shapes) -> str | None:
    if asked.lower() == "auto":
        return "auto" if "auto" in shapes.ratios else None
    if asked in shapes.ratios:
        return asked
    shape = _ratio(asked)
    nearest_one = min(_numbered(shapes), key=lambda known: abs(math.log(_ratio(known) / shape)), default=None)
    if nearest_one is None or abs(math.log(_ratio(nearest_one) / shape)) > 0.001:  # "2:4" is another word for "1:2"
        instead = f"{nearest_one} was used" if nearest_one else "it was left out"
        legal = f"it takes {', '.join(shapes.ratios)}" if nearest_one else "leave it out"
        what = f"{fitting.name} cannot make aspect ratio {asked[:40]}"
        fitting.unsupported("aspect_ratio", what, instead=instead, legal=legal)
    return nearest_one


def _nearest_resolution(fitting: Fitting, asked: str, shapes: Shapes, param: str) -> str | None:
    for label in shapes.resolutions:
        if label.lower() == asked.lower():
            return label
    number = re.fullmatch(r"([0-9]{1,4}(?:\.[0-9])?)([kK]?)", asked)
    if number is None or not float(number[1]):
        legal = ", ".join(shapes.resolutions) or "1K"
        raise ClientError(f"{asked[:40]!r} is no {param}; known are {legal}", param=param, code="invalid_value")
    side = float(number[1]) * (1024 if number[2] else 1)
    near = min(shapes.resolutions, key=lambda known: abs(math.log(shapes.resolutions[known] / side**2)), default=None)
    if near is None and side == 1024:
        return None  # a model without the parameter makes about that
    instead = f"{near} was used" if near else "it was left out"
    legal = f"it takes {', '.join(shapes.resolutions)}" if near else "leave it out"
    fitting.unsupported(param, f"{fitting.name} cannot make {param} {asked}", instead=instead, legal=legal)
    return near


def _mapped(fitting: Fitting, asked: str, sizes: Sizes, param: str) -> str:
    chosen = nearest(asked, sizes, param) if param == "size" else _label(asked, sizes, param)
    if chosen.lower() != asked.lower().replace("*", "x"):
        legal = f"the nearest legal {param} is {chosen}"
        what = f"{fitting.name} cannot make {param} {asked}"
        fitting.unsupported(param, what, instead=f"{chosen or 'its default'} was used", legal=legal)
    return chosen


def _agree(fitting: Fitting, job: Job, pixels: tuple[int, int] | None, asked: str) -> None:
    """A size says all there is to say; what contradicts it is named."""
    if job.aspect_ratio is not None and job.aspect_ratio.lower() != "auto":
        shape = pixels[0] / pixels[1] if pixels else 0.0
        if not shape or abs(math.log(shape / _ratio(job.aspect_ratio))) > 0.02:
            _contradicts(fitting, "aspect_ratio", job.aspect_ratio, f"size is {asked}")
    if job.resolution is not None and job.resolution.lower() != asked.lower():
        _contradicts(fitting, "resolution", job.resolution, f"size is {asked}")


def _contradicts(fitting: Fitting, param: str, value: str, other: str) -> None:
    what = f"{param} {value[:40]} contradicts what else was asked: {other}"
    fitting.unsupported(param, what, instead="it was left out", legal="send one of the two")


def _from_ratio(fitting: Fitting, job: Job, sizes: Sizes, label: str) -> str:
    if job.resolution is not None:
        label = _mapped(fitting, job.resolution, sizes, "resolution")
    if job.aspect_ratio is None or job.aspect_ratio.lower() == "auto":
        return label
    asked = _ratio(job.aspect_ratio)
    ratio = min(max(asked, 1 / sizes.ratio), sizes.ratio)
    if ratio != asked:
        most = f"{sizes.ratio:g}:1"
        what = f"{job.name} cannot make aspect ratio {job.aspect_ratio[:40]}"
        fitting.unsupported("aspect_ratio", what, instead=f"{most} or its inverse was used", legal=f"at most {most}")
    if (preset := _preset(label, ratio, sizes)) is not None:
        return nearest(preset, sizes)
    if not sizes.custom:
        what = f"{job.name} cannot be told an aspect ratio"
        fitting.unsupported("aspect_ratio", what, instead=f"{label or 'its default'} was used", legal="leave it out")
        return label
    side = math.sqrt(_area(label, sizes))
    return _legal(side * math.sqrt(ratio), side / math.sqrt(ratio), sizes)


def _in_pixels(fitting: Fitting, job: Job, sizes: Sizes) -> str:
    """The size for a ratio and a resolution, of a model that knows no labels; how it differs from them is named."""
    if job.size is not None and job.resolution is not None and job.size.lower() != job.resolution.lower():
        _contradicts(fitting, "resolution", job.resolution, f"size is {job.size}")
    asked = job.size or job.resolution  # what is neither pixels nor a ratio says how large
    param = "size" if job.size else "resolution"
    area = (_kilo(asked, sizes, param) * 1024) ** 2 if asked else _area(sizes.default or "", sizes)
    ratio = _ratio(job.aspect_ratio) if job.aspect_ratio is not None and job.aspect_ratio.lower() != "auto" else None
    if asked is None and ratio is None:
        return sizes.default or ""
    preset = _preset((asked or sizes.default or "").upper(), ratio or 1.0, sizes)
    chosen = preset or _of_shape(ratio or 1.0, area, sizes)
    legal = f"it takes {_known(sizes)}"
    if ratio is not None and abs(math.log(_shape(chosen) / ratio)) > _UNLIKE:
        what = f"{fitting.name} cannot make aspect ratio {str(job.aspect_ratio)[:40]}"
        fitting.unsupported("aspect_ratio", what, instead=f"{chosen} was used", legal=legal)
    if asked is not None and preset is None and abs(math.log(_area(chosen, sizes) / area)) > _AS_LARGE:
        fitting.unsupported(param, f"{fitting.name} cannot make {param} {asked}", instead=f"{chosen} was used", legal=legal)
    return chosen


def _of_shape(ratio: float, area: float, sizes: Sizes) -> str:
    """The size nearest to a shape and, of those, to an area."""
    if sizes.custom:
        return _legal(math.sqrt(area * ratio), math.sqrt(area / ratio), sizes)

    def distance(size: str) -> tuple[float, float]:
        return round(abs(math.log(_shape(size) / ratio)), 3), abs(math.log(_area(size, sizes) / area))

    return min(filter(_pixels, sizes.labels), key=distance, default=sizes.default or (sizes.labels or ("",))[0])


def _preset(label: str, ratio: float, sizes: Sizes) -> str | None:
    """The size that the vendor recommends."""
    near = min(sizes.presets.get(label, ()), key=lambda size: abs(math.log(_shape(size) / ratio)), default=None)
    return near if near is not None and abs(math.log(_shape(near) / ratio)) < 0.02 else None


def _area(label: str, sizes: Sizes) -> float:
    width, height = _pixels(label) or (0, 0)
    if width:
        return width * height
    if label[:-1].replace(".", "", 1).isdigit():  # "1.5K"
        return float(label[:-1]) ** 2 * 1024 * 1024
    return min(max(1024.0 * 1024.0, sizes.area[0]), sizes.area[1])


def _ratio(text: str) -> float:
    match = _RATIO.fullmatch(text.strip())
    if match is None or not float(match[1]) or not float(match[2]):
        what = f"{text[:40]!r} is no aspect ratio; write one like '16:9'"
        raise ClientError(what, param="aspect_ratio", code="invalid_value")
    return _quotient(match)


def _quotient(match: re.Match[str]) -> float:
    return min(max(float(match[1]) / float(match[2]), 1 / _EXTREME), _EXTREME)


def ratio_of(text: str) -> float | None:
    """Width over height of "1024x768" or "4:3"; None for what is neither."""
    match = _PIXELS.fullmatch(text) or _RATIO.fullmatch(text)
    return _quotient(match) if match and float(match[1]) and float(match[2]) else None


def _pixels(text: str) -> tuple[int, int] | None:
    match = _PIXELS.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


def _shape(size: str) -> float:
    width, height = _pixels(size) or (1, 1)
    return width / height


def nearest(asked: str, sizes: Sizes, param: str = "size") -> str:
    """`asked` if it is legal, else the nearest legal size of the same shape. Raises ClientError for what is no size."""
    pixels = _pixels(asked)
    if pixels is not None:
        exact = f"{pixels[0]}x{pixels[1]}"
        if exact in sizes.presets.get("", ()) or (_ok(*pixels, sizes) and sizes.custom):
            return exact
        return _legal(*pixels, sizes) if sizes.custom else _of_shape(pixels[0] / pixels[1], pixels[0] * pixels[1], sizes)
    return _label(asked, sizes, param)


def _label(asked: str, sizes: Sizes, param: str) -> str:
    for label in sizes.labels:
        if label.lower() == asked.lower():
            return label
    asked_for = _kilo(asked, sizes, param)
    if not sizes.labels and sizes.custom:
        return _of_shape(1.0, (asked_for * 1024) ** 2, sizes)
    numbered = [label for label in sizes.labels if re.fullmatch(r"[0-9.]+K", label)]
    if not numbered:
        return sizes.default or ""
    return min(numbered, key=lambda label: abs(float(label[:-1]) - asked_for))


def _kilo(asked: str, sizes: Sizes, param: str) -> float:
    """1.5 of "1.5K". Raises ClientError for what is no such label."""
    number = re.fullmatch(r"([0-9](?:\.[0-9])?)[kK]", asked)
    if number is None or not float(number[1]):
        raise ClientError(f"{asked[:40]!r} is no {param}; known are {_known(sizes)}", param=param, code="invalid_value")
    return float(number[1])


def _known(sizes: Sizes) -> str:
    return ", ".join([*sizes.labels, *(["WIDTHxHEIGHT"] if sizes.custom else [])])


def _legal(width: float, height: float, sizes: Sizes) -> str:
    ratio = min(max(width / height, 1 / sizes.ratio), sizes.ratio)
    area = min(max(width * height, sizes.area[0]), sizes.area[1])
    shorter, longer = math.sqrt(area * min(ratio, 1 / ratio)), math.sqrt(area * max(ratio, 1 / ratio))
    area *= min(max(1.0, sizes.side[0] / shorter), sizes.side[1] / longer) ** 2 if shorter < sizes.side[0] else 1.0
    area *= min(1.0, sizes.side[1] / longer) ** 2
    # Rounding to whole steps may fall just outside: of the four ways to round, the nearest legal one is meant.
    candidates = []
    for scale in (1.0, *(1 + sign * step / 400 for step in range(1, 24) for sign in (1, -1))):
        wide, high = math.sqrt(area * ratio) * scale, math.sqrt(area / ratio) * scale
        for up_w, up_h in ((math.floor, math.floor), (math.ceil, math.ceil), (math.floor, math.ceil), (math.ceil, math.floor)):
            candidates.append((_side(wide, up_w, sizes), _side(high, up_h, sizes)))
    legal = [(w, h) for w, h in candidates if _ok(w, h, sizes)]
    if not legal:
        return sizes.default or ""
    w, h = min(legal, key=lambda wh: 2 * abs(math.log(wh[0] / wh[1] / ratio)) + abs(math.log(wh[0] * wh[1] / area)))
    return f"{w}x{h}"


def _side(length: float, rounded: Callable[[float], int], sizes: Sizes) -> int:
    steps = rounded(length / sizes.step + (-1e-9 if rounded is math.ceil else 1e-9))
    return min(max(steps * sizes.step, sizes.side[0]), sizes.side[1])


def _ok(width: int, height: int, sizes: Sizes) -> bool:
    return (
        sizes.area[0] <= width * height <= sizes.area[1]
        and sizes.side[0] <= min(width, height)
        and max(width, height) <= sizes.side[1]
        and max(width, height) <= sizes.ratio * min(width, height)
        and width % sizes.step == 0
        and height % sizes.step == 0
    )
