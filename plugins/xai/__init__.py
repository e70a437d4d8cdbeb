"""Grok Imagine, by xAI."""

from .plugin import XAI

__all__ = ["XAI"]
