"""The plugin: a provider for each server of the config."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from plugins.image_edit import Provider, hookimpl

from .provider import Compatible
from .server import Server


@dataclass(frozen=True, kw_only=True)
class OpenAICompatible:
    """Servers that speak OpenAI's images API: vLLM-Omni, SGLang, stable-diffusion.cpp, LocalAI, DeepInfra and others."""

    servers: dict[str, Server]
    """Each server by a name of your choice, which makes it the provider `openai_compatible.NAME`."""

    def __post_init__(self) -> None:
        if not self.servers:
            raise ValueError("servers: is empty; name one: [plugins.openai_compatible.servers.NAME]")

    @hookimpl
    def image_edit_providers(self) -> Iterable[Provider]:
        return [
            Compatible(name=f"openai_compatible.{name}", server=server.completed()) for name, server in self.servers.items()
        ]
