"""ByteDance Seedream, through ModelArk's image API."""

from .plugin import ByteDance

__all__ = ["ByteDance"]
