"""HTTP message signatures, checked: the saved head of an answer against its saved body (RFC 9421, RFC 9530)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver
from http_message_signatures.algorithms import ECDSA_P256_SHA256
from http_message_signatures.exceptions import HTTPMessageSignaturesException
from multidict import CIMultiDict

from .keys import Known
from .messages import LABEL

_FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(kw_only=True)
class _Message:
    status_code: int
    headers: CIMultiDict[str]
    request: None = None


class _Trusted(HTTPSignatureKeyResolver):
    def __init__(self, keys: Sequence[Known]) -> None:
        self._keys = {one.key.id: one.key.key for one in keys}

    def resolve_public_key(self, key_id: str) -> Any:
        return self._keys.get(key_id)

    def resolve_private_key(self, key_id: str) -> Any:
        raise LookupError(key_id)


def check_head(head: bytes, body: bytes, keys: Sequence[Known]) -> str:
    """What the signature in `head`, as `curl -D` saves it, covers. Raises ValueError that says why it proves nothing."""
    verifier = HTTPMessageVerifier(signature_algorithm=ECDSA_P256_SHA256, key_resolver=_Trusted(keys))
    try:
        found = verifier.verify(
            _parsed(head),
            max_age=None,
            expect_tag=LABEL,
            require_components=("@status", "content-type", "content-digest"),
            body=body,
        )
    except HTTPMessageSignaturesException as error:
        raise ValueError(str(error) or "it does not fit") from None
    for one in found:
        _check_time(one.parameters, keys)
    covered = ", ".join(name.strip('"') for name in found[0].covered_components if "signature-params" not in name)
    return f"RFC 9421, over {covered}"


def _check_time(parameters: Mapping[str, Any], keys: Sequence[Known]) -> None:
    """Raises ValueError for a signature from outside the time in which its key signs: so it is with receipts."""
    known = [one for one in keys if one.key.id == parameters["keyid"]]
    if not any(one.covers(parameters["created"]) for one in known):
        raise ValueError(f"it is of a time when the key {parameters['keyid']} did not sign")


def _parsed(head: bytes) -> _Message:
    blocks = [block for block in head.replace(b"\r\n", b"\n").split(b"\n\n") if block.strip()]
    if not blocks:
        raise ValueError("the head is empty")
    status, *lines = blocks[-1].decode("latin-1").split("\n")  # before it may stand 100 Continue, or a redirect
    words = status.split(" ")
    if len(words) < 2 or not words[0].startswith("HTTP/") or not re.fullmatch("[0-9]{3}", words[1]):
        raise ValueError("the head has no status line")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _FIELD.fullmatch(name):  # a line that begins with a space would belong to the one before it
            raise ValueError("a line of the head is no header field")
        headers.add(name, value.strip())
    return _Message(status_code=int(words[1]), headers=headers)
