"""FLUX on Together AI."""

from .plugin import Together

__all__ = ["Together"]
