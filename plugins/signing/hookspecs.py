"""The hooks that signing declares: keys that others keep, and documents that vouch for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from proxy_core import hookspec

from .keys import SigningKey


@dataclass(frozen=True, kw_only=True)
class Attestation:
    """A document that vouches for keys, such as an enclave's."""

    media_type: str
    document: bytes


class Attestor(Protocol):
    """Who can say what holds the keys."""

    async def attest(self, keys_sha256: bytes, nonce: bytes) -> Attestation:
        """A document that binds `keys_sha256`, and `nonce` (at most 64 bytes, b"" if nobody asked for one)."""


class SigningHooks:
    """Each is called once, when every listed plugin is registered."""

    @hookspec
    def signing_keys(self) -> Iterable[SigningKey]:  # type: ignore[empty-body]
        """Keys that sign elsewhere: in a KMS, an HSM, an enclave. With one of them, none is made here; the first signs."""

    @hookspec
    def signing_attestor(self) -> Attestor | None:
        """Who vouches for the keys. Two of them stop the start."""
