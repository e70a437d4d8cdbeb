"""`GET /v1/models`: the image models served, beside those that the route's upstream lists itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
from multidict import CIMultiDict

from proxy_core import Handler, NotFound, Request, Response, UpstreamError

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
        return request.method == "GET" and (request.path == PATH or request.path.removeprefix(f"{PATH}/") in self._models)

    async def answer(self, request: Request, next: Handler) -> Response:
        if request.path != PATH:
            return Response.json(self._models[request.path.removeprefix(f"{PATH}/")])
        warning = ""
        theirs: list[Any] = []
        # As it is: what is compressed cannot be read here.
        headers = CIMultiDict({**request.headers, "Accept-Encoding": "identity"})
        try:
            response = await next(replace(request, headers=headers))
            if response.status in (401, 403):
                return response  # whose key it refuses, the client should know
            theirs = await self._listed(response, request)
        except NotFound:
            pass  # no route leads on: there are only ours
        except (UpstreamError, ValueError) as error:
            warning = f"the upstream's own models could not be listed: {error}"
        listed = [model for model in theirs if not (isinstance(model, dict) and model.get("id") in self._models)]
        value = {"object": "list", "data": [*self._models.values(), *listed]}
        fields = {"Darkroom-Warnings": "".join(c if " " <= c <= "~" else "?" for c in warning)[:1024]} if warning else {}
        return Response.json(value, headers=fields)

    async def _listed(self, response: Response, request: Request) -> list[Any]:
        """Raises ValueError for what is no list of models."""
        body = await response.body.read(request.exchange.memory, limit=_MOST)
        if response.status == 404:
            return []
        if response.status != 200:
            raise ValueError(f"it answered {response.status}")
        value = orjson.loads(body.contiguous())
        data = value.get("data") if isinstance(value, dict) else None
        if not isinstance(data, list):
            raise ValueError("it answered with something else")
        return data
