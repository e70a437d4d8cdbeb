"""GPT Image by Azure OpenAI."""

from .plugin import Azure

__all__ = ["Azure"]
