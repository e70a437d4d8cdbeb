"""The keys of one proxy: which of them signs now, and all that verifiers may still need."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
import rfc8785

from proxy_core import State

from .keys import Known, SigningKey, key_set, read_known
from .strict import read_json

log = logging.getLogger("darkroom.signing")

_ARCHIVE = "signing/public"


@dataclass(frozen=True, kw_only=True)
class Held:
    """A key that may sign, within its bounds."""

    key: SigningKey
    not_before: int | None = None
    not_after: int | None = None

    @property
    def known(self) -> Known:
        return Known(key=self.key.public, not_before=self.not_before, not_after=self.not_after)


class NoKey(Exception):
    """None of the keys may sign now."""


class Ring:
    """Keys by time. Public halves are written to the state directory, so that they stay published when they are replaced."""

    def __init__(self, held: Sequence[Held], state: State) -> None:
        self._held = held
        self._known = {one.known.key.id: one.known for one in held}  # a KMS's key is asked for its public half once
        self._state = state

    def current(self, now: float | None = None) -> SigningKey:
        """The key that signs now: of those that may, the one that may since last. Raises NoKey."""
        now = time.time() if now is None else now
        able = [one for one in self._held if one.known.covers(now)]
        if not able:
            raise NoKey("no signing key is within its not_before and not_after now (plugins.signing.keys)")
        return max(able, key=lambda one: one.not_before or 0).key

    def still(self, key: SigningKey, now: float) -> SigningKey:
        """`key`, or its successor where its time ended while an answer was made. Raises NoKey."""
        held = [one for one in self._held if one.key is key]
        return key if any(one.known.covers(now) for one in held) else self.current(now)

    def archive(self) -> None:
        """Keep the public halves. Raises OSError."""
        for one in self._known.values():
            name = f"{_ARCHIVE}/{one.key.id}.json"
            text = orjson.dumps(one.jwk)
            if self._state.read(name) != text:
                self._state.write(name, text, durable=False)  # written anew at each start, as long as the key is configured

    def published(self) -> dict[str, object]:
        """The key set: what is configured, and whatever signed before."""
        return key_set(self._all())

    def find(self, keyid: str) -> Known | None:
        """One of those, by its thumbprint."""
        return next((one for one in self._all() if one.key.id == keyid), None)

    def _all(self) -> list[Known]:
        return [*self._known.values(), *self._former()]

    def _former(self) -> list[Known]:
        found = []
        for path in sorted(self._state.path(_ARCHIVE).glob("*.json")):
            if path.stem in self._known or path.name.startswith("."):
                continue
            try:
                found.append(read_known(read_json(path.read_bytes(), path.name)))
            except (OSError, ValueError) as error:
                log.warning("the public key kept at %s cannot be read: %s", path, error)
        return found

    @property
    def digest(self) -> bytes:
        """What an attestation binds: the sha256 of the configured keys' canonical form."""
        keys = sorted(self._known.values(), key=lambda one: one.key.id)
        return hashlib.sha256(rfc8785.dumps({"keys": [one.key.required for one in keys]})).digest()
