"""Watches the whole suite for what must not get out: secrets that a test configures, and pictures, in logs and errors."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from proxy_core import ProxyError, Secret
from proxy_core.logs import JsonLines

_PICTURE = re.compile(r"[A-Za-z0-9+/]{240,}")  # base64 of that length is no digest, no id and no signature of ours
_LEAST = 12  # characters of a secret that can be told from a word


class Watch(logging.Handler):
    """Sees every record of the proxy's loggers as an operator would, and every error as a client would."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.secrets: set[str] = {"the-clients-own"}  # the key that the tests' clients send
        self.leaks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("darkroom"):
            self.look(self.format(record), f"a line of {record.name}")

    def look(self, text: str, where: str) -> None:
        self.leaks += [f"{where} holds a secret: {text[:400]}" for secret in self.secrets if secret in text]
        if any(len(set(run)) > 20 for run in _PICTURE.findall(text)):  # not one letter a thousand times
            self.leaks.append(f"{where} holds a picture, or another long text in base64: {text[:400]}")

    def learn(self, value: str) -> None:
        """A key in PEM is told apart by a line of it: whatever shows it may break it elsewhere."""
        lines = [line for line in value.splitlines() if not line.startswith("-----")]
        self.secrets.update(line for line in lines if len(line) >= _LEAST)


def install() -> Watch:
    """Begin to watch. There is one for the whole run of the tests."""
    watch = Watch()
    made, told = Secret.__init__, ProxyError.body

    def init(self: Secret, value: str) -> None:
        made(self, value)
        watch.learn(value)

    def body(self: ProxyError) -> dict[str, Any]:
        found = told(self)
        watch.look(json.dumps(found), f"the body of a {type(self).__name__}")
        return found

    Secret.__init__ = init  # type: ignore[method-assign]
    ProxyError.body = body  # type: ignore[method-assign]
    logging.getLogger().addHandler(watch)
    return watch
