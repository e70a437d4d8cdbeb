"""Z.ai's errors: a number of its own tells what a status does not (contracts: zai.md, "Errors")."""

from __future__ import annotations

import re

from plugins.image_edit import Failure, Reply, UpstreamRefusal, refusal

# Business codes: exact ones, then ranges; each with OpenAI's status and code.
_EXACT = {
    "1113": (429, "insufficient_quota"),
    "1211": (404, "model_not_found"),
    "1300": (400, "content_policy_violation"),
    "1301": (400, "content_policy_violation"),
}
_RANGES = (
    (range(1000, 1005), 401, "invalid_api_key"),
    (range(1110, 1122), 403, "account_problem"),
    (range(1220, 1223), 403, "permission_denied"),
    (range(1230, 1232), 400, "invalid_value"),
    (range(1234, 1235), 502, "upstream_error"),
    (range(1200, 1220), 400, "invalid_value"),
    (range(1302, 1400), 429, "rate_limit_exceeded"),
)
_STATUS = {
    401: (401, "invalid_api_key"),
    403: (403, "permission_denied"),
    429: (429, "rate_limit_exceeded"),
    434: (403, "permission_denied"),
    435: (400, "invalid_value"),
}


def refused(reply: Reply, provider: str, *, ran: bool = False) -> UpstreamRefusal:
    """A refusal in OpenAI's words, with the service's number in its message; 429 means empty balance as well as haste."""
    number, words = _told(reply)
    # In an answer with status 200, the edge's number is the status that it would have had.
    meant = int(number) if reply.status < 400 and re.fullmatch("[45][0-9]{2}", number) else reply.status
    status, code = _meaning(number) or _STATUS.get(meant, (meant if meant >= 400 else 502, "upstream_error"))
    said = f"{words or 'it gave no reason'} (code {number})" if number else words
    # What is unsafe may be a picture that was made: that it is free is not told.
    free = not ran and status < 500 and reply.status < 500 and status != 408 and code != "content_policy_violation"
    failure = Failure.NOT_BILLED if free else Failure.UNKNOWN
    return refusal(reply, provider, status=status, code=code, failure=failure, message=said or None)


def _meaning(number: str) -> tuple[int, str] | None:
    if number in _EXACT:
        return _EXACT[number]
    value = int(number) if number.isascii() and number.isdigit() else 0
    return next(((status, code) for numbers, status, code in _RANGES if value in numbers), None)


def _told(reply: Reply) -> tuple[str, str]:
    """(number, words) of `{"error": {"code": "1210", "message"}}`, or the gateway's `{"code", "msg", "success": false}`."""
    try:
        value = reply.json
    except ValueError:
        return "", ""
    error = (value.get("error") or value) if isinstance(value, dict) else {}
    if not isinstance(error, dict):
        return "", str(error)
    words = error.get("message") or error.get("msg") or ""
    code = error.get("code")
    return str(code) if isinstance(code, (str, int)) else "", words if isinstance(words, str) else ""


def failed(reply: Reply) -> bool:
    """Whether an answer with status 200 is an error after all."""
    value = reply.json
    return isinstance(value, dict) and (bool(value.get("error")) or value.get("success") is False)
