"""The provider: one generateContent for each picture (contracts: google-gemini.md part A)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from yarl import URL

from plugins.image_edit import (
    Call,
    CallError,
    Image,
    InvalidReply,
    Job,
    Note,
    Provider,
    Reply,
    Secret,
    Steps,
    check_base_url,
    hookimpl,
    request_id_of,
)
from proxy_core import ClientError

from .errors import parts_of, refused, unmade
from .models import MODELS


@dataclass(frozen=True, kw_only=True)
class Gemini:
    """Gemini's image models, by Google."""

    api_key: Secret
    """A key of the Gemini API."""
    base_url: URL = URL("https://generativelanguage.googleapis.com/v1beta")
    """Where the API is: Google's own form of it, not the one with `/openai`."""
    inline_limit: int = 20_000_000
    """Bytes that the pictures of one request may come to in base64. Google says 20 MB of a request, and 100 in newer texts: if
    your requests are granted those, say so here."""

    name = "gemini"
    models = MODELS
    batch = 1  # an answer is one candidate: several pictures are several calls
    takes_links = False  # fileData is for Google's own files; that it fetches any link is not certain

    def __post_init__(self) -> None:
        check_base_url(self.base_url)
        if "openai" in self.base_url.parts:
            raise ValueError("base_url: must be Google's own API; leave out /openai, which makes no edits")
        if self.inline_limit < 1:
            raise ValueError("inline_limit: must be at least 1")

    @property
    def origins(self) -> list[URL]:
        return [self.base_url]

    @hookimpl
    def image_edit_providers(self) -> Iterable[Provider]:
        return [self]

    def edit(self, job: Job) -> Steps:
        self._check_size(job)
        try:
            reply = yield Call(
                method="POST",
                url=self.base_url.joinpath(f"models/{quote(job.model, safe='')}:generateContent", encoded=True),
                headers={"x-goog-api-key": self.api_key.reveal()},  # in a query it would stand in logs
                json={"contents": [{"role": "user", "parts": _parts(job)}], "generationConfig": _config(job)},
            )
        except CallError as error:
            raise refused(error.reply, self.name) from None
        reply = _named(reply)
        yield Note(model=reply.json.get("modelVersion"), usage=_usage(reply), request_id=request_id_of(reply))
        candidates = reply.json.get("candidates") or []
        if not candidates and not reply.json.get("promptFeedback"):
            raise InvalidReply(f"{self.name} answered without a picture")
        candidate = candidates[0] if candidates else {}
        pictures = [part["inlineData"]["data"] for part in parts_of(candidate) if part.get("inlineData")]
        if not pictures:
            raise unmade(reply, candidate, self.name)
        for text in pictures:
            yield Image.from_base64(text)

    def _check_size(self, job: Job) -> None:
        """Raises ClientError that names the picture with which the request becomes too long."""
        size = 0
        for place, image in enumerate(job.images):
            size += image.base64.size
            if size > self.inline_limit:
                what = f"image[{place}] brings the pictures to {size} bytes in base64, and {job.name} takes {self.inline_limit}"
                raise ClientError(f"{what} in one request; send smaller ones", param=f"image[{place}]", code="invalid_image")


def _parts(job: Job) -> list[dict[str, Any]]:
    """The words first, as in the contract's example; then the pictures in order, so that "the first" is the first."""
    pictures = [{"inlineData": {"mimeType": image.media_type, "data": image.base64}} for image in job.images]
    return [{"text": job.prompt}, *pictures]


def _config(job: Job) -> dict[str, Any]:
    """Text is asked for too: it is these models' default, and what they say where they draw nothing."""
    config: dict[str, Any] = {"responseModalities": ["TEXT", "IMAGE"]}
    shape = {"aspectRatio": job.aspect_ratio, "imageSize": job.resolution}
    if any(shape.values()):
        config["imageConfig"] = {name: value for name, value in shape.items() if value is not None}
    if job.seed is not None:
        config["seed"] = job.seed
    return config


def _named(reply: Reply) -> Reply:
    """With the request's id among the headers: Gemini tells it in the body."""
    told = reply.json.get("responseId")
    return replace(reply, headers={"x-goog-request-id": told, **reply.headers}) if isinstance(told, str) else reply


def _usage(reply: Reply) -> dict[str, object] | None:
    told = reply.json.get("usageMetadata")
    if not isinstance(told, dict) or not isinstance(told.get("totalTokenCount"), int):
        return None
    given, made = _count(told, "promptTokenCount"), _count(told, "candidatesTokenCount") + _count(told, "thoughtsTokenCount")
    usage: dict[str, object] = {"input_tokens": given, "output_tokens": made, "total_tokens": told["totalTokenCount"]}
    for name, tokens, details in (("input", given, "promptTokensDetails"), ("output", made, "candidatesTokensDetails")):
        if isinstance(told.get(details), list):
            images = sum(_count(one, "tokenCount") for one in told[details] if one.get("modality") == "IMAGE")
            usage[f"{name}_tokens_details"] = {"text_tokens": tokens - images, "image_tokens": images}
    return usage


def _count(told: Mapping[str, Any], name: str) -> int:
    value = told.get(name)
    return value if isinstance(value, int) else 0
