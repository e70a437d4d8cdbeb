"""A job made to fit its model: what the model cannot take is left out or mapped to the nearest it can, and named."""

from __future__ import annotations

import re
from collections.abc import Collection, Container
from dataclasses import replace
from typing import Any

from proxy_core import ClientError

from .changes import Fitting
from .model import Job
from .rules import Decimals, Rules
from .sizing import fit_size

VOCABULARY = ("aspect_ratio", "resolution", "quality", "output_format", "background", "seed")
_MOST = 10  # pictures a client may ask for at once, as at OpenAI


def fit(job: Job, rules: Rules, *, reject: bool) -> tuple[Job, list[str]]:
    """The job as the model can take it, and a sentence for each change.

    With `reject`, a change is a ClientError (400) that names the parameter and what is legal instead. A mask, or a missing
    reference, that cannot be honoured is one always.
    """
    fitting = Fitting(job, job.name, reject, [])
    if job.mask is not None and not rules.mask:
        raise ClientError(
            f"{job.name} cannot honour a mask; describe the region in the prompt, or choose a model that takes masks",
            param="mask",
            code="unsupported_parameter",
        )
    if job.mask is not None and not job.references:
        raise ClientError("a mask needs the picture that it covers; send one", param="image", code="missing_required_parameter")
    _fit_n(fitting)
    if job.partial_images and not rules.partial_images:
        what = f"{job.name} makes no partial images"
        fitting.unsupported("partial_images", what, instead="none are sent", legal="leave it out")
        fitting.job = replace(fitting.job, partial_images=0)
    _fit_references(fitting, rules)
    fit_size(fitting, rules)
    _fit_fields(fitting, rules)
    return fitting.job, fitting.warnings


def _fit_n(fitting: Fitting) -> None:
    n = fitting.job.n
    if n > _MOST:
        fitting.unsupported("n", f"n is {n}", instead=f"{_MOST} pictures were made", legal=f"at most {_MOST} are made at once")
        fitting.job = replace(fitting.job, n=_MOST)


def _fit_references(fitting: Fitting, rules: Rules) -> None:
    job, given = fitting.job, len(fitting.job.references)
    if rules.needs_reference and not given:
        raise ClientError(f"{job.name} edits pictures; send one", param="image", code="missing_required_parameter")
    if given <= rules.references:
        return
    # Never left out with a warning: a picture made without what it should be made of is paid for all the same.
    if rules.references == 0:
        what = f"{job.name} makes pictures from words alone; send no picture, or choose a model that edits"
        raise ClientError(what, param="image", code="unsupported_parameter")
    what = f"{job.name} takes {rules.references} reference(s), and {given} were sent; send at most {rules.references}"
    raise ClientError(what, param=f"image[{rules.references}]", code="too_many_images")


def _fit_fields(fitting: Fitting, rules: Rules) -> None:
    known = rules.fields | (rules.edit_fields if fitting.job.references else frozenset())
    taken: dict[str, Any] = {}
    for name in VOCABULARY:
        value = getattr(fitting.job, name)
        if value is None or (rules.shapes is not None and name in ("aspect_ratio", "resolution")):
            continue
        taken[name] = _taken(fitting, rules, known, name, value)
    extra = {name: _taken(fitting, rules, known, name, value) for name, value in fitting.job.extra.items()}
    extra = {name: value for name, value in extra.items() if value is not None}
    fitting.job = replace(fitting.job, extra=extra, **taken)


def _taken(fitting: Fitting, rules: Rules, known: frozenset[str], name: str, value: object) -> object:
    """`value` as the model takes it, or None."""
    if name not in known:
        if rules.others and name not in VOCABULARY:
            return value
        if _as_you_like(name, value):
            return None
        shown, where = name[:60], " without a picture to edit" if name in rules.edit_fields else ""
        what = f"{fitting.name} has no parameter {shown!r}{where}"
        legal = f"it takes {', '.join(sorted(known))}" if known else "it takes none but the prompt and references"
        fitting.unsupported(shown, what, instead="it was left out", legal=legal)
        return None
    values = rules.values.get(name)
    if values is None:
        return value
    value = _meant(value, values)
    if _among(value, values):
        return value
    if _as_you_like(name, value):
        return None
    if isinstance(values, range):
        words = [f"{values[0]} to {values[-1]}"]
    else:
        words = sorted(map(str, values)) if isinstance(values, Collection) else [str(values)]
    near = rules.nearest.get(name, {}).get(value) if isinstance(value, str) else None
    shown = repr(str(value)[:40]) if isinstance(value, (str, int, float)) else "of this kind"
    what = f"{fitting.name} cannot make {name} {shown}"
    instead = f"{near!r} was used" if near is not None else "it was left out"
    fitting.unsupported(name, what, instead=instead, legal=f"it may be {', '.join(words)}")
    return near


_DECIMALS = r"-?[0-9]{1,9}(\.[0-9]{1,9})?"
_SWITCHES = {"true": True, "false": False, "1": True, "0": False}


def _meant(value: object, values: Container[object]) -> object:
    """A number or a switch for its text, where the values are such: a multipart form has only text. And no 1 for a true."""
    if isinstance(values, range) and isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value, re.ASCII):
        return int(value)
    if isinstance(values, Decimals) and isinstance(value, str) and re.fullmatch(_DECIMALS, value, re.ASCII):
        return float(value)
    if isinstance(values, (tuple, frozenset)) and any(one is True for one in values) and isinstance(value, (str, int)):
        return _SWITCHES.get(str(value).lower(), value)
    return value


def _as_you_like(name: str, value: object) -> bool:
    """Whether a client only says that the choice is the service's, as OpenAI's words for it are: nothing is lost with that."""
    return value == "auto" and name in ("quality", "background")


def _among(value: object, values: Container[object]) -> bool:
    try:
        return value in values
    except (TypeError, RecursionError):  # it cannot be hashed, or is nested without end
        return False
