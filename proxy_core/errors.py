"""Everything that can go wrong, each with the status and the OpenAI error type it is answered with.

    ProxyError                          500 server_error
    |-- ClientError                     400 invalid_request_error       the client's fault
    |   |-- NotFound                    404
    |   |-- TooLarge                    413
    |   `-- BodyTimeout                 408
    |-- UpstreamError                   502 upstream_error              the upstream's fault; carries a Failure
    |   |-- UpstreamTimeout             504
    |   |-- UpstreamRefusal             the upstream's own status       it answered with an error, told in its own words
    |   `-- InvalidReply                502                             it answered with something that makes no sense
    |-- Overloaded                      503 overloaded_error            our limits
    |   `-- Resting                     503                             a plugin that failed too often
    `-- PluginFault                     500 server_error                our fault: details go to the log, not to the client
    ConfigError                         not answered: it stops the start
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multidict import CIMultiDict


class Failure(enum.Enum):
    """What a failed upstream call may have cost. `x-should-retry` and fallback hang on it."""

    NOT_SENT = "not_sent"  # no byte of the request reached the upstream
    NOT_BILLED = "not_billed"  # the upstream said no before it made anything
    UNKNOWN = "unknown"  # it may have been made and charged: never ask again by ourselves


class ProxyError(Exception):
    """An error with an answer: `status`, and `message`, `type`, `param`, `code` as OpenAI's clients read them."""

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code if code is not None else self.code
        self.status = status if status is not None else self.status
        self.type = type if type is not None else self.type
        self.headers: CIMultiDict[str] = CIMultiDict(headers or {})

    def body(self) -> dict[str, object]:
        """The JSON value of the answer, in OpenAI's shape."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class ClientError(ProxyError):
    """The request cannot be served as it stands."""

    status = 400
    type = "invalid_request_error"


class NotFound(ClientError):
    """No plugin and no route takes this path, or nobody serves this model."""

    status = 404
    code = "unknown_url"


class TooLarge(ClientError):
    """A body is larger than the configured limit."""

    status = 413
    code = "request_too_large"


class BodyTimeout(ClientError):
    """The client stopped sending its body."""

    status = 408
    code = "request_timeout"


class UpstreamError(ProxyError):
    """The upstream could not be reached, or failed while it answered."""

    status = 502
    type = "upstream_error"
    code = "upstream_error"

    def __init__(
        self,
        message: str,
        *,
        failure: Failure,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, param=param, code=code, status=status, type=type, headers=headers)
        self.failure = failure
        if failure is Failure.UNKNOWN:
            # The OpenAI SDKs repeat a POST twice on 408, 409, 429 and 5xx unless told not to; each would be a new bill.
            self.headers.setdefault("x-should-retry", "false")


class UpstreamTimeout(UpstreamError):
    """The upstream was silent for longer than the configured limit."""

    status = 504
    code = "upstream_timeout"


class UpstreamRefusal(UpstreamError):
    """The upstream answered with an error status; status and words are its own."""


class InvalidReply(UpstreamError):
    """The upstream answered, but not with what it should: no image, broken JSON, a missing field.

    A provider raises it with one argument, the reason; what was spent is then unknown.
    """

    code = "invalid_upstream_reply"

    def __init__(self, message: str, *, failure: Failure = Failure.UNKNOWN, code: str | None = None) -> None:
        super().__init__(message, failure=failure, code=code)


class Overloaded(ProxyError):
    """A limit of this proxy is reached; the client may come again after `Retry-After` seconds."""

    status = 503
    type = "overloaded_error"
    code = "overloaded"

    def __init__(self, message: str, *, retry_after: int = 2) -> None:
        super().__init__(message, headers={"Retry-After": str(retry_after)})


class Resting(Overloaded):
    """A plugin failed several times in a row, and is not asked for a while."""

    code = "plugin_unavailable"

    def __init__(self, seconds: int) -> None:
        super().__init__(f"a part of the proxy is out of order; ask again in {seconds} s", retry_after=seconds)


class PluginFault(ProxyError):
    """A plugin raised something that is not a ProxyError, or returned nonsense. `plugin` names it, in the log only; "" is the
    core itself."""

    code = "internal_error"

    def __init__(self, plugin: str) -> None:
        super().__init__("internal error")
        self.plugin = plugin


@dataclass(frozen=True, order=True)
class Fault:
    """One mistake in a config: the key's path, and what is wrong with the mend.

    `missing` names the plugin, or what a plugin brings (`plugin.thing`), for want of which it is one.
    """

    where: str
    what: str
    missing: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class ConfigError(Exception):
    """A config that cannot be used, with every mistake in it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(faults))
        super().__init__("\n".join(str(fault) for fault in self.faults))
