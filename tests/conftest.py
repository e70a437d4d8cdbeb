"""What the whole suite needs: aioresponses, made to work with the aiohttp of today, and a watch for what must not leak."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import aiohttp
import aioresponses.core
import pytest

from tests.leaks import Watch, install

# A package of its own, with tests of its own, which test_third_party runs as its author would.
collect_ignore = ["third_party"]


class _Response(aiohttp.ClientResponse):
    """aiohttp >= 3.14 wants a `stream_writer`, which aioresponses 0.7.9 does not give."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", mock.Mock(output_size=0))
        super().__init__(*args, **kwargs)


@pytest.fixture(autouse=True)
def _aioresponses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioresponses.core, "ClientResponse", _Response)


WATCH = install()


@pytest.fixture
def watch() -> Watch:
    """What watches the suite, for the tests of it."""
    return WATCH


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    """Whatever a test does, no line of the log, no error and no repr tells a secret or shows a picture."""
    before = len(WATCH.leaks)
    WATCH.shown.clear()
    yield
    assert not WATCH.leaks[before:]
