"""The origin's five fields: what OpenGradient's tee-gateway signs with, so that its verifiers can read our answers.

Names, types and cryptography are those of its README ("Verify Response Signature", "Verify Request Hash") and of its
`tee_manager.py`: RSA-2048-PSS with SHA-256, MGF1-SHA-256 and a salt of 32 bytes, over keccak256(request hash + output hash +
timestamp as 32 bytes); `tee_id` is the keccak256 of the public key's DER form.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from proxy_core import Request

from .strict import encode

# What the origin takes of a chat request into its hash (chat_controller.py, `_chat_request_to_dict`).
_CHAT = ("model", "messages", "max_tokens", "stop", "tools", "response_format")


def generate() -> bytes:
    """A new private key, as PKCS#8 PEM."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def keccak(data: bytes) -> bytes:
    """keccak256, the hash of Ethereum, which is not SHA-3."""
    from Crypto.Hash import keccak as hasher  # it is needed where the origin's fields are switched on, and nowhere else

    return hasher.new(digest_bits=256, data=data).digest()


@dataclass(frozen=True, repr=False)
class OriginKey:
    """The key of the origin's fields."""

    key: rsa.RSAPrivateKey

    @classmethod
    def read(cls, data: bytes) -> OriginKey:
        """From PEM without a password. Raises ValueError."""
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("it is not a private key in PEM without a password") from None
        if not isinstance(key, rsa.RSAPrivateKey) or key.key_size != 2048:
            raise ValueError("it is not an RSA key of 2048 bits; make one with: openssl genrsa 2048")
        return cls(key)

    @property
    def _der(self) -> bytes:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.DER, form)

    @property
    def tee_id(self) -> str:
        return f"0x{keccak(self._der).hex()}"

    @property
    def published(self) -> dict[str, object]:
        """What the origin answers at /signing-key."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        pem = self.key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()
        return {"public_key": pem, "tee_id": self.tee_id}

    async def fields(self, request_hash: bytes, output: bytes) -> dict[str, object]:
        """The five fields. RSA takes a millisecond, and leaves the event loop."""
        return await asyncio.to_thread(self._fields, request_hash, output)

    def _fields(self, request_hash: bytes, output: bytes) -> dict[str, object]:
        now = int(time.time())
        output_hash = keccak(output)
        message = keccak(request_hash + output_hash + now.to_bytes(32, "big"))
        scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        return {
            "tee_request_hash": request_hash.hex(),
            "tee_output_hash": output_hash.hex(),
            "tee_timestamp": now,
            "tee_id": self.tee_id,
            "tee_signature": encode(self.key.sign(message, scheme, hashes.SHA256())),
        }

    def __repr__(self) -> str:
        return "OriginKey(***)"


async def request_hash(request: Request) -> bytes:
    """keccak256 of the request as the origin's README has it: JSON with its keys sorted, as Python writes it.

    Megabytes of reference pictures take tens of milliseconds, so it is done in a thread.
    """
    return await asyncio.to_thread(_request_hash, bytes(request.body.contiguous()), request.path)


def _request_hash(data: bytes, path: str) -> bytes:
    try:
        value = json.loads(data)
        text = json.dumps(_canonical(value) if path.endswith("/chat/completions") else value, sort_keys=True)
        return keccak(text.encode("utf-8"))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        # A form, or what Python's JSON cannot write, or no number for a temperature: the bytes themselves.
        return keccak(data)


def _canonical(value: dict[str, Any]) -> dict[str, Any]:
    temperature = value.get("temperature")
    taken: dict[str, Any] = {"temperature": 0.0 if temperature is None else float(temperature)}
    for name in _CHAT:
        if value.get(name) or name in ("model", "messages"):
            taken[name] = value.get(name)
    return taken
