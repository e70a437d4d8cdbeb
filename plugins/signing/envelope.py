"""DSSE envelopes: exact bytes with their type and a signature (secure-systems-lab/dsse, protocol.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .keys import Known, PrivateKey, SigningKey
from .strict import decode, encode

STATEMENT = "application/vnd.in-toto+json"
EVENT = "application/vnd.darkroom.event+json"


def pre_authentication(payload: bytes, payload_type: str = STATEMENT) -> bytes:
    """What is really signed: type and payload, each with its length, so that neither can be read as the other."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


async def seal(payload: bytes, key: SigningKey, payload_type: str = STATEMENT) -> dict[str, object]:
    """The envelope, as a JSON value. Raises ValueError if what the key gave is not its signature."""
    message = pre_authentication(payload, payload_type)
    signature = await key.sign(message)
    public = key.public
    # A KMS may be set to another key than it says; what is in memory here cannot be.
    if not isinstance(key, PrivateKey) and not public.checks(signature, message):
        raise ValueError(f"what the signing key gave is not a signature of {public.id}")
    return {
        "payload": encode(payload),
        "payloadType": payload_type,
        "signatures": [{"keyid": public.id, "sig": encode(signature)}],
    }


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """An envelope, read but not yet believed."""

    payload: bytes
    payload_type: str
    keyid: str  # as claimed
    signature: bytes

    @classmethod
    def read(cls, value: object, payload_type: str = STATEMENT) -> Envelope:
        """From a JSON value, of this type and with one signature. Raises ValueError that says what is wrong."""
        if not isinstance(value, dict) or value.keys() != {"payload", "payloadType", "signatures"}:
            raise ValueError("it is not a DSSE envelope of payload, payloadType and signatures alone")
        if value["payloadType"] != payload_type:
            raise ValueError(f"its payloadType is not {payload_type}")
        listed = value["signatures"]
        if not isinstance(listed, list) or len(listed) != 1:
            raise ValueError("it has not exactly one signature")
        keyid, signature = _signature(listed[0])
        payload = decode(value["payload"], "payload")
        return cls(payload=payload, payload_type=payload_type, keyid=keyid, signature=signature)

    def signed_by(self, trusted: Iterable[Known]) -> Known | None:
        """Which of the keys signed it. The key id in it only says what was claimed, and is not asked."""
        message = pre_authentication(self.payload, self.payload_type)
        return next((one for one in trusted if one.key.checks(self.signature, message)), None)


def _signature(one: Any) -> tuple[str, bytes]:
    if not isinstance(one, dict) or one.keys() != {"keyid", "sig"} or not isinstance(one["keyid"], str):
        raise ValueError("its signature is not an object of keyid and sig alone")
    return one["keyid"], decode(one["sig"], "sig")
