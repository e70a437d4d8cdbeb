"""A strict stand-in for xAI's images API: it rejects what the service rejects, ignores what it ignores (contracts: xai.md)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.emulators.service import Cut, Picture, Raw, Refused, Seen, Service, draw, read_data_url, read_json

__all__ = ["XAI", "Cut", "Raw", "Refused", "Withheld"]

KEY = "xai-test-0123456789"
RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2", "9:19.5", "19.5:9", "9:20", "20:9", "1:2", "2:1", "21:9", "5:2")
SIDES = {"1k": 1024, "1.5k": 1536, "2k": 2048}
PLAIN = {"grok-imagine-image", "grok-imagine-image-2026-03-02", "grok-imagine-image-quality"} | {
    f"grok-imagine-image-quality-{name}" for name in ("20260403", "latest")
}
MODELS = {*PLAIN, "grok-imagine-image-2.0"}
FIELDS = {"model", "prompt", "n", "aspect_ratio", "resolution", "response_format", "user", "storage_options", "deferred"}


@dataclass(frozen=True, kw_only=True)
class Withheld:
    """200, with pictures only where it is true: elsewhere moderation kept them."""

    shown: tuple[bool, ...] = (False,)


@dataclass(kw_only=True)
class Asked:
    """A request that was found valid."""

    files: list[Picture] = field(default_factory=list)
    width: int = 1024
    height: int = 1024


def argument(what: str) -> Refused:
    return Refused(400, {"code": "Client specified an invalid argument", "error": what})


class XAI(Service):
    """The service. With `links`, answers hold links below `/files/`, whatever was asked for."""

    root = "v1"

    def __init__(self, *, key: str = KEY, links: bool = False, polls: int = 2, accepted: bool = True) -> None:
        super().__init__()
        self._polls, self._accepted = polls, accepted
        self._jobs: dict[str, tuple[int, dict[str, Any]]] = {}
        self._key, self._links = key, links
        self._files: dict[str, bytes] = {}
        self.leaks: list[Seen] = []  # requests for files that brought a key

    def answer(self, request: web.Request, raw: bytes, seen: Seen) -> object:
        if request.path.startswith("/files/"):
            if "Authorization" in request.headers:
                self.leaks.append(seen)
            return web.Response(body=self._files[request.path_qs], content_type="image/jpeg")
        given = request.headers.get("Authorization")
        if given is None:
            raise Refused(401, {"code": "Unauthenticated", "error": "No credentials were sent."})
        if given != f"Bearer {self._key}":
            raise argument(f"Incorrect API key provided: {given[7:11]}***.")
        if request.method == "GET" and (id_ := request.path.removeprefix("/v1/images/")) in self._jobs:
            self.requests.remove(seen)
            return self._job(id_)
        if request.path not in ("/v1/images/generations", "/v1/images/edits"):
            raise Refused(404, {"error": "Not found"})
        if request.method != "POST":
            raise Refused(405, {"error": "Method not allowed"})
        edit = request.path.endswith("edits")
        try:
            seen.body = read_json(request, raw)
        except ValueError:
            raise Refused(415, {"code": "Unsupported media type", "error": "The body must be JSON."}) from None
        asked = self._check(seen, edit)
        made = self._made(seen, asked, self.fault(seen))
        if not seen.body.get("deferred"):
            return made
        id_ = f"deferred-{len(self._jobs) + 1}"
        self._jobs[id_] = (self._polls, made)
        return {"request_id": id_}

    def _job(self, id_: str) -> object:
        """How a job says that it runs is not told in the contract: by 202, or in words."""
        left, made = self._jobs[id_]
        self._jobs[id_] = (left - 1, made)
        if left > 0:
            return web.Response(status=202) if self._accepted else {"status": "pending"}
        return made

    def _check(self, seen: Seen, edit: bool) -> Asked:
        body = seen.body
        model = body.get("model")
        if model not in MODELS:
            raise Refused(404, {"code": "Some requested entity was not found", "error": f"The model {model} does not exist."})
        known = FIELDS | {"image", "images"} | ({"quality"} if model not in PLAIN else set())
        for name in body.keys() - known:
            raise Refused(422, {"error": f"unknown field `{name}`"})
        if type(body.get("n", 1)) is not int:
            raise Refused(422, {"error": "n: invalid type"})
        if not isinstance(body.get("prompt"), str) or not 1 <= body.get("n", 1) <= 10:
            raise argument("prompt or n")
        if body.get("aspect_ratio", "auto") not in (*RATIOS, "auto") or body.get("resolution", "1k") not in SIDES:
            raise argument("aspect_ratio or resolution")
        if body.get("quality", "medium") not in ("low", "medium"):
            raise argument("quality")
        if body.get("response_format", "url") not in ("url", "b64_json"):
            raise argument("response_format")
        return self._shape(seen, self._references(seen) if edit else [])  # elsewhere they are ignored

    def _references(self, seen: Seen) -> list[Picture]:
        body = seen.body
        if ("image" in body) == ("images" in body):
            raise argument("exactly one of image and images is needed")
        listed = [body["image"]] if "image" in body else body["images"]
        if not isinstance(listed, list) or not 1 <= len(listed) <= 3:
            raise argument("At most 3 images can be edited.")
        files = []
        for item in listed:
            if not isinstance(item, Mapping) or item.get("type") != "image_url" or item.keys() != {"url", "type"}:
                raise Refused(422, {"error": "image: expected an object with url and type"})
            try:
                picture, name = read_data_url(item["url"])
            except ValueError as error:
                raise argument(f"image: {error}") from None
            seen.references.append(name)
            files += [picture] if picture else []
        return files

    def _shape(self, seen: Seen, files: list[Picture]) -> Asked:
        ratio = seen.body.get("aspect_ratio", "auto")
        if files and (len(seen.references) == 1 or ratio == "auto"):  # one picture's shape is kept, whatever is asked
            ratio = f"{files[0].width}:{files[0].height}"
        wide, high = map(float, (ratio if ratio != "auto" else "1:1").split(":"))
        side = SIDES[seen.body.get("resolution", "1k")]
        return Asked(files=files, width=round(side * (wide / high) ** 0.5), height=round(side * (high / wide) ** 0.5))

    def _made(self, seen: Seen, asked: Asked, withheld: Withheld | None) -> dict[str, Any]:
        shown = withheld.shown if withheld else (True,) * seen.body.get("n", 1)
        seen.pictures = len(shown)
        data = [self._item(seen, asked, place, good) for place, good in enumerate(shown)]
        ticks = 200_000_000 * len(shown) + 20_000_000 * len(seen.references)
        return {"data": data, "usage": {"cost_in_usd_ticks": ticks}}

    def _item(self, seen: Seen, asked: Asked, place: int, good: bool) -> dict[str, Any]:
        item: dict[str, Any] = {"mime_type": "image/jpeg", "revised_prompt": "", "respect_moderation": good}
        if not good:
            return item
        seed = f"{seen.body['prompt']}\0{place}\0{len(self.requests)}"
        picture = draw(seed, (asked.width, asked.height), asked.files, "JPEG")
        if not self._links and seen.body.get("response_format") == "b64_json":
            return {**item, "b64_json": base64.b64encode(picture).decode()}
        path = f"/files/xai-tmp-imgen-{len(self._files)}.jpeg?sig=a%2Fb%7E"
        self._files[path] = picture
        return {**item, "url": f"{self.url.origin()}{path}"}


MODELS_TO_TRY = sorted(MODELS)


def setup(emulator: XAI) -> dict[str, Any]:
    """A config of the provider that meets this emulator."""
    plugin = {"api_key": "env:XAI_API_KEY", "base_url": str(emulator.url)}
    fetch = {"allow_hosts": [f"{emulator.url.host}:{emulator.url.port}"], "retries": [0, 0, 0]}
    return {"plugins": {"xai": plugin, "image_edit": {"fetch": fetch}}, "environ": {"XAI_API_KEY": KEY}}
