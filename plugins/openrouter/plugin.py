"""The provider: one chat completion that is asked for pictures (contracts: openrouter.md section A)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from yarl import URL

from plugins.image_edit import (
    Call,
    CallError,
    Failed,
    HostedImage,
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

from .errors import check, refused
from .models import MODELS


@dataclass(frozen=True, kw_only=True)
class OpenRouter:
    """Image models of many vendors, by OpenRouter."""

    api_key: Secret
    """The key of your account."""
    base_url: URL = URL("https://openrouter.ai/api/v1")
    """Where the API is."""
    site_url: str = ""
    """Your application's address, by which OpenRouter ranks it. Nothing is told if it is left out."""
    site_name: str = ""
    """Your application's name, likewise."""

    name = "openrouter"
    models = MODELS
    batch = 1  # a chat has no `n` for pictures
    takes_links = True

    def __post_init__(self) -> None:
        check_base_url(self.base_url)
        for key in ("site_url", "site_name"):
            if not all(" " <= c <= "~" for c in getattr(self, key)):
                raise ValueError(f"{key}: goes into a header, and must be printable ASCII")

    @property
    def origins(self) -> list[URL]:
        return [self.base_url]

    @hookimpl
    def image_edit_providers(self) -> Iterable[Provider]:
        return [self]

    def edit(self, job: Job) -> Steps:
        pictures = [{"type": "image_url", "image_url": {"url": reference.url}} for reference in job.references]
        content: Any = [{"type": "text", "text": job.prompt}, *pictures] if pictures else job.prompt
        shape = {"aspect_ratio": job.aspect_ratio, "image_size": job.resolution}
        config = {name: value for name, value in shape.items() if value is not None}
        try:
            reply = yield Call(
                method="POST",
                url=self.base_url / "chat/completions",
                headers=self._headers(),
                json={
                    "model": job.model,
                    "messages": [{"role": "user", "content": content}],
                    "modalities": self.models[job.like].modalities,
                    **({"image_config": config} if config else {}),
                },
            )
        except CallError as error:
            raise refused(error.reply, self.name) from None
        check(reply, self.name)
        request_id = request_id_of(reply) or _generation(reply)
        yield Note(model=reply.json.get("model"), usage=_usage(reply), cost=_cost(reply), request_id=request_id)
        for item in reply.json["choices"][0]["message"]["images"]:
            yield self._output(item)

    def _output(self, item: Any) -> Image | HostedImage | Failed:
        """One picture; a broken one costs no other."""
        try:
            url: str = item["image_url"]["url"]
            return Image.from_base64(url.partition(",")[2]) if url[:5].lower() == "data:" else HostedImage(url)
        except (LookupError, TypeError, ValueError) as error:
            return Failed(InvalidReply(f"{self.name} answered with a picture that is not understood: {error}"))

    def _headers(self) -> dict[str, str]:
        site = {"HTTP-Referer": self.site_url, "X-Title": self.site_name}
        return {**self.api_key.bearer(), **{name: value for name, value in site.items() if value}}


def _generation(reply: Reply) -> str | None:
    """What OpenRouter's own look-up of a generation wants."""
    told = reply.json.get("id")
    return told if isinstance(told, str) else None


def _cost(reply: Reply) -> dict[str, object] | None:
    """`usage.cost`, in US dollars."""
    usage = reply.json.get("usage")
    cost = usage.get("cost") if isinstance(usage, dict) else None
    return {"amount": f"{Decimal(str(cost)):f}", "currency": "USD"} if isinstance(cost, (int, float)) else None


def _usage(reply: Reply) -> dict[str, object] | None:
    usage = reply.json.get("usage")
    if not isinstance(usage, dict) or not isinstance(usage.get("completion_tokens"), int):
        return None
    given, made = usage.get("prompt_tokens"), usage["completion_tokens"]
    given = given if isinstance(given, int) else 0
    total = usage.get("total_tokens")
    return {"input_tokens": given, "output_tokens": made, "total_tokens": total if isinstance(total, int) else given + made}
