"""Edits and makes real pictures from a plain English prompt: all that the sandbox provider does to pixels."""

from collections.abc import Sequence

from PIL import Image

from .captions import caption
from .collage import single
from .files import ENCODERS, MAX_SIDE, decode, fitted, free_area, shrunk
from .prompt import Plan, understand
from .scenes import scene

__all__ = ["UnreadableImage", "edit"]


_MAX_SIZE = 8192  # what may be asked for
_MAX_WORK = 80_000_000  # pixels, summed over the steps
_DEFAULT_SIZE = (1024, 1024)


class UnreadableImage(ValueError):
    """A reference that is no image, is cut, or is too large to decode; `index` says which one, from 0."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.index = index
        self.reason = reason

    def __str__(self) -> str:
        return f"image {self.index + 1} {self.reason}"


def edit(
    prompt: str,
    images: Sequence[bytes],
    *,
    size: tuple[int, int] | None = None,
    output_format: str = "png",
    seed: int = 0,
    mask: bytes | None = None,
) -> bytes:
    """The encoded picture that `prompt` asks for: drawn from nothing, or made of the encoded `images`.

    Every request in the prompt that is understood is carried out, in the order of the text. When some of it is not,
    the whole prompt is written onto the picture too. `mask` is a PNG whose fully transparent pixels may change.
    The same arguments give the same bytes.
    """
    if output_format not in ENCODERS:
        raise ValueError(f"output_format must be one of {', '.join(ENCODERS)}, not {output_format[:40]!r}")
    if size is not None and not all(1 <= side <= _MAX_SIZE for side in size):
        raise ValueError(f"size must have sides from 1 to {_MAX_SIZE} pixels, not {size[0]}x{size[1]}")
    if mask is not None and not images:
        raise ValueError("a mask needs an image that it belongs to")
    plan = understand(prompt, references=len(images), seed=seed)
    if not images:
        picture = _carry_out(plan, scene(prompt, size or _DEFAULT_SIZE, seed), size)
    elif mask is not None:
        picture = fitted(_edit_masked(plan, images, mask), size)
    else:
        pictures = [shrunk(_reference(images, index), len(images)) for index in range(len(images))]
        picture = _carry_out(plan, plan.compose(pictures), size)
    return ENCODERS[output_format](picture)


def _edit_masked(plan: Plan, images: Sequence[bytes], mask: bytes) -> Image.Image:
    """Work within the box around what the mask lets change, so that a hat lands there and not under the mask."""
    first = _reference(images, 0)
    free = free_area(mask, first.size)
    first = shrunk(first)
    free = free.resize(first.size, Image.Resampling.NEAREST)
    others = [shrunk(_reference(images, index), len(images)) for index in range(1, len(images))]
    box = free.getbbox()
    if box is None:
        return first
    area = (box[2] - box[0], box[3] - box[1])
    compose = plan.compose if len(others) > 1 else single
    patch = fitted(compose(others), area) if others else first.crop(box)
    first.paste(_carry_out(plan, patch, area), box, free.crop(box))
    return first


def _carry_out(plan: Plan, picture: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    worked = 0
    for step, request in plan.steps:
        worked += picture.width * picture.height
        if worked > _MAX_WORK:  # a long list on a large picture goes on with a smaller one
            picture.thumbnail((MAX_SIDE // 4, MAX_SIDE // 4), Image.Resampling.LANCZOS)
        picture = shrunk(step(picture, request))
    return caption(fitted(picture, size), plan.note)


def _reference(images: Sequence[bytes], index: int) -> Image.Image:
    try:
        return decode(images[index])
    except ValueError as error:
        raise UnreadableImage(index, str(error)) from error
