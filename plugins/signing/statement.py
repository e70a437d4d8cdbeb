"""What a receipt states, member by member: written, published as a schema, and read from these classes alone."""

# ruff: noqa: N815  # the names are those of the JSON

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import orjson
import rfc8785

from proxy_core import ConfigError, build

from .strict import read_json

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
IMAGE_TYPE = "https://darkroom.invalid/image-receipt/v1"
STREAM_TYPE = "https://darkroom.invalid/stream-receipt/v1"

HEX = re.compile(r"[0-9a-f]{64}")
RECEIPT_ID = re.compile(r"rcpt_[0-9a-f]{32}")
S = TypeVar("S")


def _check_digests(value: object, *names: str) -> None:
    for name in names:
        found = getattr(value, name)
        if found is not None and not HEX.fullmatch(found):
            raise ValueError(f"{name}: is not the hex of a sha256")


def _check_counts(value: object, *names: str) -> None:
    for name in names:
        found = getattr(value, name)
        if found is not None and not 0 <= found < 2**53:  # beyond, JSON's readers disagree
            raise ValueError(f"{name}: is not a count")


@dataclass(frozen=True, kw_only=True)
class Digest:
    sha256: str

    def __post_init__(self) -> None:
        _check_digests(self, "sha256")


@dataclass(frozen=True, kw_only=True)
class Subject:
    name: str
    digest: Digest


@dataclass(frozen=True, kw_only=True)
class Input:
    """A picture that the client sent."""

    role: Literal["reference", "mask"]
    index: int
    observed: Literal["bytes", "fetched", "link"]
    sha256: str | None = None
    length: int | None = None
    mediaType: str | None = None
    urlSha256: str | None = None

    def __post_init__(self) -> None:
        _check_digests(self, "sha256", "urlSha256")
        _check_counts(self, "index", "length")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the client sent."""

    id: str
    path: str
    sha256: str
    length: int
    mediaType: str
    promptCommitment: str | None = None
    inputs: list[Input] | None = None

    def __post_init__(self) -> None:
        _check_digests(self, "sha256", "promptCommitment")
        _check_counts(self, "length")


@dataclass(frozen=True, kw_only=True)
class Called:
    """A request to the service, and what came back."""

    method: str
    origin: str
    sha256: str
    length: int
    status: int | None = None
    answerSha256: str | None = None
    answerLength: int | None = None

    def __post_init__(self) -> None:
        _check_digests(self, "sha256", "answerSha256")
        _check_counts(self, "length", "status", "answerLength")


@dataclass(frozen=True, kw_only=True)
class Forwarded:
    calls: list[Called]
    changes: list[str]


@dataclass(frozen=True, kw_only=True)
class Upstream:
    provider: str
    modelAsked: str
    modelSent: str
    modelReported: str
    plugin: str | None = None
    package: str | None = None
    version: str | None = None
    requestId: str | None = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """A picture of the answer."""

    length: int
    mediaType: str
    delivery: Literal["inline", "fetched"]
    c2pa: Literal["present", "absent", "unknown"]
    width: int | None = None
    height: int | None = None
    host: str | None = None

    def __post_init__(self) -> None:
        _check_counts(self, "length", "width", "height")


@dataclass(frozen=True, kw_only=True)
class Chained:
    """What stood in a stream before the event with the receipt."""

    events: int
    head: str

    def __post_init__(self) -> None:
        _check_counts(self, "events")
        _check_digests(self, "head")


@dataclass(frozen=True, kw_only=True)
class ImagePredicate:
    receipt: str
    issuer: str
    keyid: str
    timeMs: int
    request: Asked
    forwarded: Forwarded
    upstream: Upstream
    outputs: list[Output]
    outcome: Literal["complete", "partial"]
    asked: int
    nonce: str | None = None
    usage: dict[str, object] | None = None
    cost: dict[str, str] | None = None
    stream: Chained | None = None

    def __post_init__(self) -> None:
        _check_common(self)
        _check_counts(self, "asked")


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A stream that was passed on."""

    length: int
    status: int
    mediaType: str

    def __post_init__(self) -> None:
        _check_counts(self, "length", "status")


@dataclass(frozen=True, kw_only=True)
class StreamPredicate:
    receipt: str
    issuer: str
    keyid: str
    timeMs: int
    request: Asked
    answer: Answered
    nonce: str | None = None

    def __post_init__(self) -> None:
        _check_common(self)


def _check_common(predicate: ImagePredicate | StreamPredicate) -> None:
    _check_counts(predicate, "timeMs")
    if not RECEIPT_ID.fullmatch(predicate.receipt):
        raise ValueError("receipt: is not rcpt_ and 32 hex digits")


@dataclass(frozen=True, kw_only=True)
class ImageStatement:
    _type: Literal["https://in-toto.io/Statement/v1"]
    subject: list[Subject]
    predicateType: Literal["https://darkroom.invalid/image-receipt/v1"]
    predicate: ImagePredicate

    def __post_init__(self) -> None:
        if len(self.subject) != len(self.predicate.outputs) or not self.subject:
            raise ValueError("subject: there are not as many as outputs, or none")
        if [one.name for one in self.subject] != [f"image-{place}" for place in range(len(self.subject))]:
            raise ValueError("subject: the names are not image-0, image-1 and so on")

    @property
    def digests(self) -> list[str]:
        """The sha256 of each picture, in hex."""
        return [one.digest.sha256 for one in self.subject]


@dataclass(frozen=True, kw_only=True)
class StreamStatement:
    _type: Literal["https://in-toto.io/Statement/v1"]
    subject: list[Subject]
    predicateType: Literal["https://darkroom.invalid/stream-receipt/v1"]
    predicate: StreamPredicate

    def __post_init__(self) -> None:
        if [one.name for one in self.subject] != ["stream"]:
            raise ValueError("subject: it is not one named stream")


Statement = ImageStatement | StreamStatement
_CLASSES: dict[str, type[Any]] = {IMAGE_TYPE: ImageStatement, STREAM_TYPE: StreamStatement}


def image_statement(digests: list[str], predicate: ImagePredicate) -> bytes:
    """The statement's exact bytes."""
    subjects = [Subject(name=f"image-{place}", digest=Digest(sha256=digest)) for place, digest in enumerate(digests)]
    value = ImageStatement(_type=STATEMENT_TYPE, subject=subjects, predicateType=IMAGE_TYPE, predicate=predicate)  # type: ignore[arg-type]
    return canonical(value)


def stream_statement(digest: str, predicate: StreamPredicate) -> bytes:
    """The statement's exact bytes."""
    subject = Subject(name="stream", digest=Digest(sha256=digest))
    value = StreamStatement(_type=STATEMENT_TYPE, subject=[subject], predicateType=STREAM_TYPE, predicate=predicate)  # type: ignore[arg-type]
    return canonical(value)


def read_statement(payload: bytes) -> Statement:
    """Raises ValueError that says what is wrong: another type, a member too many or too few, bytes that are not canonical."""
    value = read_json(payload, "the statement")
    if not isinstance(value, dict) or value.get("_type") != STATEMENT_TYPE:
        raise ValueError(f"it is not an in-toto statement ({STATEMENT_TYPE})")
    kind = value.get("predicateType")
    if not isinstance(kind, str) or kind not in _CLASSES:
        raise ValueError(f"it states something else than {' or '.join(_CLASSES)}")
    found: Statement = read_as(_CLASSES[kind], payload, "the statement")
    return found


def read_as(cls: type[S], payload: bytes, what: str) -> S:
    """A value of one of these classes, whose canonical bytes are `payload`. Raises ValueError."""
    try:
        found = build(cls, read_json(payload, what), what)
    except ConfigError as error:
        raise ValueError(str(error.faults[0])) from None
    try:
        same = rfc8785.dumps(_plain(found)) == payload
    except (ValueError, TypeError, RecursionError, rfc8785.CanonicalizationError):
        same = False
    if not same:
        raise ValueError(f"{what} is not canonical JSON of strings and integers (RFC 8785)")
    return found


def canonical(value: object) -> bytes:
    """RFC 8785, as fast as it goes; what is None is left out. Raises TypeError, ValueError for what has no place in it.

    With strings and integers alone and keys in ASCII, orjson's sorted output is that already, in a tenth of the time. The
    verifier compares with the library's.
    """
    plain = _plain(value)
    return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS) if _ascii_keys(plain) else rfc8785.dumps(plain)


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int:
        return value
    if kind is list:
        return [_plain(inner) for inner in value]
    if kind is dict:
        return {str(name): _plain(inner) for name, inner in value.items()}
    if is_dataclass(value):
        names = value.__dataclass_fields__
        return {name: _plain(inner) for name in names if (inner := getattr(value, name)) is not None}
    raise TypeError(f"{kind.__name__} has no place in a statement")


def _ascii_keys(plain: Any) -> bool:
    """Whether all keys sort alike by bytes and by UTF-16 units."""
    if type(plain) is dict:
        return all(name.isascii() and _ascii_keys(inner) for name, inner in plain.items())
    return type(plain) is not list or all(map(_ascii_keys, plain))


def words(text: str) -> str:
    """`text` fit for a statement: whatever a service sent, it can be written, and has an end."""
    return text.encode("utf-8", "replace").decode("utf-8")[:1000]


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a statement."""
    kinds = {"oneOf": [_object(cls) for cls in (ImageStatement, StreamStatement)]}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A Darkroom receipt's statement"}
    return {**head, **kinds, "$defs": {"value": _VALUE, "sha256": _SHA256, "count": _COUNT}}


_SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}
_VALUE = {
    "anyOf": [
        {"type": ["string", "integer"]},
        {"type": "array", "items": {"$ref": "#/$defs/value"}},
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/value"}},
    ]
}
_DIGESTS = frozenset({"sha256", "urlSha256", "answerSha256", "promptCommitment", "head"})


def _object(cls: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    required = [one.name for one in fields(cls) if one.default is dataclasses.MISSING]
    properties = {one.name: _schema(hints[one.name], one.name) for one in fields(cls)}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _schema(hint: Any, name: str) -> dict[str, Any]:
    if get_origin(hint) is UnionType:
        hint = next(arm for arm in get_args(hint) if arm is not NoneType)
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if get_origin(hint) is list:
        return {"type": "array", "items": _schema(get_args(hint)[0], name)}
    if get_origin(hint) is dict:
        inner = get_args(hint)[1]
        return {"type": "object", "additionalProperties": {"type": "string"} if inner is str else {"$ref": "#/$defs/value"}}
    if is_dataclass(hint) and isinstance(hint, type):
        return _object(hint)
    if hint is int:
        return {"$ref": "#/$defs/count"}
    if name == "receipt":
        return {"type": "string", "pattern": "^rcpt_[0-9a-f]{32}$"}
    return {"$ref": "#/$defs/sha256"} if name in _DIGESTS else {"type": "string"}
