"""Gemini's image models, by Google's own generateContent."""

from .plugin import Gemini

__all__ = ["Gemini"]
