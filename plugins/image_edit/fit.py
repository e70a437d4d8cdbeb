"""A job made to fit its model: what the model cannot take is left out or mapped to the nearest it can, and named."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from typing import Any, cast

from proxy_core import ClientError

from .model import Job, Rules, Sizes

VOCABULARY = ("aspect_ratio", "resolution", "quality", "output_format", "background", "seed")
_MOST_WARNINGS = 64  # warnings are signed, and stand in the answer and a header
_MOST = 10  # pictures a client may ask for at once, as at OpenAI

_PIXELS = re.compile(r"([1-9][0-9]{0,4})[xX*]([1-9][0-9]{0,4})")
_RATIO = re.compile(r"([0-9]{1,4}(?:\.[0-9]+)?):([0-9]{1,4}(?:\.[0-9]+)?)")


@dataclass
class _Fitting:
    job: Job
    name: str
    reject: bool
    warnings: list[str]

    def unsupported(self, param: str, what: str, *, instead: str, legal: str) -> None:
        """`what` was asked and cannot be had. Raises ClientError where the operator wants that, else keeps a warning."""
        if self.reject:
            raise ClientError(f"{what}; {legal}", param=param, code="unsupported_parameter")
        if len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(f"{what}; {instead}")


def fit(job: Job, rules: Rules, *, reject: bool) -> tuple[Job, list[str]]:
    """The job as the model can take it, and a sentence for each change.

    With `reject`, a change is a ClientError (400) that names the parameter and what is legal instead. A mask, or a missing
    reference, that cannot be honoured is one always.
    """
    fitting = _Fitting(job, job.name, reject, [])
    if job.mask is not None and not rules.mask:
        raise ClientError(
            f"{job.name} cannot honour a mask; describe the region in the prompt, or choose a model that takes masks",
            param="mask",
            code="unsupported_parameter",
        )
    _fit_n(fitting)
    _fit_references(fitting, rules)
    _fit_size(fitting, rules)
    _fit_fields(fitting, rules)
    return fitting.job, fitting.warnings


def _fit_n(fitting: _Fitting) -> None:
    n = fitting.job.n
    if n > _MOST:
        fitting.unsupported("n", f"n is {n}", instead=f"{_MOST} pictures were made", legal=f"at most {_MOST} are made at once")
        fitting.job = replace(fitting.job, n=_MOST)


def _fit_references(fitting: _Fitting, rules: Rules) -> None:
    job, given = fitting.job, len(fitting.job.references)
    if rules.needs_reference and not given:
        raise ClientError(f"{job.name} edits pictures; send one", param="image", code="missing_required_parameter")
    if given <= rules.references:
        return
    if rules.references == 0:
        what, instead = f"{job.name} makes pictures from words alone", f"the {given} reference(s) sent were left out"
        legal = "send no reference, or choose a model that edits"
    else:
        what = f"{job.name} takes {rules.references} reference(s), and {given} were sent"
        instead = f"only the first {rules.references} were used"
        legal = f"send at most {rules.references}"
    fitting.unsupported("image", what, instead=instead, legal=legal)
    fitting.job = replace(fitting.job, references=job.references[: rules.references])


def _fit_fields(fitting: _Fitting, rules: Rules) -> None:
    legal = f"it takes {', '.join(sorted(rules.fields))}" if rules.fields else "it takes none but the prompt and references"
    gone: dict[str, Any] = {}
    for name in VOCABULARY:
        value = getattr(fitting.job, name)
        if value is not None and not _takes(fitting, rules, name, value, legal):
            gone[name] = None
    extra = {name: value for name, value in fitting.job.extra.items() if _takes(fitting, rules, name, value, legal)}
    fitting.job = replace(fitting.job, extra=extra, **gone)


def _takes(fitting: _Fitting, rules: Rules, name: str, value: object, legal: str) -> bool:
    if name not in rules.fields:
        shown = name[:60]
        fitting.unsupported(shown, f"{fitting.name} has no parameter {shown!r}", instead="it was left out", legal=legal)
        return False
    values = rules.values.get(name)
    if values is None or _among(value, values):
        return True
    words = [f"{values[0]} to {values[-1]}"] if isinstance(values, range) else sorted(map(str, cast("set[object]", values)))
    known = ", ".join(words)
    shown = repr(str(value)[:40]) if isinstance(value, (str, int, float)) else "of this kind"
    what = f"{fitting.name} cannot make {name} {shown}"
    fitting.unsupported(name, what, instead="it was left out", legal=f"it may be {known}")
    return False


def _among(value: object, values: Container[object]) -> bool:
    try:
        return value in values
    except (TypeError, RecursionError):  # it cannot be hashed, or is nested without end
        return False


def _fit_size(fitting: _Fitting, rules: Rules) -> None:
    """Turn size, aspect_ratio and resolution into the one `size` of a model whose rules have Sizes."""
    job, sizes = fitting.job, rules.sizes
    if job.size is not None and job.size.lower() == "auto":
        job = replace(job, size=None)
    if sizes is None:
        if job.size is not None and "size" not in rules.fields:
            legal = "leave it out"
            fitting.unsupported("size", f"{job.name} has no parameter 'size'", instead="it was left out", legal=legal)
            job = replace(job, size=None)
        fitting.job = job
        return
    asked = job.size
    if asked is not None and _RATIO.fullmatch(asked):  # some clients send a ratio as size; services answer that with 400
        if job.aspect_ratio not in (None, asked):
            _contradicts(fitting, "size", asked, f"aspect_ratio is {job.aspect_ratio}")
        job = replace(job, aspect_ratio=job.aspect_ratio or asked)
        asked = None
    pixels = _pixels(asked) if asked is not None else None
    if asked is not None and pixels is None and job.aspect_ratio is not None:
        label = _mapped(fitting, asked, sizes, "size")  # a label says how large, and the ratio of what shape
        if job.resolution is not None and job.resolution.lower() != label.lower():
            _contradicts(fitting, "resolution", job.resolution, f"size is {asked}")
        chosen = _from_ratio(fitting, replace(job, resolution=None), sizes, label)
    elif asked is not None:
        chosen = _mapped(fitting, asked, sizes, "size")
        _agree(fitting, job, pixels, asked)
    else:
        chosen = _from_ratio(fitting, job, sizes, sizes.default or "")
    fitting.job = replace(job, size=chosen or None, aspect_ratio=None, resolution=None)


def _mapped(fitting: _Fitting, asked: str, sizes: Sizes, param: str) -> str:
    chosen = nearest(asked, sizes, param) if param == "size" else _label(asked, sizes, param)
    if chosen.lower() != asked.lower().replace("*", "x"):
        legal = f"the nearest legal {param} is {chosen}"
        what = f"{fitting.name} cannot make {param} {asked}"
        fitting.unsupported(param, what, instead=f"{chosen or 'its default'} was used", legal=legal)
    return chosen


def _agree(fitting: _Fitting, job: Job, pixels: tuple[int, int] | None, asked: str) -> None:
    """A size says all there is to say; what contradicts it is named."""
    if job.aspect_ratio is not None and job.aspect_ratio.lower() != "auto":
        shape = pixels[0] / pixels[1] if pixels else 0.0
        if not shape or abs(math.log(shape / _ratio(job.aspect_ratio))) > 0.02:
            _contradicts(fitting, "aspect_ratio", job.aspect_ratio, f"size is {asked}")
    if job.resolution is not None and job.resolution.lower() != asked.lower():
        _contradicts(fitting, "resolution", job.resolution, f"size is {asked}")


def _contradicts(fitting: _Fitting, param: str, value: str, other: str) -> None:
    what = f"{param} {value[:40]} contradicts what else was asked: {other}"
    fitting.unsupported(param, what, instead="it was left out", legal="send one of the two")


def _from_ratio(fitting: _Fitting, job: Job, sizes: Sizes, label: str) -> str:
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
    preset = min(sizes.presets.get(label, ()), key=lambda size: abs(math.log(_shape(size) / ratio)), default=None)
    if preset is not None and abs(math.log(_shape(preset) / ratio)) < 0.02:
        return nearest(preset, sizes)
    if not sizes.custom:
        what = f"{job.name} cannot be told an aspect ratio"
        fitting.unsupported("aspect_ratio", what, instead=f"{label or 'its default'} was used", legal="leave it out")
        return label
    side = math.sqrt(_area(label, sizes))
    return _legal(side * math.sqrt(ratio), side / math.sqrt(ratio), sizes)


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
    return float(match[1]) / float(match[2])


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
        if _ok(*pixels, sizes) and sizes.custom:
            return f"{pixels[0]}x{pixels[1]}"
        return _legal(*pixels, sizes) if sizes.custom else (sizes.default or (sizes.labels or ("",))[0])
    return _label(asked, sizes, param)


def _label(asked: str, sizes: Sizes, param: str) -> str:
    for label in sizes.labels:
        if label.lower() == asked.lower():
            return label
    number = re.fullmatch(r"([0-9](?:\.[0-9])?)[kK]", asked)
    if number is None:
        legal = ", ".join([*sizes.labels, *(["WIDTHxHEIGHT"] if sizes.custom else [])])
        raise ClientError(f"{asked[:40]!r} is no {param}; known are {legal}", param=param, code="invalid_value")
    if not sizes.labels and sizes.custom:
        side = round(float(number[1]) * 1024)
        return nearest(f"{side}x{side}", sizes)
    numbered = [label for label in sizes.labels if re.fullmatch(r"[0-9.]+K", label)]
    if not numbered:
        return sizes.default or ""
    return min(numbered, key=lambda label: abs(float(label[:-1]) - float(number[1])))


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
