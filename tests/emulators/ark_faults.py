"""What a test may tell the Ark emulator to do to its next valid requests."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Refuse:
    """An error in Ark's shape. Nothing is billed."""

    status: int
    code: str
    message: str = "The request failed."
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ItemErrors:
    """200 with one item for each outcome: a picture where it is true, an error where it is false."""

    outcomes: tuple[bool, ...] = (False,)
    code: str = "OutputImageSensitiveContentDetected"
    message: str = "The request failed because the output image may contain sensitive information."


@dataclass(frozen=True, kw_only=True)
class Raw:
    """These bytes in place of the answer: no JSON, another JSON, nothing at all. Nothing is billed."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The connection ends without an answer, or in the middle of it. The work was done, and is billed."""

    when: Literal["before", "body"] = "before"


@dataclass(frozen=True, kw_only=True)
class Break:
    """A stream ends with an error frame after so many pictures; without a stream, it is a plain error."""

    after: int = 0
    status: int = 500
    code: str = "InternalServiceError"
    message: str = "The service encountered an unexpected internal error."


@dataclass(frozen=True, kw_only=True)
class Hang:
    """No byte comes before `release` is set. Then the request goes on as usual."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # the client went away in the meantime


Fault = Refuse | ItemErrors | Raw | Cut | Break | Hang
