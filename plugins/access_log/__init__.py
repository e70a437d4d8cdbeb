"""One line for each exchange, written when it ends: the smallest real plugin."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from proxy_core import COST, MODEL, PROVIDER, RECEIPT, USAGE, Ended, Handler, Middleware, Request, Response, hookimpl

log = logging.getLogger("darkroom.access")

def _ms(seconds: float) -> float:
    return int(seconds * 10_000) / 10


_RECORD = {"name": log.name, "levelno": logging.INFO, "levelname": "INFO"}


@dataclass(frozen=True, kw_only=True)
class AccessLog:
    """One log line a request.

    What a line holds is chosen, never a header or a body, so that no secret and no picture gets into it.
    """

    query: bool = False
    """Whether query strings are logged; some services take keys there."""

    @hookimpl
    def proxy_middleware(self) -> Middleware:
        async def watch(request: Request, next: Handler) -> Response:
            exchange = request.exchange
            target = request.target if self.query else request.path

            def write(ended: Ended) -> None:
                fields: dict[str, object] = {
                    "request_id": exchange.id,
                    "client": exchange.client,
                    "method": exchange.method,
                    "target": target[:1000],
                    "status": ended.status,
                    "received": ended.received,
                    "sent": ended.sent,
                    "head_ms": _ms(ended.head),
                    "body_ms": _ms(ended.body),
                    "upstream_ms": _ms(ended.upstream),
                    "total_ms": _ms(ended.total),
                }
                for key in (MODEL, PROVIDER, RECEIPT):
                    if key in exchange:
                        fields[key.name] = exchange[key]
                for name, value in ((COST, "amount"), (USAGE, "total_tokens")):
                    if (found := exchange.get(name)) is not None and value in found:
                        fields[f"{name.name}_{value}"] = found[value]
                if ended.error is not None:
                    fields["error"] = ended.error
                # Not log.info: it would walk the stack to find out where this is, which costs as much as all else here.
                text = f"{exchange.method} {target[:200]} {ended.status}"
                log.handle(logging.makeLogRecord({**fields, **_RECORD, "msg": text}))

            if log.isEnabledFor(logging.INFO):
                exchange.on_end(write)
            return await next(request)

        return watch
