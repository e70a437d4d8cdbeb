"""What fal says when it makes no picture: a text, or FastAPI's list (contracts: hosted-others.md)."""

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


def refused(reply: Reply, provider: str, *, ran: bool = False) -> UpstreamRefusal:
    """An error answer; with `ran`, that of a job, which may be charged whatever it says."""
    said = bytes(reply.body).decode("utf-8", "replace").lower() + reply.headers.get("x-fal-error-type", "").lower()
    status, code = _MEANS.get(reply.status, (reply.status, "upstream_error"))
    if "content_policy" in said:
        status, code = 400, "content_policy_violation"
    elif reply.status in (402, 403) and ("balance" in said or "locked" in said):
        status, code = 429, "insufficient_quota"
    return refusal(reply, provider, status=status, code=code, failure=Failure.UNKNOWN if ran else None)


def blackened(reply: Reply, provider: str) -> UpstreamRefusal:
    """A picture that was made black, for what it showed; it is charged like any other."""
    message = "the picture was withheld: it is said to be not safe for work"
    code = "content_policy_violation"
    return refusal(reply, provider, status=400, code=code, message=message, failure=Failure.UNKNOWN)
