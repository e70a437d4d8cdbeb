"""xAI's errors, whose `error` is a text, and whose 400 may mean a bad key (contracts: xai.md, "Errors")."""

from __future__ import annotations

from plugins.image_edit import Failure, Reply, UpstreamRefusal, refusal

_CODES = {
    400: "invalid_value",
    401: "invalid_api_key",
    403: "permission_denied",
    404: "model_not_found",
    422: "invalid_value",
    429: "rate_limit_exceeded",
}
# What tells apart errors that have one status; the code that comes with them is a sentence of its own.
_WORDS = (
    (("api key",), 401, "invalid_api_key"),
    (("credits", "spending limit"), 429, "insufficient_quota"),
    (("moderation", "content policy", "safety", "usage guidelines"), 400, "content_policy_violation"),
)


def refused(reply: Reply, provider: str) -> UpstreamRefusal:
    """An answer with an error status, in OpenAI's words."""
    said = bytes(reply.body).decode("utf-8", "replace").lower()
    if reply.status in (400, 403, 429):
        for words, status, code in _WORDS:
            if any(word in said for word in words):
                return refusal(reply, provider, status=status, code=code)
    return refusal(reply, provider, code=_CODES.get(reply.status, "upstream_error"))


def withheld(reply: Reply, provider: str) -> UpstreamRefusal:
    """A picture that was made and is not shown: whether it was charged is not told."""
    message = "the picture was withheld by moderation"
    return refusal(
        reply, provider, status=400, code="content_policy_violation", message=message, failure=Failure.UNKNOWN
    )
