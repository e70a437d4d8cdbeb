"""Asks a running proxy whether it is ready: `darkroom health`, for containers and scripts without curl."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Sequence

from .listen import Address

_EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what listens everywhere is asked on this machine


def ask(addresses: Sequence[Address], *, tls: bool, timeout: float) -> tuple[bool, str]:
    """Whether `GET /readyz` is answered with 200, and what to tell the operator. A unix socket is asked first: it needs
    no TLS, and so no client certificate."""
    address = min(addresses, key=lambda one: one.path is None)
    connection = _Connection(address, tls=tls, timeout=timeout)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        status = json.loads(answer.read()).get("status", "")
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        return False, f"{address} does not answer: {reason}"
    finally:
        connection.close()
    return answer.status == 200, f"{address} is {status or f'answering {answer.status}'}"


class _Connection(http.client.HTTPConnection):
    def __init__(self, address: Address, *, tls: bool, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._address = address
        self._tls = tls and address.path is None

    def connect(self) -> None:
        path, host = self._address.path, self._address.host
        if path is not None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(str(path))
            return
        self.sock = socket.create_connection((_EVERY.get(host, host), self._address.port), self.timeout)
        if self._tls:
            # It asks its own machine whether it lives, not who it is: the name in the certificate is another.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock)
