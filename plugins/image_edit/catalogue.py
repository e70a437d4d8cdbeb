"""`GET /v1/models`: the image models served, beside those that the route's upstream lists itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import orjson
from multidict import CIMultiDict

from proxy_core import ClientError, Handler, NotFound, Request, Response, UpstreamError

from .registry import Served

PATH = "/v1/models"
_MOST = 16 * 1024 * 1024  # bytes of an upstream's list


class Catalogue:
    """Answers for the models in `served`; `since` is the Unix time that OpenAI's clients expect of each."""

    def __init__(self, served: Mapping[str, Served], since: int) -> None:
        self._models: dict[str, dict[str, object]] = {
            name: {"id": name, "object": "model", "created": since, "owned_by": one.provider.name}
            for name, one in sorted(served.items())
        }

    def knows(self, request: Request) -> bool:
        return request.method == "GET" and (request.path == PATH or self._asked(request) is not None)

    def _asked(self, request: Request) -> dict[str, object] | None:
        """The one model that is asked for; SDKs escape the slash in its name."""
        start, _, name = request.path.partition(f"{PATH}/")
        return None if start else self._models.get(unquote(name))

    async def answer(self, request: Request, next: Handler) -> Response:
        if one := self._asked(request):
            return Response.json(one)
        warning = ""
        theirs: list[Any] = []
        headers = CIMultiDict(request.headers)
        for condition in ("If-None-Match", "If-Modified-Since"):  # it would speak of their list, not of both
            headers.popall(condition, None)
        headers["Accept-Encoding"] = "identity"
        try:
            response = await next(replace(request, headers=headers))
            if response.status in (401, 403):
                return response  # whose key it refuses, the client should know
            theirs = await self._listed(response, request)
        except NotFound:
            pass  # no route leads on: there are only ours
        except (UpstreamError, ValueError) as error:
            warning = f"the upstream's own models could not be listed: {error}"
        listed = [model for model in theirs if not self._has(model)]
        value = {"object": "list", "data": [*self._models.values(), *listed]}
        fields = {"Darkroom-Warnings": "".join(c if " " <= c <= "~" else "?" for c in warning)[:1024]} if warning else {}
        return Response.json(value, headers=fields)

    def _has(self, model: object) -> bool:
        name = model.get("id") if isinstance(model, dict) else None
        return isinstance(name, str) and name in self._models

    async def _listed(self, response: Response, request: Request) -> list[Any]:
        """Raises ValueError for what is no list of models."""
        if response.status != 200:
            await response.body.aclose()
            if response.status == 404:
                return []
            raise ValueError(f"it answered {response.status}")
        try:
            data = await replace(request, headers=response.headers, body=response.body).decoded(_MOST)
        except ClientError as error:  # in this direction it is the upstream's fault
            raise ValueError(error.message) from None
        value = orjson.loads(data)
        listed = value.get("data") if isinstance(value, dict) else None
        if not isinstance(listed, list):
            raise ValueError("it answered with something else")
        return listed
