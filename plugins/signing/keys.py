"""Keys: P-256 pairs that are made, read and named, and the key set that verifiers are told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import orjson
import pybase64
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .strict import read_json


class SigningKey(Protocol):
    """Something that signs: a key in memory, or one that a KMS, an HSM or an enclave keeps for itself."""

    @property
    def public(self) -> PublicKey: ...

    async def sign(self, message: bytes) -> bytes:
        """ECDSA over P-256 with SHA-256 of `message`, as ASN.1 DER. Whatever it raises, nothing is answered unsigned."""


def generate() -> bytes:
    """A new private key, as PKCS#8 PEM."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass(frozen=True)
class PublicKey:
    """Checks signatures: ECDSA over P-256 with SHA-256 (ES256), as ASN.1 DER, the form of DSSE's tools and of openssl."""

    key: ec.EllipticCurvePublicKey

    @classmethod
    def read(cls, data: bytes) -> PublicKey:
        """From PEM. Raises ValueError."""
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm):  # a curve that the library does not know
            raise ValueError("it is not a public key in PEM") from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("it is not a P-256 key, and receipts are signed with nothing else")
        return cls(key)

    @classmethod
    def of(cls, jwk: Mapping[str, Any]) -> PublicKey:
        """From a JWK. Raises ValueError: for a key of another kind, or meant for another algorithm, too."""
        if jwk.get("kty") != "EC" or jwk.get("crv") != "P-256" or jwk.get("alg", "ES256") != "ES256":
            raise ValueError("it is not a P-256 key for ES256")
        if jwk.get("use", "sig") != "sig" or "d" in jwk:
            raise ValueError("it is not a public key for signatures")
        try:
            x, y = (int.from_bytes(_from_base64url(jwk[name]), "big") for name in ("x", "y"))
            return cls(ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ValueError("it is not a point on P-256") from None

    @property
    def pem(self) -> bytes:
        return self.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def jwk(self) -> dict[str, object]:
        """RFC 7517, with the key's id."""
        return {**self.required, "kid": self.id, "use": "sig", "alg": "ES256"}

    @cached_property
    def id(self) -> str:
        """The thumbprint of RFC 7638: base64url of the sha256 of the required members in order."""
        return _base64url(hashlib.sha256(orjson.dumps(self.required, option=orjson.OPT_SORT_KEYS)).digest())

    @property
    def required(self) -> dict[str, str]:
        """The members that make the key what it is."""
        numbers = self.key.public_numbers()
        return {
            "crv": "P-256",
            "kty": "EC",
            "x": _base64url(numbers.x.to_bytes(32, "big")),
            "y": _base64url(numbers.y.to_bytes(32, "big")),
        }

    def checks(self, signature: bytes, message: bytes) -> bool:
        try:
            self.key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, repr=False)
class PrivateKey:
    """A key in memory. It is never shown."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def read(cls, data: bytes) -> PrivateKey:
        """From PEM without a password. Raises ValueError."""
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("it is not a private key in PEM without a password") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("it is not a P-256 key; make one with: openssl ecparam -genkey -name prime256v1 -noout")
        return cls(key)

    @cached_property
    def public(self) -> PublicKey:
        return PublicKey(self.key.public_key())

    async def sign(self, message: bytes) -> bytes:
        """It takes some 40 us: no thread is worth it. Deterministic (RFC 6979), so that no bad random number gives it away."""
        return self.key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))

    def __repr__(self) -> str:
        return "PrivateKey(***)"


@dataclass(frozen=True, kw_only=True)
class Known:
    """A public key, and when it signs: seconds since 1970, None for no bound."""

    key: PublicKey
    not_before: int | None = None
    not_after: int | None = None

    def covers(self, seconds: float) -> bool:
        return (self.not_before or 0) <= seconds and (self.not_after is None or seconds < self.not_after)

    @property
    def jwk(self) -> dict[str, object]:
        bounds = {"nbf": self.not_before, "exp": self.not_after}
        return {**self.key.jwk, **{name: value for name, value in bounds.items() if value is not None}}


def key_set(known: Iterable[Known]) -> dict[str, object]:
    """RFC 7517 5."""
    return {"keys": [one.jwk for one in known]}


def read_keys(data: bytes) -> list[Known]:
    """The keys that a verifier trusts: PEM, or a JWKS, of which other kinds of keys are passed over. Raises ValueError."""
    if data.lstrip().startswith(b"-----BEGIN"):
        return [Known(key=PublicKey.read(data))]
    value = read_json(data, "the key set")
    listed = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(listed, list):
        raise ValueError("it is neither a public key in PEM nor a key set (JWKS)")
    found: list[Known] = []
    reasons: list[str] = []
    for jwk in listed:
        try:
            found.append(read_known(jwk))
        except ValueError as error:
            reasons.append(str(error))
    if not found:
        raise ValueError(f"the key set holds no key for receipts ({'; '.join(reasons) or 'it is empty'})")
    return found


def read_known(jwk: object) -> Known:
    """From a JWK with its bounds. Raises ValueError."""
    if not isinstance(jwk, dict):
        raise ValueError("it is not a JWK")
    bounds = [jwk.get("nbf"), jwk.get("exp")]
    if not all(bound is None or type(bound) is int for bound in bounds):
        raise ValueError("its nbf or exp is no whole number of seconds")
    return Known(key=PublicKey.of(jwk), not_before=bounds[0], not_after=bounds[1])


def _base64url(data: bytes) -> str:
    return pybase64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64url(text: str) -> bytes:
    return pybase64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
