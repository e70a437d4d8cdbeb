"""Image generation and editing on any provider. These names are what a provider or a signer needs."""

from proxy_core import Failure, InvalidReply, Secret, UpstreamRefusal, hookimpl

from .c2pa import c2pa
from .drive import refusal, request_id_of
from .model import (
    Call,
    CallError,
    Ended,
    Failed,
    HostedImage,
    Job,
    Next,
    Note,
    Part,
    Preview,
    Provider,
    Reply,
    Result,
    Seal,
    Sent,
    Signer,
    Steps,
    Submitted,
)
from .origins import check_base_url, may_call
from .picture import Image, Link
from .plugin import ImageEdit
from .polling import check_poll_every, poll
from .rules import Decimals, Inputs, Price, Rules, Shapes, Sizes, Tier

__all__ = [
    "Call",
    "CallError",
    "Decimals",
    "Ended",
    "Failed",
    "Failure",
    "HostedImage",
    "Image",
    "ImageEdit",
    "Inputs",
    "InvalidReply",
    "Job",
    "Link",
    "Next",
    "Note",
    "Part",
    "Preview",
    "Price",
    "Provider",
    "Reply",
    "Result",
    "Rules",
    "Seal",
    "Secret",
    "Sent",
    "Shapes",
    "Signer",
    "Sizes",
    "Steps",
    "Submitted",
    "Tier",
    "UpstreamRefusal",
    "c2pa",
    "check_base_url",
    "check_poll_every",
    "hookimpl",
    "may_call",
    "poll",
    "refusal",
    "request_id_of",
]
