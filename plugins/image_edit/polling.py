"""Asking a service again and again whether a job is done: as often as it hints, and more and more seldom where it does not."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace

from .model import Call, Reply

_LONGEST = 60.0  # seconds; a service that hints at more is asked once a minute


def check_poll_every(seconds: float) -> None:
    """For a provider's `__post_init__`: raises ValueError for what is no pause between two polls."""
    if not 0 < seconds <= _LONGEST:
        raise ValueError(f"poll_every: must be more than 0 and at most {_LONGEST:g} seconds")


def poll(
    call: Call, pending: Callable[[Reply], bool], *, first: float = 1.0, factor: float = 1.5, most: float = 10.0
) -> Generator[Call, Reply, Reply]:
    """Yield `call` until its reply is no longer `pending`; `reply = yield from poll(...)` is the one that is not.

    Seconds between two calls are `first`, and each time `factor` times as many up to `most`, unless the reply says how many
    with Retry-After. They are spread a little when they are waited, so that jobs sent together are not asked for together.
    How long all of it may take is the operator's `deadline`, not the provider's affair.
    """
    wait = first
    while True:
        reply = yield replace(call, wait=wait, again=True)
        if not pending(reply):
            return reply
        wait = hinted(reply.headers) or min(wait * factor, most)


def hinted(headers: Mapping[str, str]) -> float | None:
    """The seconds of a Retry-After, at most a minute; None where there is none, or a date."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return min(seconds, _LONGEST) if seconds > 0 else None
