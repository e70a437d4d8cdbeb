"""The words of image work: pictures, jobs, the steps a provider takes, and the protocols of providers and signers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Container, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import orjson
import pybase64
from yarl import URL

from proxy_core import Data, Exchange, ProxyError

_SLICE = 192 * 1024  # bytes of a picture handled at once; a multiple of 3, so that its base64 needs no padding
_BLANKS = dict.fromkeys(map(ord, " \t\r\n"))
_TEXT_SLICE = _SLICE // 3 * 4
LONG = 1024 * 1024  # byte work beyond this leaves the event loop


def sniff(head: Data) -> str:
    """The media type of a file by its first 32 bytes, or "" if they begin no image format that we know.

    Claims (a Content-Type, a data URI, a file name) are never asked: providers and clients get them wrong.
    """
    start = bytes(head[:32])
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if start.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    if start.startswith((b"II*\0", b"MM\0*")):
        return "image/tiff"
    if start[:2] == b"BM" and start[6:10] == b"\0\0\0\0":
        return "image/bmp"
    if start[4:8] == b"ftyp":
        brand = start[8:12]
        if brand in (b"avif", b"avis"):
            return "image/avif"
        if brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
            return "image/heic"
    return ""


class Image:
    """One picture, in exactly one form: the file's raw chunks, or base64 text as somebody sent it.

    Nothing joins or converts it as a whole: `chunks`, `base64` and `data_url` make their bytes while they are written.
    """

    __slots__ = ("_digest", "_raw", "_text", "media_type", "size")

    def __init__(self, *raw: Data) -> None:
        """From the file's bytes, in any number of chunks."""
        self._raw: tuple[Data, ...] = raw
        self._text = ""
        self._digest = ""
        self.size = sum(map(len, raw))
        head = b""
        for chunk in raw:
            head += bytes(chunk[: 32 - len(head)])
            if len(head) >= 32:
                break
        self.media_type = sniff(head)

    @classmethod
    def from_base64(cls, text: str) -> Image:
        """From base64, in either alphabet, padded or not. Raises ValueError; bad characters within are found by `verify`."""
        if "\n" in text or " " in text or "\r" in text or "\t" in text:
            text = text.translate(_BLANKS)
        if "-" in text or "_" in text:  # the URL-safe alphabet, which google-genai and some clients send
            text = text.replace("-", "+").replace("_", "/")
        text += "=" * (-len(text) % 4)
        if not text.isascii() or text.find("=", 0, -2) >= 0:
            raise ValueError("it is not base64")
        image = cls()
        image._text = text
        image.size = len(text) // 4 * 3 - text[-2:].count("=")
        image.media_type = sniff(_decoded(text[:64]))
        return image

    def chunks(self) -> Iterator[Data]:
        """The file's bytes."""
        if self._text:
            for start in range(0, len(self._text), _TEXT_SLICE):
                yield _decoded(self._text[start : start + _TEXT_SLICE])
        else:
            for chunk in self._raw:
                view = memoryview(chunk)
                for start in range(0, len(view), _SLICE):
                    yield view[start : start + _SLICE]

    def base64_chunks(self) -> Iterator[bytes]:
        """The file's base64, without line breaks."""
        if self._text:
            for start in range(0, len(self._text), _TEXT_SLICE):
                yield self._text[start : start + _TEXT_SLICE].encode("ascii")
            return
        left = b""
        for chunk in self.chunks():
            view = memoryview(chunk)
            if left:
                short = 3 - len(left)
                left, view = left + bytes(view[:short]), view[short:]
                if len(left) < 3:
                    continue
                yield pybase64.b64encode(left)
            whole = len(view) - len(view) % 3
            left = bytes(view[whole:])
            if whole:
                yield pybase64.b64encode(view[:whole])
        if left:
            yield pybase64.b64encode(left)

    @property
    def base64(self) -> Text:
        """A Piece: the base64, to stand inside JSON."""
        return Text(self, "")

    @property
    def data_url(self) -> Text:
        """A Piece: `data:TYPE;base64,...`, to stand inside JSON."""
        return Text(self, f"data:{self.media_type};base64,")

    @property
    def url(self) -> Text:
        """What a provider that takes links and data URLs alike is sent; a Link has one too."""
        return self.data_url

    async def verify(self) -> str:
        """The sha256 of the file, in hex; computed once. Raises ValueError if the base64 is broken."""
        if not self._digest:
            work = self._hash if self.size < LONG else None
            self._digest = work() if work else await asyncio.to_thread(self._hash)
        return self._digest

    sha256 = verify

    def _hash(self) -> str:
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"<Image {self.media_type or 'of unknown type'}, {self.size} bytes>"


def _decoded(text: str) -> bytes:
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("it is not valid base64") from None


@dataclass(frozen=True, repr=False)
class Text:
    """A Piece: an image's base64 after a prefix. It is ASCII without quotes, so it may stand inside a JSON string."""

    image: Image
    prefix: str

    @property
    def size(self) -> int:
        return len(self.prefix) + (self.image.size + 2) // 3 * 4

    def chunks(self) -> Iterator[bytes]:
        if self.prefix:
            yield self.prefix.encode("ascii")
        yield from self.image.base64_chunks()

    def __repr__(self) -> str:
        return f"<base64 of {self.image!r}>"


@dataclass(frozen=True)
class Link:
    """A reference that the client gave as a link; only a provider that takes links is handed one."""

    url: str


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
    request_sha256: str = ""  # of the client's body, as received

    @property
    def images(self) -> tuple[Image, ...]:
        """The references as bytes; for a provider whose `takes_links` is False, that is all of them."""
        if any(isinstance(reference, Link) for reference in self.references):
            raise TypeError("a reference is a link; a provider with takes_links must use `references`")
        return tuple(reference for reference in self.references if isinstance(reference, Image))


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Which values of `size` a model takes. Sides are pixels, areas are pixels in all."""

    labels: tuple[str, ...] = ()  # such as "2K"
    custom: bool = True  # "WxH" is taken
    area: tuple[int, int] = (1, 1 << 28)
    side: tuple[int, int] = (1, 1 << 14)
    ratio: float = 16.0  # the longer side over the shorter, at most
    step: int = 1  # sides are multiples of it
    presets: Mapping[str, Collection[str]] = field(default_factory=dict)  # label -> the "WxH" the vendor recommends
    default: str | None = None  # sent where the client asks for none; None leaves it to the service


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What one model takes. The default is a model that takes a prompt and references, and nothing else."""

    model: str = ""  # the vendor's id; "" means the name itself
    references: int = 16  # at most; 0 is a model without editing
    needs_reference: bool = False
    fields: frozenset[str] = frozenset()  # of the vocabulary and beyond
    sizes: Sizes | None = None  # None: `size` only if `fields` names it, as it came
    mask: bool = False
    values: Mapping[str, Container[object]] = field(default_factory=dict)  # field -> what it may be; a set of words, a range


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

    `again` says that the call may be repeated after a failure; by default only GET may.
    """

    method: str
    url: URL
    headers: Mapping[str, str] = field(default_factory=dict)
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
    """What the service told beside the pictures. `usage` is in OpenAI's shape."""

    usage: Mapping[str, object] | None = None
    cost: Mapping[str, object] | None = None
    model: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a Call or a Next is answered with. For an event, `body` is its data."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Data = b""
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
Step = Call | Next | Submitted | Output
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
class Result:
    """What an answer holds, once it is complete."""

    job: Job
    provider: str
    images: Sequence[Image]
    model: str  # as the provider reported it, or what it was sent
    warnings: Sequence[str] = ()
    usage: Mapping[str, object] | None = None
    request_id: str | None = None


class Seal(Protocol):
    """The signature of one answer while it is being made."""

    async def image(self, image: Image) -> Mapping[str, object]:
        """Cover one picture; returns fields for that picture's own event or item."""

    async def end(self, result: Result) -> tuple[Mapping[str, object], Mapping[str, str]]:
        """Sign. Returns fields for the answer, or for the last event, and headers."""


class Signer(Protocol):
    """Makes a Seal for each answer. An error from either means that nothing is answered: signing fails closed."""

    def begin(self, job: Job, exchange: Exchange) -> Seal: ...


def rules_of(provider: Provider, like: str) -> Rules:
    """The rules of one of a provider's models."""
    models = provider.models
    return models[like] if isinstance(models, Mapping) and like in models else Rules()

