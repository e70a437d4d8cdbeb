"""Watches the whole suite for what must not get out: a test's secrets, and pictures, in logs, errors and reprs."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import json
import logging
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import plugins
import proxy_core
from proxy_core import ProxyError, Secret
from proxy_core.logs import JsonLines

_PICTURE = re.compile(r"[A-Za-z0-9+/]{240,}")  # base64 of that length is no digest, no id and no signature of ours
_SIGNED = re.compile(r"""['"]payload['"]: ?['"][A-Za-z0-9+/=]*""")  # what an envelope signs is for everybody
_LEAST = 12  # characters of a secret that can be told from a word


class Watch(logging.Handler):
    """Sees every record of the proxy's loggers as an operator would, and every error as a client would."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.secrets: set[str] = {"the-clients-own"}  # the key that the tests' clients send
        self.leaks: list[str] = []
        self.shown: set[type] = set()  # whose repr was looked at within this test

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("darkroom"):
            self.look(self.format(record), f"a line of {record.name}")

    def look(self, text: str, where: str) -> None:
        self.leaks += [f"{where} holds a secret: {text[:400]}" for secret in self.secrets if secret in text]
        if any(len(set(run)) > 20 for run in _PICTURE.findall(_SIGNED.sub("", text))):  # not one letter a thousand times
            self.leaks.append(f"{where} holds a picture, or another long text in base64: {text[:400]}")

    def show(self, value: object) -> None:
        """The first value of each class within a test is looked at as a debugger, or a failing test, would show it."""
        if type(value) not in self.shown:
            self.shown.add(type(value))
            with contextlib.suppress(RecursionError):  # of JSON that a client nested a thousand deep
                self.look(repr(value), f"the repr of a {type(value).__qualname__}")

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
    for cls in _values():
        _watched(cls, watch)
    return watch


def _values() -> Iterator[type]:
    """The dataclasses of the proxy and its plugins: they show what they hold, for who looks at them."""
    for package in (proxy_core, plugins):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith(("__main__", ".testing")):
                continue
            for value in list(vars(importlib.import_module(found.name)).values()):
                if isinstance(value, type) and value.__module__ == found.name and dataclasses.is_dataclass(value):
                    yield value


def _watched(cls: Any, watch: Watch) -> None:
    made = cls.__init__

    @functools.wraps(made)
    def init(self: object, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        if type(self) is cls:
            watch.show(self)

    cls.__init__ = init
