"""The pictures that a client gave, checked against what the model takes before any money is spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from proxy_core import ClientError

from .ask import Given
from .picture import Image
from .rules import Inputs, Rules


async def check_inputs(
    references: Sequence[Given], mask: Given | None, rules: Rules, model: str, *, max_pixels: int
) -> None:
    """Raises ClientError (400) that names the offending picture and what is legal. A link is for the service to judge."""
    for given in [*references, *([mask] if mask else [])]:
        if not isinstance(given.value, Image):
            continue
        try:
            await given.value.verify()
            given.value.bound(max_pixels)
        except ValueError as error:
            raise ClientError(f"{given.param}: {error}", param=given.param, code="invalid_image") from None
    judged = [(given, rules.inputs) for given in references] + ([(mask, rules.masks)] if mask else [])
    for given, inputs in judged:
        for fault in _faults(given.value, inputs) if isinstance(given.value, Image) else ():
            raise ClientError(f"{given.param} {fault} for {model}", param=given.param, code="invalid_image")
    if mask is not None and references:
        _same_size(references[0], mask)


def _faults(image: Image, inputs: Inputs) -> Iterator[str]:
    if inputs.formats and image.media_type not in inputs.formats:
        known = ", ".join(sorted(name.removeprefix("image/") for name in inputs.formats))
        yield f"is {image.media_type}; it must be {known}"
    if inputs.size and image.size > inputs.size:
        yield f"has {image.size} bytes; at most {inputs.size} are taken"
    if (pixels := image.pixels) is None:
        return
    width, height = pixels
    shown = f"has {width}x{height} pixels"
    low, high = inputs.side
    if min(pixels) < low:
        yield f"{shown}; each side must have at least {low}"
    if high and max(pixels) > high:
        yield f"{shown}; each side may have at most {high}"
    if inputs.area and width * height > inputs.area:
        yield f"{shown}; at most {inputs.area} in all are taken"
    if inputs.ratio and max(pixels) > inputs.ratio * min(pixels):
        yield f"{shown}; the longer side may be at most {inputs.ratio:g} times the shorter"


def _same_size(reference: Given, mask: Given) -> None:
    """A mask covers its picture pixel by pixel."""
    if isinstance(reference.value, Image) and isinstance(mask.value, Image):
        ours, theirs = reference.value.pixels, mask.value.pixels
        if ours and theirs and ours != theirs:
            has = f"the mask has {theirs[0]}x{theirs[1]} pixels, and {reference.param} {ours[0]}x{ours[1]}"
            raise ClientError(f"{has}; they must be the same", param=mask.param, code="invalid_image")
