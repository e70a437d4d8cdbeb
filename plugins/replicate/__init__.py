"""Image models on Replicate, each with names of its own for the same things."""

from .plugin import Replicate

__all__ = ["Replicate"]
