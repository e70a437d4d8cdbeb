"""What a receipt states: an in-toto Statement about the pictures of one answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import rfc8785

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://darkroom.invalid/image-receipt/v1"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture as it is stated."""

    sha256: str
    size: int
    media_type: str


def state(pictures: Sequence[Picture], predicate: Mapping[str, object]) -> bytes:
    """The statement's exact bytes, in canonical JSON (RFC 8785); strings and integers only."""
    subjects = [
        {
            "name": f"image-{place}",
            "digest": {"sha256": picture.sha256},
            "annotations": {"mediaType": picture.media_type, "length": picture.size},
        }
        for place, picture in enumerate(pictures)
    ]
    value: dict[str, Any] = {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PREDICATE_TYPE,
        "predicate": dict(predicate),
    }
    return rfc8785.dumps(value)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A statement, read from a payload."""

    digests: tuple[str, ...]  # sha256 of each picture, in hex
    predicate: Mapping[str, Any]

    @classmethod
    def read(cls, payload: bytes) -> Statement:
        """Raises ValueError that says what is wrong."""
        try:
            value = orjson.loads(payload)
        except orjson.JSONDecodeError:
            raise ValueError("the statement is not JSON") from None
        if not isinstance(value, dict) or value.get("_type") != STATEMENT_TYPE:
            raise ValueError(f"it is not an in-toto statement ({STATEMENT_TYPE})")
        if value.get("predicateType") != PREDICATE_TYPE:
            raise ValueError(f"it states something else than {PREDICATE_TYPE}")
        subjects, predicate = value.get("subject"), value.get("predicate")
        if not isinstance(subjects, list) or not subjects or not isinstance(predicate, dict):
            raise ValueError("the statement has no subject, or no predicate")
        return cls(digests=tuple(_digest(subject) for subject in subjects), predicate=predicate)


def _digest(subject: Any) -> str:
    digest = subject.get("digest") if isinstance(subject, dict) else None
    found = digest.get("sha256") if isinstance(digest, dict) else None
    if not isinstance(found, str) or len(found) != 64:
        raise ValueError("a subject has no sha256")
    return found
