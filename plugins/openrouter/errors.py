"""OpenRouter's errors, of which some come with status 200 (contracts: openrouter.md section A, "Errors")."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from plugins.image_edit import Failure, Reply, UpstreamRefusal, refusal

_CODES = {  # OpenRouter's own are the statuses over again
    400: "invalid_value",
    401: "invalid_api_key",
    402: "insufficient_quota",
    403: "permission_denied",
    404: "model_not_found",
    429: "rate_limit_exceeded",
    503: "overloaded",
}
_STATUS = {402: 429}  # what OpenAI answers where there is no money left
_CENSORED = ("content_filter", "safety", "prohibited", "blocklist", "recitation")


def refused(reply: Reply, provider: str) -> UpstreamRefusal:
    """An answer with a status that is no 200: nothing had begun, unless the status says otherwise."""
    return _told(reply, provider, _error(reply), reply.status, began=False)


def check(reply: Reply, provider: str) -> None:
    """Raises UpstreamRefusal if an answer with status 200 is an error, or a refusal in so many words."""
    choice = reply.json["choices"][0] if reply.json.get("choices") else {}
    if error := _error(reply) or choice.get("error"):
        code = str(error.get("code")) if isinstance(error, Mapping) else ""
        status = int(code) if re.fullmatch("[45][0-9]{2}", code) else 502
        raise _told(reply, provider, error if isinstance(error, Mapping) else {"message": str(error)}, status, began=True)
    message = choice["message"]
    if message.get("images"):
        return
    reason = f"{choice.get('finish_reason')} {choice.get('native_finish_reason')}"
    said = message.get("refusal") or message.get("content")
    words = f"no picture was made: {said}" if isinstance(said, str) and said else f"no picture was made ({reason})"
    if message.get("refusal") or any(word in reason.lower() for word in _CENSORED):
        raise refusal(reply, provider, status=400, code="content_policy_violation", message=words, failure=Failure.UNKNOWN)
    raise refusal(reply, provider, status=502, code="no_image", message=words, failure=Failure.UNKNOWN)


def _error(reply: Reply) -> Mapping[str, Any]:
    try:
        error = reply.json["error"]
    except (ValueError, LookupError, TypeError):
        return {}
    return error if isinstance(error, Mapping) else {"message": str(error)} if error else {}


def _told(reply: Reply, provider: str, error: Mapping[str, Any], status: int, *, began: bool) -> UpstreamRefusal:
    metadata = error.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    words = [str(error.get("message") or "it gave no reason")]
    # "Provider returned error" says nothing; what the provider behind OpenRouter said does.
    raw = metadata.get("raw")  # of whatever kind the provider's is
    raw = orjson.dumps(raw).decode() if isinstance(raw, (Mapping, list)) else raw
    words += [word for word in (metadata.get("provider_name"), raw) if isinstance(word, str)]
    reasons = metadata.get("reasons")
    if reasons and isinstance(reasons, Sequence) and not isinstance(reasons, str):
        words.append(f"reasons: {', '.join(map(str, reasons))}")
    moderated = status == 403 and bool(reasons or metadata.get("flagged_input"))
    if status == 400 and "not a valid model" in words[0]:
        status = 404
    free = (status < 500 and status != 408) or status == 503
    return refusal(
        reply,
        provider,
        status=400 if moderated else _STATUS.get(status, status),
        code="content_policy_violation" if moderated else _CODES.get(status, "upstream_error"),
        failure=Failure.NOT_BILLED if free and not began else Failure.UNKNOWN,
        message="; ".join(words),
    )
