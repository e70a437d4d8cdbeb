"""DashScope's errors: flat, by words of its own, and at times with status 200 (contracts: dashscope.md, "Errors")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from plugins.image_edit import Failure, Reply, UpstreamRefusal, refusal

# By the beginning of the code, the longer ones first.
_MEANS = (
    ("InvalidApiKey", 401, "invalid_api_key"),
    ("Arrearage", 429, "insufficient_quota"),
    ("AccessDenied", 403, "permission_denied"),
    ("DataInspectionFailed", 400, "content_policy_violation"),
    ("ModelNotFound", 404, "model_not_found"),
    ("Model.NotExist", 404, "model_not_found"),  # this one, and the two at the end, are from the vendor's own SDK
    ("Throttling", 429, "rate_limit_exceeded"),
    ("InternalError", 500, "upstream_error"),
    ("InvalidParameter", 400, "invalid_value"),
    ("InvalidURL", 400, "invalid_value"),
    ("BadRequest", 400, "invalid_value"),
    ("UnsupportedOperation", 400, "invalid_value"),
    ("ServiceUnavailable", 503, "overloaded"),
    ("GatewayTimeout", 504, "upstream_timeout"),
)
_STATUS = {401: "invalid_api_key", 403: "permission_denied", 404: "model_not_found", 429: "rate_limit_exceeded"}


def refused(told: Mapping[str, Any], reply: Reply, provider: str, failure: Failure | None = None) -> UpstreamRefusal:
    """A refusal of `{"code": ..., "message": ...}`, which is the whole answer, or a task's, or one picture's."""
    word = str(told.get("code") or "")
    status, code = next(((status, code) for start, status, code in _MEANS if word.startswith(start)), (0, ""))
    if not status:
        status = reply.status if reply.status >= 400 else 502
        code = _STATUS.get(status, "upstream_error")
    words = f"{told.get('message') or 'it gave no reason'}" + (f" ({word})" if word else "")
    return refusal(named(reply), provider, status=status, code=code, message=words, failure=failure)


def body_of(reply: Reply) -> Mapping[str, Any]:
    """An answer's object, or nothing."""
    try:
        value = reply.json
    except ValueError:
        return {}
    return value if isinstance(value, Mapping) else {}


def named(reply: Reply) -> Reply:
    """The answer with the service's own id of the request, which stands in its body, where others have it: in a header."""
    told = body_of(reply).get("request_id")
    return replace(reply, headers={**reply.headers, "x-request-id": told}) if told and isinstance(told, str) else reply
