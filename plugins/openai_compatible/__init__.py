"""Whatever speaks OpenAI's images API: self-hosted servers and services beside the large ones."""

from .plugin import OpenAICompatible

__all__ = ["OpenAICompatible"]
