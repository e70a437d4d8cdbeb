"""The words of image work: jobs, the steps a provider takes, and the protocols of providers and signers."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import orjson
from yarl import URL

from proxy_core import Data, Piece, ProxyError, Request

from .picture import Image, Link
from .rules import Rules


@dataclass(frozen=True, kw_only=True)
class Job:
    """One request for pictures, in no client's and no provider's words.

    `name` is what the client asked for and the answer says; `model` is what the provider is sent; `like` is the entry of
    the provider's `models` whose rules hold. What the model cannot take has been left out before a provider sees it.
    """

    name: str
    model: str
    prompt: str
    like: str = ""
    references: tuple[Image | Link, ...] = ()
    mask: Image | None = None
    n: int = 1
    size: str | None = None  # "1024x1024", or a label that the model's rules know
    aspect_ratio: str | None = None  # "16:9"
    resolution: str | None = None  # "1K", "2K", "4K"
    quality: str | None = None
    output_format: str | None = None  # "png", "jpeg", "webp"
    background: str | None = None
    seed: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)  # fields outside this vocabulary that the rules name
    stream: bool = False
    partial_images: int = 0  # previews that a client wants which streams; more than 0 only where the rules have them

    @property
    def images(self) -> tuple[Image, ...]:
        """The references as bytes; for a provider whose `takes_links` is False, that is all of them."""
        if any(isinstance(reference, Link) for reference in self.references):
            raise TypeError("a reference is a link; a provider with takes_links must use `references`")
        return tuple(reference for reference in self.references if isinstance(reference, Image))


# ---- what a provider yields


@dataclass(frozen=True)
class Part:
    """One part of a multipart body, in order."""

    name: str
    value: str | Image
    filename: str = ""


@dataclass(frozen=True, kw_only=True)
class Call:
    """Send this, and answer with a Reply. `wait` is seconds to pause first; `events` keeps an SSE answer open for Next.

    Where `events` were asked for and JSON came, the Reply has it as its body, and there is nothing for Next.

    `again` says that the call may be repeated after a failure; by default only GET may.
    """

    method: str
    url: URL
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # a key is among them
    json: object = None
    parts: Sequence[Part] = ()
    wait: float = 0.0
    events: bool = False
    again: bool | None = None


@dataclass(frozen=True)
class Next:
    """Answer with the next SSE event of the open stream; `reply.ended` after the last."""


@dataclass(frozen=True)
class Submitted:
    """A job now runs at the service. It is logged, so that it is never lost; `cancel` is sent if the client leaves."""

    id: str
    cancel: Call | None = None


@dataclass(frozen=True)
class Ended:
    """The job is over at the service, well or badly: whatever comes now, it is not cancelled, nor logged as given up."""


@dataclass(frozen=True)
class HostedImage:
    """A finished picture, at a link."""

    url: str
    index: int | None = None


@dataclass(frozen=True)
class Preview:
    """An unfinished picture, for clients that stream."""

    image: Image
    index: int = 0


@dataclass(frozen=True)
class Failed:
    """One of several pictures that will not come."""

    error: ProxyError
    index: int | None = None


@dataclass(frozen=True, kw_only=True)
class Note:
    """What is to be told beside the pictures. `usage` is in OpenAI's shape; `warnings` name what could not be sent.

    `cost` is what the service says this run cost: {"amount": "0.04", "currency": "USD"}, the amount in decimals. Where it does
    not say, the model's `price` counts.
    """

    usage: Mapping[str, object] | None = None
    cost: Mapping[str, object] | None = None
    model: str | None = None
    request_id: str | None = None
    warnings: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a Call or a Next is answered with. For an event, `body` is its data."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Data = field(default=b"", repr=False)  # a picture may be in it
    ended: bool = False

    @cached_property
    def json(self) -> Any:
        """The body, parsed. Raises ValueError if it is no JSON."""
        return orjson.loads(self.body)


class CallError(Exception):
    """Raised at the yield of a Call that was answered with a status of 400 or more. Most providers let it pass."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"answered {reply.status}")
        self.reply = reply


Output = Image | HostedImage | Preview | Failed | Note
Step = Call | Next | Submitted | Ended | Output
Steps = Generator[Step, Reply, None]


class Provider(Protocol):
    """One image service. It says what to send and reads the answer; it does no I/O."""

    @property
    def name(self) -> str: ...

    @property
    def models(self) -> Collection[str] | Mapping[str, Rules]:
        """The names it serves; a mapping tells each one's rules too."""

    @property
    def batch(self) -> int:
        """Pictures that one run can make."""

    @property
    def takes_links(self) -> bool:
        """Whether references may be links; else they are bytes when `edit` is called."""

    @property
    def origins(self) -> Collection[URL]:
        """A Call to elsewhere is refused: keys stay with the origin they were configured for."""

    def edit(self, job: Job) -> Steps:
        """The steps that make the job's pictures. A job without references is a generation."""


# ---- what a signer does


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One call that was made for a job, for who signs: digests (sha256, hex) and lengths of the raw bodies."""

    method: str
    origin: str
    sha256: str
    length: int
    status: int = 0  # 0 where nothing came back
    answer_sha256: str = ""
    answer_length: int = 0


@dataclass(frozen=True, kw_only=True)
class Result:
    """What an answer holds, once it is complete. `plugin`, `package` and `version` say what code served it, where known."""

    job: Job
    provider: str
    images: Sequence[Image]
    model: str  # as the provider reported it, or what it was sent
    warnings: Sequence[str] = ()
    discreet: Mapping[str, str] = field(default_factory=dict)  # of warnings that quote a service: what others may read instead
    usage: Mapping[str, object] | None = None
    cost: Mapping[str, object] | None = None
    request_id: str | None = None
    calls: Sequence[Sent] = ()
    plugin: str = ""
    package: str = ""
    version: str = ""


class Seal(Protocol):
    """The signature of one answer while it is being made. Whatever a method raises, nothing is answered unsigned."""

    async def image(self, image: Image, *, preview: bool) -> Mapping[str, object]:
        """Only in a stream, before the event of a picture is written: fields for that event."""

    async def sent(self, data: Sequence[Data | Piece]) -> None:
        """Only in a stream: the raw data of an event, in the order in which they are written."""

    async def end(self, result: Result) -> tuple[Mapping[str, object], Mapping[str, str]]:
        """Sign. Returns fields for the answer, or for the last event, and headers."""


class Signer(Protocol):
    """Makes a Seal for each answer. An error from either means that nothing is answered: signing fails closed."""

    async def begin(self, request: Request, sha256: str) -> Seal:
        """`request` is as it was received, its body in hand and with this digest; nothing has been spent yet.

        Keep none of its bytes. A ClientError is the client's answer.
        """


def rules_of(provider: Provider, like: str) -> Rules:
    """The rules of one of a provider's models."""
    models = provider.models
    return models[like] if isinstance(models, Mapping) and like in models else Rules()

