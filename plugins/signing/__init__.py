"""Receipts: what was made, of what, by whom, signed so that anyone can check it offline."""

from .hookspecs import Attestation, Attestor
from .keys import PrivateKey, PublicKey, SigningKey
from .plugin import Signing

__all__ = ["Attestation", "Attestor", "PrivateKey", "PublicKey", "Signing", "SigningKey"]
