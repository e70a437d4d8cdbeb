"""P-256 keys: made once, read from PEM, named by their thumbprint, published as PEM and JWKS."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import orjson
import pybase64
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


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
        except ValueError:
            raise ValueError("it is not a public key in PEM") from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("it is not a P-256 key, and receipts are signed with nothing else")
        return cls(key)

    @property
    def pem(self) -> bytes:
        return self.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def jwk(self) -> dict[str, str]:
        """RFC 7517, with the key's id."""
        return {**self._required(), "kid": self.id, "use": "sig", "alg": "ES256"}

    @property
    def id(self) -> str:
        """The thumbprint of RFC 7638: base64url of the sha256 of the required members in order."""
        return _base64url(hashlib.sha256(orjson.dumps(self._required(), option=orjson.OPT_SORT_KEYS)).digest())

    def _required(self) -> dict[str, str]:
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
    """Signs. It is never shown."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def read(cls, data: bytes) -> PrivateKey:
        """From PEM without a password. Raises ValueError."""
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError):
            raise ValueError("it is not a private key in PEM without a password") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("it is not a P-256 key; make one with: openssl ecparam -genkey -name prime256v1 -noout")
        return cls(key)

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.key.public_key())

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message, ec.ECDSA(hashes.SHA256()))

    def __repr__(self) -> str:
        return "PrivateKey(***)"


def _base64url(data: bytes) -> str:
    return pybase64.urlsafe_b64encode(data).rstrip(b"=").decode()
