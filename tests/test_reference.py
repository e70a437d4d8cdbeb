"""The reference is made from the dataclasses: every key, its type, its default and what it is for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from proxy_core.build import Secret
from proxy_core.config import Limits, ProxyConfig, Route, Timeouts, Tls, Weighted
from proxy_core.reference import field_docs, reference
from tests.test_main import darkroom


@dataclass(frozen=True, kw_only=True)
class Server:
    """One of several."""

    base_url: str
    """Where it is."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """What all have."""

    inherited: bool = False
    """From the class
    above."""


@dataclass(frozen=True, kw_only=True)
class Acme(Base):
    """A plugin of somebody's,
    in two lines."""

    name: str
    """What it is called."""
    api_key: Secret | None = None
    """Its key."""
    size: int = 3 * 1024 * 1024
    """Bytes."""
    wait: float = 0.5
    """Seconds."""
    way: Literal["near", "far"] = "near"
    """Where to."""
    names: list[str] = field(default_factory=list)
    """Several."""
    file_mode: int = 0o600
    """Permissions."""
    servers: dict[str, Server] = field(default_factory=dict)
    """By name."""
    more: list[Server] = field(default_factory=list)
    """In order."""
    hidden: int = field(default=0, init=False)


@dataclass
class Empty:
    """It needs nothing."""


def test_keys_are_told_with_type_default_and_meaning() -> None:
    lines = reference({"plugins.acme": Acme}).splitlines()
    assert lines[:3] == ["## `[plugins.acme]`", "", "A plugin of somebody's, in two lines."]
    keys = {line.split("`")[1]: line for line in lines if line.startswith("- ")}
    assert keys["name"].endswith("required): What it is called.")
    assert keys["inherited"].endswith(", `false`): From the class above.")
    assert "`3145728` which is 3 MiB" in keys["size"]
    assert ", `0.5`): Seconds." in keys["wait"]
    assert '(`"near"` or `"far"`, `"near"`)' in keys["way"]
    assert "(a list of strings): Several." in keys["names"]
    assert "`0o600`" in keys["file_mode"]
    assert "(tables by name): By name." in keys["servers"]
    assert "(a list of tables): In order." in keys["more"]
    assert "hidden" not in keys
    assert '## `[plugins.acme.servers."NAME"]`' in lines
    assert "## `[plugins.acme.more[]]`" in lines
    assert reference({"plugins.empty": Empty}).endswith("It needs nothing.\n\nIt has no keys.\n")


@pytest.mark.parametrize("cls", [ProxyConfig, Limits, Route, Timeouts, Tls, Weighted])
def test_each_key_of_the_core_is_documented(cls: type) -> None:
    docs = field_docs(cls)
    assert not [one.name for one in dataclasses.fields(cls) if not docs.get(one.name)]


def test_the_command_prints_every_plugin_and_needs_no_config(tmp_path: Path) -> None:
    done = darkroom("reference", cwd=tmp_path)
    assert done.returncode == 0
    assert not done.stderr
    for heading in (
        "[proxy]",
        "[proxy.limits]",
        "[proxy.tls]",
        '[proxy.routes."NAME"]',
        "[plugins.access_log]",
        "[plugins.signing]",
    ):
        assert f"\n## `{heading}`\n" in done.stdout
