"""What was asked and cannot be had: a warning for each change, or a refusal."""

from __future__ import annotations

from dataclasses import dataclass

from proxy_core import ClientError

from .model import Job

_MOST_WARNINGS = 64  # warnings are signed, and stand in the answer and a header


@dataclass
class Fitting:
    """A job on its way to what its model can take."""

    job: Job
    name: str
    reject: bool
    warnings: list[str]

    def unsupported(self, param: str, what: str, *, instead: str, legal: str) -> None:
        """`what` was asked and cannot be had. Raises ClientError where the operator wants that, else keeps a warning."""
        if self.reject:
            raise ClientError(f"{what}; {legal}", param=param, code="unsupported_parameter")
        if len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(f"{what}; {instead}")
