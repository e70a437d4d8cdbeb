"""The provider: one JSON call, to `images/generations` without a picture and to `images/edits` with one (contracts: xai.md)."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from yarl import URL

from plugins.image_edit import (
    Call,
    CallError,
    Ended,
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
    Submitted,
    check_base_url,
    check_poll_every,
    hookimpl,
    poll,
    request_id_of,
)

from .errors import refused, withheld
from .models import MODELS

_TICKS = 10**10  # of a US dollar


@dataclass(frozen=True, kw_only=True)
class XAI:
    """Grok Imagine, by xAI."""

    api_key: Secret
    """The key of your team."""
    base_url: URL = URL("https://api.x.ai/v1")
    """Where the API is."""
    deferred: bool = False
    """Whether pictures are made as jobs that are asked for, in place of calls that stay open until they are done."""
    poll_every: float = 1.0
    """Seconds before a deferred job is asked for first; then a little longer each time, up to five times as long."""

    name = "xai"
    models = MODELS
    batch = 10
    takes_links = True

    def __post_init__(self) -> None:
        check_base_url(self.base_url)
        check_poll_every(self.poll_every)

    @property
    def origins(self) -> list[URL]:
        return [self.base_url]

    @hookimpl
    def image_edit_providers(self) -> Iterable[Provider]:
        return [self]

    def edit(self, job: Job) -> Steps:
        payload: dict[str, Any] = {
            "model": job.model,
            "prompt": job.prompt,
            "n": job.n if job.n > 1 else None,
            "aspect_ratio": job.aspect_ratio,
            "resolution": job.resolution,
            "quality": job.quality,
            "response_format": "b64_json",  # its links are gone soon
            "deferred": True if self.deferred else None,
        }
        # `generations` takes no picture: it would ignore one, make another, and charge that.
        pictures = [{"url": reference.url, "type": "image_url"} for reference in job.references]
        if pictures:
            payload |= {"image": pictures[0]} if len(pictures) == 1 else {"images": pictures}  # never both
        try:
            reply = yield Call(
                method="POST",
                url=self.base_url / "images" / ("edits" if pictures else "generations"),
                headers=self.api_key.bearer(),
                json={name: value for name, value in payload.items() if value is not None},
            )
        except CallError as error:
            raise refused(error.reply, self.name) from None
        if self.deferred:
            reply = yield from self._done(reply.json["request_id"])
        yield Note(model=reply.json.get("model"), cost=_cost(reply), request_id=request_id_of(reply))
        for place, item in enumerate(reply.json["data"]):
            yield self._output(item, place, reply)

    def _done(self, id_: str) -> Generator[Call | Submitted | Ended, Reply, Reply]:
        """The last answer of a deferred job: what an ordinary call would have been answered with."""
        yield Submitted(id_)
        asked = Call(method="GET", url=self.base_url / "images" / id_, headers=self.api_key.bearer())
        reply = yield from poll(asked, _pending, first=self.poll_every, factor=1.3, most=5 * self.poll_every)
        yield Ended()
        return reply

    def _output(self, item: object, place: int, reply: Reply) -> Image | HostedImage | Failed:
        """One picture of an answer with status 200: one that was withheld, or is broken, costs no other."""
        told = item if isinstance(item, Mapping) else {}
        if told.get("respect_moderation") is False:
            return Failed(withheld(reply, self.name), place)
        encoded, link = told.get("b64_json"), told.get("url")
        if isinstance(encoded, str) and encoded:
            return Image.from_base64(encoded)
        if isinstance(link, str) and link:
            return HostedImage(link)
        return Failed(InvalidReply(f"{self.name} answered without a picture"), place)


def _pending(reply: Reply) -> bool:
    """How a job says that it still runs is not told: by 202, or by an answer without pictures (contracts: xai.md)."""
    if reply.status == 202 or not reply.body:
        return True
    return "data" not in reply.json and str(reply.json.get("status")).lower() in ("pending", "queued", "running", "in_progress")


def _cost(reply: Reply) -> dict[str, object] | None:
    usage = reply.json.get("usage")
    ticks = str(usage.get("cost_in_usd_ticks")) if isinstance(usage, Mapping) else ""
    if not (ticks.isascii() and ticks.isdigit()):  # a number, or the text that a 64-bit number may be in JSON
        return None
    return {"amount": f"{(Decimal(ticks) / _TICKS).normalize():f}", "currency": "USD"}
