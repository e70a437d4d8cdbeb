"""Where a provider's calls may go: its keys stay with the origins they were configured for."""

from __future__ import annotations

from collections.abc import Collection

from yarl import URL


def check_base_url(url: URL) -> None:
    """For a provider's `__post_init__`: raises ValueError for what cannot have paths put below it."""
    if url.scheme not in ("http", "https") or not url.host or url.user or url.password or url.query_string:
        raise ValueError("base_url: must be an http or https URL of host and path, without user, password or query")


def may_call(url: URL, origins: Collection[URL]) -> bool:
    """Whether `url` is at one of the origins, by scheme, host and port.

    `https://*.acme.example` among them is every host below acme.example, of any depth, and not acme.example itself.
    """
    host = (url.host or "").lower()
    for origin in origins:
        if (origin.scheme, origin.port) != (url.scheme, url.port):
            continue
        known = (origin.host or "").lower()
        if host == known or (known.startswith("*.") and host.endswith(known[1:]) and len(host) > len(known) - 1):
            return True
    return False
