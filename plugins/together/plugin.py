"""The provider: one JSON call that says `base64` where others say `b64_json` (contracts: hosted-others.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from yarl import URL

from plugins.image_edit import (
    Call,
    CallError,
    HostedImage,
    Image,
    Job,
    Note,
    Provider,
    Reply,
    Secret,
    Steps,
    UpstreamRefusal,
    check_base_url,
    hookimpl,
    refusal,
    request_id_of,
)

from .models import MODELS, Model

_MEANS = {
    401: (401, "invalid_api_key"),
    402: (429, "insufficient_quota"),
    403: (403, "permission_denied"),
    404: (404, "model_not_found"),
    422: (422, "invalid_value"),
    429: (429, "rate_limit_exceeded"),
    503: (503, "overloaded"),
}


@dataclass(frozen=True, kw_only=True)
class Together:
    """FLUX, by Together AI."""

    api_key: Secret
    """The key of your account."""
    base_url: URL = URL("https://api.together.xyz/v1")
    """Where the API is."""

    name = "together"
    models = MODELS
    batch = 4
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
        payload = {"model": job.model, "prompt": job.prompt, **_settings(job, self.models[job.like])}
        try:
            reply = yield Call(
                method="POST", url=self.base_url / "images/generations", headers=self.api_key.bearer(), json=payload
            )
        except CallError as error:
            raise self._refused(error.reply) from None
        yield Note(model=reply.json.get("model"), request_id=request_id_of(reply) or reply.json.get("id"))
        for item in sorted(reply.json["data"], key=lambda item: item.get("index", 0)):
            yield Image.from_base64(item["b64_json"]) if item.get("b64_json") else HostedImage(item["url"])

    def _refused(self, reply: Reply) -> UpstreamRefusal:
        status, code = _MEANS.get(reply.status, (reply.status, None))  # else its own code
        said = bytes(reply.body).lower()
        if reply.status in (400, 422) and (b"nsfw" in said or b"moderat" in said or b"content policy" in said):
            status, code = 400, "content_policy_violation"
        return refusal(reply, self.name, status=status, code=code)


def _settings(job: Job, model: Model) -> dict[str, object]:
    given: dict[str, object] = {"response_format": "base64", **job.extra}  # b64_json, as elsewhere, is an error here
    if job.n > 1:
        given["n"] = job.n
    if job.size is not None:
        width, _, height = job.size.partition("x")
        given |= {"width": int(width), "height": int(height)}
    if job.references:
        urls = [reference.url for reference in job.references]
        given[model.pictures] = urls[0] if model.pictures == "image_url" else urls
    told = {"seed": job.seed, "output_format": job.output_format}
    return {**given, **{name: value for name, value in told.items() if value is not None}}
