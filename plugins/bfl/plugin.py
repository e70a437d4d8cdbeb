"""The provider: a job is submitted, asked for where its answer says, and linked to when it is done (contracts: bfl.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from yarl import URL

from plugins.image_edit import (
    Call,
    CallError,
    Ended,
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
    may_call,
    poll,
)

from .errors import failed, refused
from .models import MODELS

_RUNNING = frozenset({"Pending", "Queued", "Processing", "Running"})


@dataclass(frozen=True, kw_only=True)
class BFL:
    """FLUX, by Black Forest Labs."""

    api_key: Secret
    """The key of your organization."""
    base_url: URL = URL("https://api.bfl.ai/v1")
    """Where jobs are submitted: everywhere, or in one region, `https://api.eu.bfl.ai/v1` or `https://api.us.bfl.ai/v1`."""
    poll_every: float = 0.5
    """Seconds before a job is asked for first; then a little longer each time, up to four times as long."""

    name = "bfl"
    models = MODELS
    batch = 1  # there is no `n`
    takes_links = True

    def __post_init__(self) -> None:
        check_base_url(self.base_url)
        check_poll_every(self.poll_every)

    @property
    def origins(self) -> list[URL]:
        """Jobs are asked for at hosts of the vendor's that differ from region to region; they are shown the key too."""
        vendors = (self.base_url.host or "").endswith(".bfl.ai") and self.base_url.scheme == "https"
        return [self.base_url, *([URL("https://bfl.ai"), URL("https://*.bfl.ai")] if vendors else [])]

    @hookimpl
    def image_edit_providers(self) -> Iterable[Provider]:
        return [self]

    def edit(self, job: Job) -> Steps:
        key = {"x-key": self.api_key.reveal()}
        try:
            submitted = yield Call(method="POST", url=self.base_url / job.model, headers=key, json=_payload(job))
        except CallError as error:
            raise refused(error.reply, self.name) from None
        id_: str = submitted.json["id"]
        yield Submitted(id_)
        yield Note(request_id=id_)
        asked = Call(method="GET", url=self._polling(submitted, id_), headers=key)
        reply = yield from poll(
            asked, lambda reply: _state(reply) in _RUNNING, first=self.poll_every, factor=1.2, most=4 * self.poll_every
        )
        yield Ended()
        # Told at the end: what a filter stops is not charged, whatever the submission announced.
        moderated = "Moderated" in _state(reply)
        yield Note(cost={"amount": "0", "currency": "USD"} if moderated else _cost(submitted))
        if _state(reply) != "Ready":
            raise failed(reply, _state(reply), id_, self.name)
        yield HostedImage(reply.json["result"]["sample"])

    def _polling(self, submitted: Reply, id_: str) -> URL:
        told = URL(submitted.json["polling_url"], encoded=True)
        if not may_call(told, self.origins):
            raise InvalidReply(f"{self.name} links to {told.host} for its job {id_}, which may not see the key")
        return told if "id" in told.query else told.extend_query(id=id_)


def _payload(job: Job) -> dict[str, object]:
    payload: dict[str, object] = {"prompt": job.prompt, **job.extra}
    if job.size is not None:
        width, _, height = job.size.partition("x")
        payload |= {"width": int(width), "height": int(height)}
    for place, reference in enumerate(job.references, 1):
        value = reference.base64 if isinstance(reference, Image) else reference.url  # base64 without the head of a data URL
        payload["input_image" if place == 1 else f"input_image_{place}"] = value
    told = {"aspect_ratio": job.aspect_ratio, "seed": job.seed, "output_format": job.output_format}
    return {**payload, **{name: value for name, value in told.items() if value is not None}}


def _state(reply: Reply) -> str:
    return str(reply.json.get("status") or reply.json.get("state") or "a state without a name")


def _cost(reply: Reply) -> dict[str, object] | None:
    """In credits, of a cent each."""
    credits = reply.json.get("cost")
    if not isinstance(credits, (int, float)) or isinstance(credits, bool):
        return None
    return {"amount": f"{Decimal(str(credits)) / 100:f}", "currency": "USD"}
