"""Image models on fal, through its queue."""

from .plugin import Fal

__all__ = ["Fal"]
