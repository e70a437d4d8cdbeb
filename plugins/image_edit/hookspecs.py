"""The hooks that image_edit declares: where providers come from, and who signs."""

from __future__ import annotations

from collections.abc import Iterable

from proxy_core import hookspec

from .model import Provider, Signer


class ImageEditHooks:
    """Each is called once, when every listed plugin is registered."""

    @hookspec
    def image_edit_providers(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """The image services that this plugin brings."""

    @hookspec
    def image_edit_signer(self) -> Signer | None:
        """Who signs the answers. Two signers stop the start."""
