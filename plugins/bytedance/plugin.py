"""The provider: one JSON call to `images/generations`, whether it makes or edits (contracts: bytedance.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from yarl import URL

from plugins.image_edit import (
    Call,
    CallError,
    Failed,
    Failure,
    HostedImage,
    Image,
    InvalidReply,
    Job,
    Next,
    Note,
    Preview,
    Provider,
    Reply,
    Secret,
    Steps,
    check_base_url,
    hookimpl,
    request_id_of,
)

from .errors import item_refused, refused
from .models import MODELS


@dataclass(frozen=True, kw_only=True)
class ByteDance:
    """Seedream, by BytePlus and Volcengine."""

    api_key: Secret
    """The key of your account."""
    base_url: URL = URL("https://ark.ap-southeast.bytepluses.com/api/v3")
    """The region's. Europe and China have others, and in China model ids begin with `doubao-` (name them in
    `plugins.image_edit.models`)."""
    watermark: bool = False
    """Whether the vendor's watermark is asked for where the client does not say."""

    name = "bytedance"
    models = MODELS
    batch = 1  # there is no `n`: several pictures are several calls
    takes_links = True

    def __post_init__(self) -> None:
        check_base_url(self.base_url)

    @property
    def origins(self) -> list[URL]:
        return [self.base_url]

    @hookimpl
    def image_edit_providers(self) -> Iterable[Provider]:
        return [self]

    def edit(self, job: Job) -> Steps:
        rules = self.models[job.like]
        payload: dict[str, Any] = {
            "model": job.model,
            "prompt": job.prompt,
            "response_format": rules.answers,
            "watermark": self.watermark,  # the service's own default is a visible mark
            "size": job.size,
            "seed": job.seed,
            "output_format": job.output_format,
            **job.extra,
        }
        if rules.group:
            payload["sequential_image_generation"] = "disabled"
        if job.partial_images:
            payload["stream"] = True  # how many previews come, if any, is the service's affair
        if job.references:
            urls = [reference.url for reference in job.references]
            payload["image"] = urls[0] if len(urls) == 1 else urls
        try:
            reply = yield Call(
                method="POST",
                url=self.base_url / "images/generations",
                headers=self.api_key.bearer(),
                json={name: value for name, value in payload.items() if value is not None},
                events=job.partial_images > 0,
            )
        except CallError as error:
            raise refused(error.reply, self.name) from None
        if job.partial_images and not reply.body:
            yield from _streamed(reply)
            return
        yield Note(model=reply.json.get("model"), usage=_usage(reply), request_id=request_id_of(reply))
        for item in reply.json.get("data") or [reply.json]:
            yield _output(item)


def _streamed(opened: Reply) -> Steps:
    """Ark's own events: `partial_succeeded` is a finished picture, and `completed` has none (section 6)."""
    while not (reply := (yield Next())).ended:
        event = reply.json
        match event.get("type"):
            case "image_generation.partial_image":
                yield Preview(Image.from_base64(event["b64_json"]))
            case "image_generation.partial_succeeded" | "image_generation.partial_failed":
                yield _output(event)
            case "image_generation.completed":
                yield Note(model=event.get("model"), usage=_usage(reply), request_id=request_id_of(opened))
            case _ if "error" in event:
                raise refused(Reply(headers=opened.headers, body=reply.body), "bytedance", failure=Failure.UNKNOWN)


def _usage(reply: Reply) -> dict[str, object] | None:
    usage = reply.json.get("usage") or {}
    tokens = usage.get("output_tokens")
    if not isinstance(tokens, int):
        return None
    return {"input_tokens": 0, "output_tokens": tokens, "total_tokens": usage.get("total_tokens", tokens)}


def _output(item: Mapping[str, Any]) -> Image | HostedImage | Failed:
    """One picture of an answer with status 200, which may hold errors in pictures' places."""
    if item.get("b64_json"):
        return Image.from_base64(item["b64_json"])
    if item.get("url"):
        return HostedImage(item["url"])
    if item.get("error"):
        return Failed(item_refused(item, "bytedance"))
    raise InvalidReply("bytedance answered without a picture")

