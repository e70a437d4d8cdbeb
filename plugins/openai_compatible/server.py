"""The table of one server in the config, and the rules of its models."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace

from plugins.image_edit import Rules, Secret, Sizes
from proxy_core import ConfigError, Fault

from .models import PRESETS, Preset, Ways


@dataclass(frozen=True, kw_only=True)
class Account:
    """Which server it is, and what it serves."""

    models: dict[str, str] | list[str] = field(default_factory=list)
    """What it serves: names, or names that clients use with the server's own behind them. Servers whose models differ in
    what they take are written as several, each with a table."""
    preset: Preset = "openai"
    """Which server it is; what is not set here is as that one has it."""
    api_key: Secret | None = None
    """Sent as a bearer token, where the server wants one."""


@dataclass(frozen=True, kw_only=True)
class Server(Ways, Account):
    """One server that speaks OpenAI's images API, served as the provider `openai_compatible.NAME`."""

    def __post_init__(self) -> None:
        faults = []
        if self.base_url is None and PRESETS[self.preset].base_url is None:
            faults.append(Fault("base_url", "is missing; it is where the server is, with its /v1"))
        url = self.base_url
        if url and (url.scheme not in ("http", "https") or not url.host or url.user or url.password or url.query_string):
            faults.append(Fault("base_url", "must be an http or https URL of host and path, without user, password or query"))
        if not self.models:
            faults.append(Fault("models", "is missing; it names what the server serves"))
        for name, least in (("references", 0), ("batch", 1), ("size_step", 1)):
            if (value := getattr(self, name)) is not None and value < least:
                faults.append(Fault(name, f"must be at least {least}"))
        if self.size_side and not 1 <= self.size_side[0] <= self.size_side[1]:
            faults.append(Fault("size_side", "must be the least and the most, such as [64, 4096]"))
        if self.size_default and not re.fullmatch(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", self.size_default):
            faults.append(Fault("size_default", "must be WIDTHxHEIGHT, such as '1024x1024'"))
        faults += [Fault(name, "is empty") for name in ("edits_path", "image_field") if getattr(self, name) == ""]
        if faults:
            raise ConfigError(faults)

    def completed(self) -> Server:
        """With the preset's word wherever the operator's is missing."""
        preset = PRESETS[self.preset]
        missing = [one.name for one in fields(Ways) if getattr(self, one.name) is None]
        return replace(self, **{name: getattr(preset, name) for name in missing})

    def rules(self) -> dict[str, Rules]:
        """Of each model, by the name that clients use. The server is `completed`."""
        one = Rules(
            references=(self.references or 0) if self.edits != "none" else 0,
            fields=frozenset([*(self.fields or ()), *(self.prompt_fields or ())]),
            others=bool(self.others),
            sizes=Sizes(side=self.size_side or (1, 1 << 14), step=self.size_step or 1, default=self.size_default or None),
            mask=bool(self.mask_field) and self.edits != "none",
            values={name: frozenset(words) for name, words in (self.values or {}).items()},
        )
        models = self.models if isinstance(self.models, dict) else dict.fromkeys(self.models, "")
        return {name: replace(one, model=model) for name, model in models.items()}
