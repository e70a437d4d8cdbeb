"""Ark's errors: its words, and what OpenAI calls the same (contracts: bytedance.md, section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from plugins.image_edit import Failure, Reply, UpstreamRefusal, refusal

# By a part of the code, the first that fits; with the status that OpenAI has for it, or None where it keeps its own.
_MEANS = (
    (("AccountOverdue",), 429, "insufficient_quota"),
    (("Sensitive", "RiskDetection", "ContentSecurity"), 400, "content_policy_violation"),
    (("Authentication",), 401, "invalid_api_key"),
    (("AccessDenied", "OperationDenied", "ModelIDAccessDisabled"), 403, "permission_denied"),
    (("NotFound", "ModelNotOpen", "UnsupportedModel", "ClosedEndpoint"), 404, "model_not_found"),
    (("RateLimit", "QuotaExceeded", "TooManyRequests"), 429, "rate_limit_exceeded"),
    (("MissingParameter",), 400, "missing_required_parameter"),
    (("InvalidParameter", "InvalidEndpoint"), 400, "invalid_value"),
    (("InternalService",), 500, "upstream_error"),
)
_STATUS = {401: "invalid_api_key", 403: "permission_denied", 404: "model_not_found", 429: "rate_limit_exceeded"}


def refused(reply: Reply, provider: str, *, failure: Failure | None = None) -> UpstreamRefusal:
    """A refusal, with the vendor's code behind its words: the whole answer, or what stands in a picture's place in one."""
    word, words = _told(reply)
    found = next(((status, code) for parts, status, code in _MEANS if any(part in word for part in parts)), None)
    status = reply.status if reply.status >= 400 else 502
    status, code = found or (status, _STATUS.get(status, "upstream_error"))
    # What stands in an answer has the status that it would have elsewhere; an answer's own says more than its code does.
    status = reply.status if reply.status >= 500 else status
    said = f"{words or 'it gave no reason'} ({word})" if word else words
    return refusal(reply, provider, status=status, code=code, message=said or None, failure=failure)


def item_refused(item: Mapping[str, Any], provider: str) -> UpstreamRefusal:
    """What stands in a picture's place. Only pictures that were made are charged."""
    return refused(Reply(body=orjson.dumps(item)), provider, failure=Failure.NOT_BILLED)


def _told(reply: Reply) -> tuple[str, str]:
    """(code, words)."""
    try:
        error = reply.json["error"]
    except (ValueError, LookupError, TypeError):
        return "", ""
    if not isinstance(error, dict):
        return "", str(error)
    code, words = error.get("code"), error.get("message")
    return code[:100] if isinstance(code, str) else "", words if isinstance(words, str) else ""
