"""FLUX, by Black Forest Labs."""

from .plugin import BFL

__all__ = ["BFL"]
