"""GLM-Image and CogView, by Z.ai."""

from .plugin import Zai

__all__ = ["Zai"]
