"""FLUX on Fireworks AI."""

from .plugin import Fireworks

__all__ = ["Fireworks"]
