"""The provider: OpenAI's calls on Azure's paths, with Azure's key and errors (contracts: openai.md, "Azure OpenAI")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from yarl import URL

from plugins.image_edit import Job, Provider, Reply, Rules, Secret, Steps, UpstreamRefusal, check_base_url, hookimpl
from plugins.openai import MODELS, make, refused, told

# Azure's words, and OpenAI's for the same. A number is the status over again, and says nothing.
_CODES = {
    "DeploymentNotFound": "model_not_found",
    "contentFilter": "content_policy_violation",
    "content_filter": "content_policy_violation",
    "401": "invalid_api_key",
    "403": "permission_denied",
    "404": "not_found",
    "429": "rate_limit_exceeded",
}


@dataclass(frozen=True, kw_only=True)
class Azure:
    """GPT Image, by Azure OpenAI."""

    api_key: Secret
    """A key of your resource."""
    base_url: URL
    """Your resource: `https://RESOURCE.openai.azure.com`."""
    deployments: dict[str, str]
    """The names you gave your deployments, each with the model that it is of: `"pictures" = "gpt-image-2"`."""
    api_version: str = ""
    """Of the classic paths (`/openai/deployments/...`), such as `2025-04-01-preview`, the first that edits. Left out, the v1
    paths are used, which need none."""

    name = "azure"
    batch = 10
    takes_links = False

    def __post_init__(self) -> None:
        check_base_url(self.base_url)
        if "openai" in self.base_url.parts:
            raise ValueError("base_url: must be the resource's alone; what begins with /openai is put below it")
        for name, model in self.deployments.items():
            if model not in MODELS:
                raise ValueError(f"deployments.{name}: {model!r} is no model; known are {', '.join(sorted(MODELS))}")
        if not self.deployments:
            raise ValueError("deployments: name at least one")

    @property
    def models(self) -> Mapping[str, Rules]:
        # What a resource pays is its contract's affair, and not in OpenAI's list.
        return {name: replace(MODELS[model], price=None) for name, model in self.deployments.items()}

    @property
    def origins(self) -> list[URL]:
        return [self.base_url]

    @hookimpl
    def image_edit_providers(self) -> Iterable[Provider]:
        return [self]

    def edit(self, job: Job) -> Steps:
        headers = {"api-key": self.api_key.reveal()}
        return make(job, images=self._images(job.model), headers=headers, refused=self._refused)

    def _images(self, deployment: str) -> URL:
        if not self.api_version:
            return self.base_url / "openai/v1/images"
        return self.base_url / "openai/deployments" / deployment / "images" % {"api-version": self.api_version}

    def _refused(self, reply: Reply) -> UpstreamRefusal:
        error = told(reply)
        filtered = ", ".join(_filtered(error))
        words = f"{error.get('message') or 'The content filter refused it.'} (filtered: {filtered})" if filtered else None
        return refused(reply, self.name, code=_CODES.get(str(error.get("code"))), message=words)


def _filtered(error: Mapping[str, object]) -> Iterator[str]:
    """The kinds of content that Azure's filter objects to: `{"inner_error": {"content_filter_results": {KIND: {...}}}}`."""
    inner = error.get("inner_error") or error.get("innererror")
    found = (inner.get("content_filter_results") or inner.get("content_filter_result")) if isinstance(inner, dict) else None
    for kind, result in found.items() if isinstance(found, dict) else ():
        if isinstance(result, dict) and result.get("filtered"):
            yield str(kind)
