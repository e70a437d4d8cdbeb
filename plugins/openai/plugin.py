"""The provider: OpenAI's own service."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from yarl import URL

from plugins.image_edit import Job, Provider, Secret, Steps, check_base_url, hookimpl

from .errors import refused
from .models import MODELS
from .steps import make


@dataclass(frozen=True, kw_only=True)
class OpenAI:
    """GPT Image, by OpenAI."""

    api_key: Secret
    """The key of your project."""
    base_url: URL = URL("https://api.openai.com/v1")
    """Where the API is."""
    organization: str = ""
    """Whose account it is, where the key is good for several: `org-...`."""
    project: str = ""
    """Which of its projects: `proj_...`."""

    name = "openai"
    models = MODELS
    batch = 10
    takes_links = False  # a form holds bytes

    def __post_init__(self) -> None:
        check_base_url(self.base_url)

    @property
    def origins(self) -> list[URL]:
        return [self.base_url]

    @hookimpl
    def image_edit_providers(self) -> Iterable[Provider]:
        return [self]

    def edit(self, job: Job) -> Steps:
        account = {"OpenAI-Organization": self.organization, "OpenAI-Project": self.project}
        headers = {**self.api_key.bearer(), **{name: value for name, value in account.items() if value}}
        return make(job, images=self.base_url / "images", headers=headers, refused=partial(refused, provider=self.name))
