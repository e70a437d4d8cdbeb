"""Receipts: what was made, of what, by whom, signed so that anyone can check it offline."""

from .plugin import Signing

__all__ = ["Signing"]
