"""An image service inside the proxy, for trying everything without a key or a network."""

from .plugin import Sandbox

__all__ = ["Sandbox"]
