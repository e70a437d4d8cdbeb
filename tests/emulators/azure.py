"""A strict stand-in for Azure OpenAI's images API: OpenAI's, at Azure's paths (contracts: openai.md, "Azure OpenAI")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from tests.emulators.gpt_image import GptImage
from tests.emulators.gpt_image_rules import MODELS, Model, Refused, invalid

KEY = "azure-test-0123456789"
DEPLOYMENTS = MappingProxyType({"pictures": "gpt-image-2", "pictures-old": "gpt-image-1.5"})
_DEPLOYED = re.compile(r"/openai/deployments/([\w.-]+)/images/(generations|edits)")
_NO_DEPLOYMENT = "The API deployment for this resource does not exist."
_NO_KEY = "Access denied due to invalid subscription key or wrong API endpoint."


class Azure(GptImage):
    """A resource: v1 paths, where `model` names the deployment, and classic ones, where the path does."""

    root = "/"

    def __init__(self, *, key: str = KEY, deployments: Mapping[str, str] = DEPLOYMENTS) -> None:
        super().__init__(key=key)
        self.deployments = deployments

    def operation(self, request: web.Request) -> str:
        match = re.fullmatch(r"/openai/v1/images/(generations|edits)", request.path)
        if match and request.method == "POST":
            return match[1]
        match, version = _DEPLOYED.fullmatch(request.path), request.query.get("api-version", "")
        dated = re.fullmatch(r"(\d{4}-\d{2}-\d{2})(-preview)?", version)
        if not match or not dated or request.method != "POST":
            raise azure(404, "404", "Resource not found")
        if match[2] == "edits" and dated[1] < "2025-04-01":
            raise azure(404, "404", "Resource not found")
        return match[2]

    def authorize(self, headers: CIMultiDict[str]) -> None:
        """Its key is no bearer token; those are Entra's."""
        if headers.getall("api-key", []) != [self._key] or "Authorization" in headers:
            raise azure(401, "401", _NO_KEY)

    def model(self, request: web.Request, fields: Mapping[str, Any]) -> Model:
        match = _DEPLOYED.fullmatch(request.path)
        name = match[1] if match else fields.get("model")
        if not isinstance(name, str):
            raise invalid("model", "Missing required parameter: 'model'.", "missing_required_parameter")
        if name not in self.deployments:
            raise azure(404, "DeploymentNotFound", _NO_DEPLOYMENT)
        return MODELS[self.deployments[name]]

    def names(self, request_id: str) -> dict[str, str]:
        return {"apim-request-id": request_id, "x-ms-region": "Sweden Central"}


class Bare(Refused):
    """An error of the gateway before the service: a code and a message."""

    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message}}


def azure(status: int, code: str, message: str, **headers: str) -> Refused:
    return Bare(status, message, code, headers=headers)


def filtered(code: str = "contentFilter", **kinds: bool) -> Refused:
    """What the content filter answers; `kinds` tells which of its kinds it objects to."""
    results = {kind: {"filtered": bad, "severity": "high" if bad else "safe"} for kind, bad in kinds.items()}
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_results": results}
    words = "Your request was rejected by the safety system. If this is a mistake, open an Azure support ticket."
    return Refused(400, words, code, "prompt", more={"inner_error": inner})


MODELS_TO_TRY = [*DEPLOYMENTS]


def setup(emulator: Azure) -> dict[str, Any]:
    """A config of the provider that meets this emulator."""
    plugin = {"api_key": "env:AZURE_OPENAI_API_KEY", "base_url": str(emulator.url), "deployments": {**emulator.deployments}}
    image_edit = {"fetch": {"allow_hosts": [], "retries": [0, 0, 0]}}
    return {"plugins": {"azure": plugin, "image_edit": image_edit}, "environ": {"AZURE_OPENAI_API_KEY": KEY}}
