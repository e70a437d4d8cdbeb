"""DSSE envelopes: exact bytes with their type and a signature (secure-systems-lab/dsse, protocol.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
import pybase64

from .keys import PrivateKey, PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def pre_authentication(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """What is really signed: type and payload, each with its length, so that neither can be read as the other."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, key: PrivateKey) -> dict[str, object]:
    """The envelope, as a JSON value."""
    return {
        "payloadType": PAYLOAD_TYPE,
        "payload": pybase64.b64encode(payload).decode(),
        "signatures": [{"keyid": key.public.id, "sig": pybase64.b64encode(key.sign(pre_authentication(payload))).decode()}],
    }


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """An envelope, read but not yet believed."""

    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]  # (key id as claimed, signature)

    @classmethod
    def read(cls, value: object) -> Envelope:
        """From a JSON value. Raises ValueError that says what is wrong."""
        if not isinstance(value, dict) or not {"payload", "payloadType", "signatures"} <= value.keys():
            raise ValueError("it is not a DSSE envelope: payload, payloadType and signatures are not all there")
        if value["payloadType"] != PAYLOAD_TYPE:
            raise ValueError(f"its payloadType is not {PAYLOAD_TYPE}")
        listed = value["signatures"]
        if not isinstance(listed, list) or not listed:
            raise ValueError("it has no signatures")
        return cls(payload=_decoded(value["payload"], "payload"), signatures=tuple(_signature(one) for one in listed))

    def signed_by(self, key: PublicKey) -> bool:
        """Whether one of the signatures is `key`'s. The key ids inside only say what was claimed, and are not asked."""
        message = pre_authentication(self.payload)
        return any(key.checks(signature, message) for _, signature in self.signatures)


def _signature(one: Any) -> tuple[str, bytes]:
    if not isinstance(one, dict):
        raise ValueError("a signature is not an object")
    keyid = one.get("keyid", "")
    return keyid if isinstance(keyid, str) else "", _decoded(one.get("sig"), "sig")


def _decoded(text: object, name: str) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"{name} is not a string")
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError(f"{name} is not valid base64") from None


def parse(data: bytes) -> Envelope:
    """From a receipt's file: the envelope itself, or an answer that holds it in `darkroom_receipt`. Raises ValueError."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise ValueError("it is not JSON") from None
    if isinstance(value, dict) and "darkroom_receipt" in value:
        value = value["darkroom_receipt"]
    return Envelope.read(value)
