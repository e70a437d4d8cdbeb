"""Qwen-Image and Wan, by Alibaba's Model Studio (DashScope)."""

from .plugin import DashScope

__all__ = ["DashScope"]
