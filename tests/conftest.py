"""What the whole suite needs: aioresponses, made to work with the aiohttp of today."""

from __future__ import annotations

from typing import Any
from unittest import mock

import aiohttp
import aioresponses.core
import pytest

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
