"""The provider: a prediction is submitted, asked for, and links to what it made (contracts: hosted-others.md)."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass

from yarl import URL

from plugins.image_edit import (
    Call,
    CallError,
    Ended,
    HostedImage,
    Image,
    Job,
    Link,
    Note,
    Part,
    Provider,
    Reply,
    Secret,
    Steps,
    Submitted,
    check_base_url,
    check_poll_every,
    hookimpl,
    poll,
)

from .errors import failed, refused
from .models import MODELS, Model

_RUNNING = frozenset({"starting", "processing", "queued"})
_INLINE = 1_000_000  # bytes of a picture that may stand in the request, as the vendor advises; a larger one is uploaded


@dataclass(frozen=True, kw_only=True)
class Replicate:
    """Image models of many vendors, by Replicate."""

    api_token: Secret
    """The token of your account."""
    base_url: URL = URL("https://api.replicate.com/v1")
    """Where the API is."""
    poll_every: float = 0.5
    """Seconds before a prediction is asked for first; then a little longer each time, up to eight times as long."""

    name = "replicate"
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
        headers, model = self.api_token.bearer(), self.models[job.like]
        owner, _, name = job.model.partition("/")
        try:
            pictures = []
            for reference in job.references:
                pictures.append((yield from self._linked(reference)))  # noqa: PERF401  # a comprehension cannot yield
            # Not `Prefer: wait`: a job whose id is known at once is never lost.
            submitted = yield Call(
                method="POST",
                url=self.base_url / "models" / owner / name / "predictions",
                headers=headers,
                json={"input": _input(job, model, pictures)},
            )
        except CallError as error:
            raise refused(error.reply, self.name) from None
        id_: str = submitted.json["id"]
        there = self.base_url / "predictions" / id_  # the links in the answer say the same, and could say something else
        yield Submitted(id_, cancel=Call(method="POST", url=there / "cancel", headers=headers))
        yield Note(request_id=id_)
        reply = submitted
        if _state(reply) in _RUNNING:
            asked = Call(method="GET", url=there, headers=headers)
            reply = yield from poll(
                asked, lambda reply: _state(reply) in _RUNNING, first=self.poll_every, factor=1.3, most=8 * self.poll_every
            )
        yield Ended()
        if _state(reply) != "succeeded":
            raise failed(reply, _state(reply), self.name)
        output = reply.json["output"]
        yield from map(HostedImage, [output] if isinstance(output, str) else output)

    def _linked(self, reference: Image | Link) -> Generator[Call, Reply, object]:
        """What stands for a reference: its link, its bytes, or where they were uploaded."""
        if isinstance(reference, Link) or reference.size <= _INLINE:
            return reference.url
        kind = reference.media_type.rpartition("/")[2]
        parts = [Part("content", reference, f"reference.{kind}")]
        reply = yield Call(method="POST", url=self.base_url / "files", headers=self.api_token.bearer(), parts=parts)
        return reply.json["urls"]["get"]


def _state(reply: Reply) -> str:
    return str(reply.json["status"])


def _input(job: Job, model: Model, pictures: list[object]) -> dict[str, object]:
    given: dict[str, object] = {"prompt": job.prompt, **job.extra}
    if pictures:
        given[model.pictures] = pictures if model.listed else pictures[0]
    if job.n > 1 and model.count:
        given[model.count] = job.n
    if job.resolution is not None and model.resolution:
        given[model.resolution] = job.resolution
    if job.output_format is not None:
        given["output_format"] = "jpg" if job.output_format == "jpeg" else job.output_format
    told = {"aspect_ratio": job.aspect_ratio, "seed": job.seed}
    return {**given, **{name: value for name, value in told.items() if value is not None}}
