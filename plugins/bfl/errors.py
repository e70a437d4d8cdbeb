"""What BFL says when it makes no picture: with a status, or as the state of a job (contracts: bfl.md)."""

from __future__ import annotations

from dataclasses import replace

import orjson

from plugins.image_edit import Failure, Reply, UpstreamRefusal, refusal

_CODES = {
    402: (429, "insufficient_quota"),
    404: (404, "model_not_found"),
    429: (429, "rate_limit_exceeded"),
    503: (503, "overloaded"),
}


def refused(reply: Reply, provider: str) -> UpstreamRefusal:
    """The answer to a submission: nothing runs, except perhaps after a 500."""
    status, code = _CODES.get(reply.status, (reply.status, None))
    if reply.status in (401, 403):
        known = b"authenticat" not in bytes(reply.body).lower()
        status, code = (403, "permission_denied") if reply.status == 403 and known else (401, "invalid_api_key")
    return refusal(reply, provider, status=status, code=code, failure=Failure.NOT_BILLED if status in (429, 503) else None)


def failed(reply: Reply, state: str, id_: str, provider: str) -> UpstreamRefusal:
    """A job that ended without a picture. Its id is what the vendor's support can find it by."""
    reply = replace(reply, headers={**reply.headers, "x-request-id": id_})
    details = reply.json.get("details")
    words = f"{state}: {_words(details)}" if details else state
    if "Moderated" in state:  # of the request or of the picture; neither is charged
        code = "content_policy_violation"
        return refusal(reply, provider, status=400, code=code, message=words, failure=Failure.NOT_BILLED)
    return refusal(reply, provider, status=502, code="upstream_error", message=words, failure=Failure.UNKNOWN)


def _words(details: object) -> str:
    if isinstance(details, str):
        return details
    try:
        return orjson.dumps(details).decode()
    except TypeError:  # nested deeper than can be written
        return "for reasons that cannot be told"
