"""A strict stand-in for Replicate: predictions, uploaded files, and where results lie (contracts: hosted-others.md)."""

from __future__ import annotations

import base64
import email.parser
import email.policy
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.emulators.service import Cut, Picture, Raw, Refused, Seen, Service, draw, read_any_base64, read_data_url, read_json

__all__ = ["Cut", "Ends", "Raw", "Refused", "Replicate", "problem"]

TOKEN = "r8_0123456789abcdef"
_FLUX = "1:1 16:9 3:2 2:3 4:5 5:4 9:16 3:4 4:3 21:9 9:21".split()  # noqa: SIM905  # as the vendor's page lists them
_MORE = [*_FLUX, "match_input_image"]


@dataclass(frozen=True, kw_only=True)
class Model:
    """`pictures` is the input's name, `several` that it is a list."""

    pictures: str = ""
    several: bool = True
    most: int = 0
    also: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("webp", "jpg", "png")
    sizes: tuple[str, ...] = ()
    size: str = ""
    one: bool = False  # its output is a string


_FLUX_1 = Model(also=("seed", "output_format", "num_outputs"))
_NANO = Model(pictures="image_input", most=3, also=("output_format",), formats=("jpg", "png"), one=True)
MODELS = {
    "black-forest-labs/flux-schnell": _FLUX_1,
    "black-forest-labs/flux-dev": _FLUX_1,
    "black-forest-labs/flux-1.1-pro": Model(also=("seed", "output_format"), one=True),
    "black-forest-labs/flux-kontext-pro": Model(
        pictures="input_image", several=False, most=1, also=("seed", "output_format"), formats=("jpg", "png"), one=True
    ),
    "black-forest-labs/flux-kontext-max": Model(
        pictures="input_image", several=False, most=1, also=("seed", "output_format"), formats=("jpg", "png"), one=True
    ),
    "black-forest-labs/flux-2-pro": Model(pictures="input_images", most=8, also=("seed", "output_format"), one=True),
    "black-forest-labs/flux-2-flex": Model(pictures="input_images", most=8, also=("seed", "output_format"), one=True),
    "google/nano-banana": _NANO,
    "google/nano-banana-2": Model(pictures="image_input", most=14, also=("output_format",), formats=("jpg", "png"), one=True),
    "google/nano-banana-pro": Model(
        pictures="image_input", most=14, also=("output_format",), formats=("jpg", "png"), size="resolution", one=True
    ),
    "bytedance/seedream-4": Model(pictures="image_input", most=10, size="size"),
    "bytedance/seedream-4.5": Model(pictures="image_input", most=14, size="size", sizes=("2K", "4K")),
}


@dataclass(frozen=True, kw_only=True)
class Ends:
    """A prediction that ends so, without a picture."""

    status: str = "failed"
    error: str | None = "CUDA out of memory"


@dataclass
class Prediction:
    left: int
    output: str | list[str]
    ends: Ends | None = None
    canceled: bool = False
    asked: list[Seen] = field(default_factory=list)


def problem(status: int, detail: object, **headers: str) -> Refused:
    return Refused(status, {"detail": detail, "status": status, "title": "Problem"}, **headers)


class Replicate(Service):
    """The service. A prediction is done when it has been asked for `polls` times."""

    root = "v1"

    def __init__(self, *, token: str = TOKEN, polls: int = 2) -> None:
        super().__init__()
        self.polls = polls
        self.predictions: dict[str, Prediction] = {}
        self.uploads: dict[str, tuple[Picture, str]] = {}
        self.downloads: list[Seen] = []
        self._token = token
        self._files: dict[str, bytes] = {}

    def answer(self, request: web.Request, raw: bytes, seen: Seen) -> object:
        if request.path.startswith("/delivery/"):
            self.requests.remove(seen)
            self.downloads.append(seen)
            return web.Response(body=self._files[request.path_qs], content_type="image/webp")
        if request.headers.get("Authorization") != f"Bearer {self._token}":
            raise problem(401, "You did not pass a valid authentication token")
        path = request.path.removeprefix("/v1/")
        if path == "files" and request.method == "POST":
            return self._upload(request, raw, seen)
        if path.startswith("predictions/"):
            self.requests.remove(seen)
            return self._state(request, path.removeprefix("predictions/"), seen)
        name = path.removeprefix("models/").removesuffix("/predictions")
        if request.method != "POST" or f"models/{name}/predictions" != path or name not in MODELS:
            raise problem(404, "The requested resource could not be found.")
        try:
            seen.body = read_json(request, raw)
        except ValueError:
            raise problem(422, "The request body is not valid JSON") from None
        files, count = self._check(seen, MODELS[name])
        fault = self.fault(seen)
        id_ = f"p{len(self.predictions) + 1}"
        size = _shape(seen.body["input"].get("aspect_ratio", "1:1"), files)
        links = [self._put(draw(f"{seen.body['input']['prompt']}|{id_}|{n}", size, files)) for n in range(count)]
        self.predictions[id_] = Prediction(self.polls, links[0] if MODELS[name].one else links, fault)
        seen.pictures = count if fault is None else 0
        return web.json_response(self._told(id_, "starting"), status=201)

    def _check(self, seen: Seen, model: Model) -> tuple[list[Picture], int]:
        given = seen.body.get("input")
        if seen.body.keys() != {"input"} or not isinstance(given, dict) or not given.get("prompt"):
            raise problem(422, "- input.prompt is required")
        known = {"prompt", "aspect_ratio", *model.also, model.pictures, model.size} - {""}
        for name in given.keys() - known:
            raise problem(422, f"- input: Additional property {name} is not allowed")
        if given.get("aspect_ratio", "1:1") not in _MORE or given.get("output_format", "png") not in model.formats:
            raise problem(422, "- input: must be one of those listed")
        if model.size in given and given[model.size] not in (model.sizes or ("1K", "2K", "4K")):
            raise problem(422, f"- input.{model.size}: must be one of those listed")
        urls = given.get(model.pictures, []) if model.pictures else []
        if isinstance(urls, list) != model.several and urls != []:
            raise problem(422, f"- input.{model.pictures}: Invalid type")
        urls = urls if isinstance(urls, list) else [urls]
        if len(urls) > model.most or not 1 <= given.get("num_outputs", 1) <= 4:
            raise problem(422, "- input: too many")
        return [picture for picture in [self._picture(url, seen) for url in urls] if picture], given.get("num_outputs", 1)

    def _picture(self, url: str, seen: Seen) -> Picture | None:
        if url in self.uploads:
            picture, digest = self.uploads[url]
            seen.references.append(digest)
            return picture
        if len(url) > 1_400_000:
            raise problem(422, "- input: data URIs are for small files")
        try:
            found, name = read_data_url(url)
        except ValueError as error:
            raise problem(422, f"- input: {error}") from None
        seen.references.append(name)
        return found

    def _upload(self, request: web.Request, raw: bytes, seen: Seen) -> web.Response:
        head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
        parsed = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + raw)
        (part,) = parsed.iter_parts()
        assert part.get_param("name", header="content-disposition") == "content"
        data: Any = part.get_payload(decode=True)
        link = f"{self.url.origin()}/v1/files/f{len(self.uploads)}/download"
        self.uploads[link] = read_any_base64(base64.b64encode(data).decode())
        seen.status = 201
        # All that the vendor's own client insists on.
        told = {"id": "f", "name": "reference", "content_type": "image/png", "size": len(data), "etag": "e", "checksums": {}}
        more = {"metadata": {}, "created_at": "2026-11-22T00:00:00Z", "expires_at": None, "urls": {"get": link}}
        return web.json_response({**told, **more}, status=201)

    def _put(self, picture: bytes) -> str:
        path = f"/delivery/{len(self._files)}.webp?sig=a%2Fb%7E"
        self._files[path] = picture
        return f"{self.url.origin()}{path}"

    def _told(self, id_: str, status: str) -> dict[str, Any]:
        elsewhere = "https://elsewhere.example/v1/predictions"  # nobody should follow it
        urls = {"get": f"{elsewhere}/{id_}", "cancel": f"{elsewhere}/{id_}/cancel"}
        told = {"model": "owner/name", "version": "hidden", "input": {}, "logs": "", "created_at": "2026-11-22T00:00:00Z"}
        return {**told, "id": id_, "status": status, "output": None, "error": None, "urls": urls}

    def _state(self, request: web.Request, path: str, seen: Seen) -> object:
        id_, _, verb = path.partition("/")
        made = self.predictions.get(id_)
        if made is None:
            raise problem(404, "not found")
        if (request.method, verb) == ("POST", "cancel"):
            made.canceled = True
            return self._told(id_, "canceled")
        made.asked.append(seen)
        made.left -= 1
        if made.left >= 0:
            return self._told(id_, "processing")
        if made.ends is not None:
            return {**self._told(id_, made.ends.status), "error": made.ends.error}
        return {**self._told(id_, "succeeded"), "output": made.output}


def _shape(ratio: str, files: list[Picture]) -> tuple[int, int]:
    wide, high = map(int, ratio.split(":")) if ":" in ratio else files[0].size
    return round(1024 * (wide / high) ** 0.5), round(1024 * (high / wide) ** 0.5)


MODELS_TO_TRY = [*MODELS]


def setup(emulator: Replicate) -> dict[str, Any]:
    """A config of the provider that meets this emulator."""
    plugin = {"api_token": "env:REPLICATE_API_TOKEN", "base_url": str(emulator.url), "poll_every": 0.001}
    fetch = {"allow_hosts": [f"{emulator.url.host}:{emulator.url.port}"], "retries": [0, 0, 0]}
    return {"plugins": {"replicate": plugin, "image_edit": {"fetch": fetch}}, "environ": {"REPLICATE_API_TOKEN": TOKEN}}
