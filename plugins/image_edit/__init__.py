"""Image generation and editing on any provider. These names are what a provider or a signer needs."""

from proxy_core import InvalidReply, Secret, UpstreamRefusal, hookimpl

from .drive import refusal
from .model import (
    Call,
    CallError,
    Failed,
    HostedImage,
    Image,
    Job,
    Link,
    Next,
    Note,
    Part,
    Preview,
    Provider,
    Reply,
    Result,
    Rules,
    Seal,
    Signer,
    Sizes,
    Steps,
    Submitted,
)
from .plugin import ImageEdit

__all__ = [
    "Call",
    "CallError",
    "Failed",
    "HostedImage",
    "Image",
    "ImageEdit",
    "InvalidReply",
    "Job",
    "Link",
    "Next",
    "Note",
    "Part",
    "Preview",
    "Provider",
    "Reply",
    "Result",
    "Rules",
    "Seal",
    "Secret",
    "Signer",
    "Sizes",
    "Steps",
    "Submitted",
    "UpstreamRefusal",
    "hookimpl",
    "refusal",
]
