"""Where a provider's calls may go, and what only looks like it."""

from __future__ import annotations

import pytest
from yarl import URL

from plugins.image_edit.origins import check_base_url, may_call

ORIGINS = [URL("https://api.acme.example/v1"), URL("https://*.jobs.example"), URL("http://127.0.0.1:8000/v1")]


@pytest.mark.parametrize(
    "url",
    [
        "https://api.acme.example/v9/x?y",
        "https://API.ACME.example",
        "https://api.acme.example:443/",
        "https://a.jobs.example/1",
        "https://a.b.jobs.example",
        "https://u:p@api.acme.example/",  # whose user and password are not sent
        "http://127.0.0.1:8000/other",
    ],
)
def test_its_own_places(url: str) -> None:
    assert may_call(URL(url), ORIGINS)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.acme.example/v1",
        "https://api.acme.example:8443/",
        "https://acme.example/",
        "https://xapi.acme.example/",
        "https://api.acme.example.evil.example/",
        "https://jobs.example/",  # what is below it is meant
        "https://.jobs.example/",
        "https://evil-jobs.example/",
        "https://xjobs.example/",
        "https://a.jobs.example.evil.example/",
        "http://a.jobs.example/",
        "https://a.jobs.example:444/",
        "http://127.0.0.1:8001/",
        "http://127.0.0.1/",
        "/relative",
    ],
)
def test_what_only_looks_like_them(url: str) -> None:
    assert not may_call(URL(url), ORIGINS)


@pytest.mark.parametrize("url", ["ftp://a.example", "https://u:p@a.example", "https://a.example?key=x", "/v1"])
def test_a_base_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        check_base_url(URL(url))
