"""xAI's errors, whose `error` is a text, and whose 400 may mean a bad key (contracts: xai.md, "Errors")."""

from __future__ import annotations

import re

from plugins.image_edit import Failure, Reply, UpstreamRefusal, refusal

_CODES = {
    400: "invalid_value",
    401: "invalid_api_key",
    403: "permission_denied",
    404: "model_not_found",
    422: "invalid_value",
    429: "rate_limit_exceeded",
}
# What tells apart errors that have one status; the code that comes with them is a sentence of its own. In this order: the
# words on content and on money may name the key that was used, which is no fault of the key.
_CONTENT = re.compile("moderation|content policy|safety|usage guidelines")
_MONEY = re.compile("credits|spending limit")
_KEY = re.compile("(incorrect|invalid|missing|no|unknown|expired) api[ _]key")


def refused(reply: Reply, provider: str) -> UpstreamRefusal:
    """An answer with an error status, in OpenAI's words."""
    said = bytes(reply.body).decode("utf-8", "replace").lower()
    if reply.status in (400, 403) and _CONTENT.search(said):
        # Also of pictures that were made before they were judged; that those are free is not told.
        return refusal(reply, provider, status=400, code="content_policy_violation", failure=Failure.UNKNOWN)
    if reply.status in (400, 403, 429) and _MONEY.search(said):
        return refusal(reply, provider, status=429, code="insufficient_quota")
    if reply.status == 400 and _KEY.search(said):
        return refusal(reply, provider, status=401, code="invalid_api_key")
    return refusal(reply, provider, code=_CODES.get(reply.status, "upstream_error"))


def withheld(reply: Reply, provider: str) -> UpstreamRefusal:
    """A picture that was made and is not shown: whether it was charged is not told."""
    message = "the picture was withheld by moderation"
    return refusal(reply, provider, status=400, code="content_policy_violation", message=message, failure=Failure.UNKNOWN)
