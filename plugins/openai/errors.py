"""OpenAI's refusals: its own shape, with what it leaves open said (contracts: openai.md, "Errors")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugins.image_edit import Failure, Reply, UpstreamRefusal, refusal

# Where no code comes with a status.
_CODES = {401: "invalid_api_key", 403: "permission_denied", 429: "rate_limit_exceeded"}


def told(reply: Reply) -> Mapping[str, Any]:
    """The `error` of an answer, or nothing."""
    try:
        error = reply.json["error"]
    except (ValueError, LookupError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


def refused(reply: Reply, provider: str, *, code: str | None = None, message: str | None = None) -> UpstreamRefusal:
    """A refusal as the client reads it. `code` and `message` are for who knows better than the answer's own."""
    error = told(reply)
    status = 404 if reply.status == 410 else reply.status  # a model that is gone is one that is not there
    if error.get("type") == "insufficient_quota":
        code = "insufficient_quota"
    overloaded = status == 503 and "overloaded" in f"{error.get('type')} {error.get('code')}"
    return refusal(
        reply,
        provider,
        status=status,
        code=code or _text(error.get("code")) or ("model_not_found" if reply.status == 410 else _CODES.get(status)),
        failure=Failure.NOT_BILLED if overloaded else None,
        message=message,
    )


def _text(value: object) -> str:
    return value[:100] if isinstance(value, str) else ""
