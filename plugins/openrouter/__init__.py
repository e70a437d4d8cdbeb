"""Image models behind OpenRouter, through its chat API."""

from .plugin import OpenRouter

__all__ = ["OpenRouter"]
