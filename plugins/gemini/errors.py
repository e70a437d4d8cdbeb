"""Gemini's refusals: Google's errors, and answers with status 200 that hold no picture (contracts: google-gemini.md part A)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from plugins.image_edit import Failure, Reply, UpstreamRefusal, refusal

# Google's `status`, in OpenAI's words; its `code` is the HTTP status over again.
_CODES = {
    "INVALID_ARGUMENT": "invalid_value",
    "FAILED_PRECONDITION": "failed_precondition",
    "UNAUTHENTICATED": "invalid_api_key",
    "PERMISSION_DENIED": "permission_denied",
    "NOT_FOUND": "model_not_found",
    "RESOURCE_EXHAUSTED": "rate_limit_exceeded",
    "UNAVAILABLE": "overloaded",
}
_PLAIN = {401: "invalid_api_key", 403: "permission_denied", 429: "rate_limit_exceeded"}  # where Google itself did not answer
# Of promptFeedback any reason is policy; of `finishReason`, these.
_POLICY = frozenset(
    {
        "SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION", "ESCALATION", "PUP_LIMITED_DISABLED", "MODEL_ARMOR",
    }
)  # fmt: skip


def refused(reply: Reply, provider: str) -> UpstreamRefusal:
    """An answer with an error's status."""
    error = _error(reply)
    words, state, details = _text(error.get("message")), error.get("status"), _details(error)
    status, param = reply.status, _violated(details.get("BadRequest", {}))
    code = _CODES.get(str(state)) or _PLAIN.get(status, "upstream_error")
    if details.get("ErrorInfo", {}).get("reason") == "API_KEY_INVALID" or (status == 400 and words.startswith("API key")):
        status, code = 401, "invalid_api_key"
    elif "Unknown name" in words:
        code = "unknown_parameter"
    elif code == "model_not_found":
        param = "model"
    elif status == 402 or (status == 429 and re.search(r"\blimit: 0\b", words)):
        # Prepaid credits are used up, or the free tier has none of this model: asking again mends neither.
        status, code = 429, "insufficient_quota"
    told: dict[str, object] = {"error": {"message": words, "param": param}} if error else {}
    headers = {**_pause(details), **reply.headers} if code == "rate_limit_exceeded" else reply.headers
    return refusal(
        replace(reply, body=orjson.dumps(told), headers=headers),
        provider,
        status=status,
        code=code,
        failure=Failure.NOT_BILLED if code == "overloaded" else None,
    )


def unmade(reply: Reply, candidate: Mapping[str, Any], provider: str) -> UpstreamRefusal:
    """An answer without a picture, in the model's words. What it thought until then may be charged."""
    blocked = (reply.json.get("promptFeedback") or {}).get("blockReason")
    reason = blocked or candidate.get("finishReason") or "no reason"
    said = [_text(candidate.get("finishMessage")), *(_text(part.get("text")) for part in parts_of(candidate))]
    words = f"no picture was made ({reason}): {' '.join(filter(None, said))}".removesuffix(": ")
    policy = blocked or reason in _POLICY
    return refusal(
        reply,
        provider,
        status=400 if policy else 502,
        code="content_policy_violation" if policy else "no_image",
        message=words,
        failure=Failure.UNKNOWN,
    )


def parts_of(candidate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the model said and drew, without what it thought: drafts are among that."""
    parts = (candidate.get("content") or {}).get("parts") or []
    return [part for part in parts if not part.get("thought")]


def _error(reply: Reply) -> Mapping[str, Any]:
    try:
        value = reply.json
        error = (value[0] if isinstance(value, list) else value)["error"]
    except (ValueError, LookupError, TypeError):
        return {}
    return error if isinstance(error, dict) else {"message": error}


def _details(error: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By the last word of their type: RetryInfo of "type.googleapis.com/google.rpc.RetryInfo"."""
    details = error.get("details")
    return {
        str(detail.get("@type")).rpartition(".")[2]: detail
        for detail in (details if isinstance(details, list) else ())
        if isinstance(detail, dict)
    }


def _violated(fault: Mapping[str, Any]) -> str | None:
    """The first field that is wrong, as Google calls it: "generation_config.image_config.image_size"."""
    violations = fault.get("fieldViolations")
    first = violations[0] if isinstance(violations, list) and violations else None
    return _text(first.get("field")) or None if isinstance(first, dict) else None


def _pause(details: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """RetryInfo's `retryDelay` ("23s", "0.8s") as a header in whole seconds."""
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]+)?)s", _text(details.get("RetryInfo", {}).get("retryDelay")))
    return {"retry-after": str(math.ceil(float(match[1])))} if match else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
