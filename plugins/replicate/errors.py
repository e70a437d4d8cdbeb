"""What Replicate says when it makes no picture: a status, or a prediction's state (contracts: hosted-others.md)."""

from __future__ import annotations

from plugins.image_edit import Failure, Reply, UpstreamRefusal, refusal

_MEANS = {
    401: (401, "invalid_api_key"),
    402: (429, "insufficient_quota"),
    403: (403, "permission_denied"),
    404: (404, "model_not_found"),
    422: (422, "invalid_value"),
    429: (429, "rate_limit_exceeded"),
}
_CENSORED = ("nsfw", "sensitive", "flagged", "moderation", "safety", "prohibited")


def refused(reply: Reply, provider: str) -> UpstreamRefusal:
    """The answer to a submission: nothing runs, except perhaps after a 5xx."""
    status, code = _MEANS.get(reply.status, (reply.status, "upstream_error"))
    return refusal(reply, provider, status=status, code=code)


def failed(reply: Reply, state: str, provider: str) -> UpstreamRefusal:
    """A prediction that ended without a picture; what it ran for is charged."""
    error = reply.json.get("error")
    words = f"the prediction {state}: {error}" if error else f"the prediction {state}"
    if any(word in str(error).lower() for word in _CENSORED):
        code = "content_policy_violation"
        return refusal(reply, provider, status=400, code=code, message=words, failure=Failure.UNKNOWN)
    return refusal(reply, provider, status=502, code="upstream_error", message=words, failure=Failure.UNKNOWN)
