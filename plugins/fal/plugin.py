"""The provider: a request is queued, asked for, and its response links to what it made (contracts: hosted-others.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from yarl import URL

from plugins.image_edit import (
    Call,
    CallError,
    Ended,
    Failed,
    HostedImage,
    Image,
    Job,
    Note,
    Provider,
    Secret,
    Steps,
    Submitted,
    check_base_url,
    check_poll_every,
    hookimpl,
    poll,
)

from .errors import blackened, refused
from .models import MODELS, Model

_RUNNING = frozenset({"IN_QUEUE", "IN_PROGRESS"})


@dataclass(frozen=True, kw_only=True)
class Fal:
    """Image models of many vendors, by fal."""

    api_key: Secret
    """A key of your account: `ID:SECRET`."""
    base_url: URL = URL("https://queue.fal.run")
    """Where the queue is."""
    poll_every: float = 0.5
    """Seconds before a request is asked for first; then a little longer each time, up to eight times as long."""

    name = "fal"
    models = MODELS
    batch = 4
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
        model = self.models[job.like]
        path = (model.edits if job.references else model.generates) if job.model == job.like else job.model
        headers = {"Authorization": f"Key {self.api_key.reveal()}"}
        try:
            submitted = yield Call(method="POST", url=self.base_url / path, headers=headers, json=_input(job, model))
        except CallError as error:
            raise refused(error.reply, self.name) from None
        id_: str = submitted.json["request_id"]
        # By the first two steps of the path, as the vendor's own client asks; the links in the answer could lead elsewhere.
        owner, alias = path.split("/")[:2]
        there = self.base_url / owner / alias / "requests" / id_
        yield Submitted(id_, cancel=Call(method="PUT", url=there / "cancel", headers=headers))
        yield Note(request_id=id_)
        asked = Call(method="GET", url=there / "status", headers=headers)
        try:
            yield from poll(
                asked,
                lambda reply: reply.json["status"] in _RUNNING,
                first=self.poll_every,
                factor=1.3,
                most=8 * self.poll_every,
            )
            yield Ended()
            reply = yield Call(method="GET", url=there, headers=headers)
        except CallError as error:
            raise refused(error.reply, self.name, ran=True) from None
        black = reply.json.get("has_nsfw_concepts") or []
        for place, item in enumerate(reply.json["images"]):
            if place < len(black) and black[place]:
                yield Failed(blackened(reply, self.name), place)
            elif item["url"].startswith("data:"):
                yield Image.from_base64(item["url"])
            else:
                yield HostedImage(item["url"])


def _input(job: Job, model: Model) -> dict[str, object]:
    given: dict[str, object] = {"prompt": job.prompt, **job.extra}
    if job.references:
        urls = [reference.url for reference in job.references]
        given[model.pictures] = urls if model.listed else urls[0]
    if job.n > 1:
        given["num_images"] = job.n
    if job.size is not None:
        width, _, height = job.size.partition("x")
        given["image_size"] = {"width": int(width), "height": int(height)}
    told = {"aspect_ratio": job.aspect_ratio, "seed": job.seed, "output_format": job.output_format}
    return {**given, **{name: value for name, value in told.items() if value is not None}}
