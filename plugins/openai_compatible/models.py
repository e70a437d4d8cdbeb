"""How servers differ, as data: one set of keys, and a preset of it for each server that is known.

Sources: contracts, self-hosted.md and hosted-others.md, and the projects' own code where the contracts say nothing. An
operator's key always wins over the preset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from yarl import URL

Edits = Literal["multipart", "json", "none"]
Preset = Literal["openai", "vllm_omni", "sglang", "sd_cpp", "localai", "deepinfra"]


@dataclass(frozen=True, kw_only=True)
class Ways:
    """How a server is spoken to. What is left out is as the preset has it."""

    base_url: URL | None = None
    """Where it is, with its `/v1`. It may be a private address: links in its answers that lead back to it are followed."""
    edits: Edits | None = None
    """How edits are sent: as a multipart form, as JSON, or not at all."""
    edits_path: str | None = None
    """Where they are sent, below `base_url`."""
    image_field: str | None = None
    """The form's part for pictures (repeated for several), or JSON's key for the list of them."""
    image_form: Literal["object", "data_url", "base64"] | None = None
    """How a picture stands in JSON: `{"image_url": ...}`, a data: URL, or bare base64."""
    link_field: str | None = None
    """The form's part for links, or `image_field` in JSON; empty: the server is sent no links. One that has it fetches
    whatever link a client chose, from where it stands."""
    mask_field: str | None = None
    """The form's part, or JSON's key, for a mask; empty: a mask is answered with a 400."""
    mask_path: str | None = None
    """Where an edit with a mask is sent, if elsewhere: a form of model, prompt, `image` and mask, and nothing else."""
    references: int | None = None
    """Pictures that one edit may have."""
    batch: int | None = None
    """Pictures that one call can make (`n`); more are made by calls in parallel."""
    response_format: Literal["b64_json", "url", "none"] | None = None
    """What is asked for by that name; `none` does not send it. Answers are read whichever way they come."""
    size_default: str | None = None
    """`WIDTHxHEIGHT`, sent where the client asks for no size; empty leaves it to the server."""
    size_side: tuple[int, int] | None = None
    """Pixels that a side has at least and at most."""
    size_step: int | None = None
    """Sides are multiples of it."""
    fields: list[str] | None = None
    """Further fields that it takes: of `quality`, `output_format`, `background`, `seed`, and any others."""
    values: dict[str, list[str]] | None = None
    """What a field may be, where that is a few words: `{ output_format = ["png", "jpeg"] }`."""
    prompt_fields: list[str] | None = None
    """Fields that it reads from JSON in `<sd_cpp_extra_args>` within the prompt."""
    negative_separator: str | None = None
    """What stands between the prompt and a negative prompt, where the server takes both as one text."""
    others: bool | None = None
    """Whether fields that nobody named are passed on: it tolerates them."""


# Servers follow OpenAI's lead, and each its own way: sent is what all of them take (contracts: README, facts 1, 2, 3).
OPENAI = Ways(
    edits="multipart",
    edits_path="images/edits",
    image_field="image[]",
    image_form="object",
    link_field="",
    mask_field="mask",
    mask_path="",
    references=16,
    batch=10,
    response_format="none",  # a 400 at some, needed by others: read is what comes
    size_default="",
    size_side=(64, 4096),
    size_step=16,
    fields=["quality", "output_format", "output_compression", "background"],
    values={},
    prompt_fields=[],
    negative_separator="",
    others=False,
)
_DIFFUSION = ["seed", "negative_prompt", "num_inference_steps", "guidance_scale", "true_cfg_scale"]
_FORMATS = {"output_format": ["png", "jpeg", "webp"]}

PRESETS: Mapping[str, Ways] = {
    "openai": OPENAI,
    # `url` is a 422. A mask is `mask_image`, and in some pipelines only: it is the operator's to say.
    "vllm_omni": replace(
        OPENAI,
        mask_field="",
        response_format="b64_json",
        fields=[*_DIFFUSION, "layers", "lora", "output_format"],
        values=_FORMATS,
    ),
    # Without object storage, `url` is relative. A `mask` part is read, and not used.
    "sglang": replace(
        OPENAI, mask_field="", response_format="b64_json", fields=[*_DIFFUSION, "output_format"], values=_FORMATS
    ),
    # It reads no response_format, and edits know two formats only. Its mask is white where the picture may change.
    "sd_cpp": replace(
        OPENAI,
        fields=["output_format", "output_compression"],
        values={"output_format": ["png", "jpeg"]},
        prompt_fields=["seed", "negative_prompt", "sample_params", "strength"],
    ),
    # There is no edits path: references stand in JSON, where a data: URL is dropped without a word. Inpainting knows no `n`.
    "localai": replace(
        OPENAI,
        edits="json",
        edits_path="images/generations",
        image_field="ref_images",
        image_form="base64",
        mask_path="images/inpainting",
        batch=1,
        response_format="b64_json",
        fields=["step", "mode", "negative_prompt"],
        negative_separator="|",
    ),
    # Pictures only as `image`, without brackets. What else is known is the models' own.
    "deepinfra": replace(
        OPENAI,
        base_url=URL("https://api.deepinfra.com/v1/openai"),
        image_field="image",
        batch=1,
        response_format="b64_json",
        fields=[],
    ),
}
