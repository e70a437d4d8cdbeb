"""The provider: a call that is answered with the picture's bytes, or a job that is asked for (contracts: hosted-others.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from yarl import URL

from plugins.image_edit import (
    Call,
    CallError,
    Ended,
    Failure,
    HostedImage,
    Image,
    Job,
    Note,
    Provider,
    Reply,
    Secret,
    Steps,
    Submitted,
    UpstreamRefusal,
    check_base_url,
    check_poll_every,
    hookimpl,
    poll,
    refusal,
    request_id_of,
)

from .models import MODELS

_MEANS = {
    401: (401, "invalid_api_key"),
    402: (429, "insufficient_quota"),
    403: (403, "permission_denied"),
    404: (404, "model_not_found"),
    412: (429, "insufficient_quota"),  # the account is suspended, for its bills as a rule
    422: (422, "invalid_value"),
    429: (429, "rate_limit_exceeded"),
    503: (503, "overloaded"),
}


@dataclass(frozen=True, kw_only=True)
class Fireworks:
    """FLUX and SDXL, by Fireworks AI."""

    api_key: Secret
    """The key of your account."""
    base_url: URL = URL("https://api.fireworks.ai/inference/v1")
    """Where the API is."""
    poll_every: float = 0.5
    """Seconds before one of Kontext's jobs is asked for first; then a little longer each time, up to four times as long."""

    name = "fireworks"
    models = MODELS
    batch = 1  # an answer in bytes is one picture
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
        there = self.base_url / model.before / job.model
        if model.job:
            return self._kontext(job, there)
        return self._bytes(job, there / model.behind if model.behind else there)

    def _refused(self, reply: Reply) -> UpstreamRefusal:
        status, code = _MEANS.get(reply.status, (reply.status, None))  # else its own code
        return refusal(reply, self.name, status=status, code=code)

    def _bytes(self, job: Job, there: URL) -> Steps:
        kind = f"image/{job.output_format or 'png'}"
        headers = {**self.api_key.bearer(), "Accept": kind}
        try:
            reply = yield Call(method="POST", url=there, headers=headers, json=_settings(job))
        except CallError as error:
            raise self._refused(error.reply) from None
        if reply.headers.get("finish-reason") == "CONTENT_FILTERED":
            raise self._filtered(reply, "the picture was withheld by the content filter", Failure.UNKNOWN)
        yield Note(request_id=request_id_of(reply))
        yield Image(reply.body)

    def _kontext(self, job: Job, there: URL) -> Steps:
        headers, settings = self.api_key.bearer(), _settings(job)
        if job.output_format is not None:
            settings["output_format"] = job.output_format
        if job.references:
            settings["input_image"] = job.references[0].url
        try:
            submitted = yield Call(method="POST", url=there, headers=headers, json=settings)
        except CallError as error:
            raise self._refused(error.reply) from None
        id_: str = submitted.json["request_id"]
        yield Submitted(id_)
        yield Note(request_id=id_)
        asked = Call(method="POST", url=there / "get_result", headers=headers, json={"id": id_})
        reply = yield from poll(
            asked, lambda reply: _state(reply) == "Pending", first=self.poll_every, factor=1.2, most=4 * self.poll_every
        )
        yield Ended()
        state = _state(reply)
        reply = replace(reply, headers={**reply.headers, "x-request-id": id_})
        if state.endswith("Moderated"):
            raise self._filtered(reply, state, Failure.UNKNOWN)
        if state != "Ready":
            words = f"{state}: {reply.json.get('details')}" if reply.json.get("details") else state
            raise refusal(reply, self.name, status=502, code="upstream_error", message=words, failure=Failure.UNKNOWN)
        sample: str = reply.json["result"]["sample"]
        yield HostedImage(sample) if sample.startswith("http") else Image.from_base64(sample)

    def _filtered(self, reply: Reply, words: str, failure: Failure) -> UpstreamRefusal:
        code = "content_policy_violation"
        return refusal(reply, self.name, status=400, code=code, message=words, failure=failure)


def _state(reply: Reply) -> str:
    return str(reply.json["status"])


def _settings(job: Job) -> dict[str, object]:
    told: dict[str, object] = {"aspect_ratio": job.aspect_ratio, "seed": job.seed}
    if job.size is not None:
        width, _, height = job.size.partition("x")
        told |= {"width": int(width), "height": int(height)}
    return {"prompt": job.prompt, **job.extra, **{name: value for name, value in told.items() if value is not None}}
