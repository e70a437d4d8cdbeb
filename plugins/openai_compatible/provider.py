"""The provider: one call, JSON or multipart, and the links in its answer that lead back to the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson
from yarl import URL

from plugins.image_edit import (
    Call,
    CallError,
    Failed,
    Failure,
    HostedImage,
    Image,
    InvalidReply,
    Job,
    Link,
    Note,
    Part,
    Reply,
    Rules,
    Steps,
    UpstreamRefusal,
    refusal,
    request_id_of,
)
from proxy_core import ClientError

from .server import Server

# A form holds only text: these are numbers again where JSON, or JSON in a prompt, wants numbers.
_NUMBERS = frozenset(
    {"num_inference_steps", "guidance_scale", "true_cfg_scale", "layers", "step", "mode", "output_compression", "strength"}
)


@dataclass(frozen=True, kw_only=True)
class Compatible:
    """One server. `server` is completed by its preset."""

    name: str
    server: Server

    @cached_property
    def models(self) -> Mapping[str, Rules]:
        return self.server.rules()

    @property
    def batch(self) -> int:
        return self.server.batch or 1

    @property
    def takes_links(self) -> bool:
        return bool(self.server.link_field)

    @property
    def origins(self) -> list[URL]:
        return [self._base]

    @property
    def _base(self) -> URL:
        assert self.server.base_url is not None  # noqa: S101  # for the type checker; a server without one is refused
        return self.server.base_url

    @property
    def _headers(self) -> dict[str, str]:
        return self.server.api_key.bearer() if self.server.api_key else {}

    def edit(self, job: Job) -> Steps:
        call, left_out = self._call(job)
        try:
            reply = yield call
        except CallError as error:
            raise _refused(error.reply, self.name) from None
        answer = reply.json
        if answer.get("error") and not answer.get("data"):
            raise _refused(_refusal_in(answer, reply.headers), self.name)
        told, usage = answer.get("model"), answer.get("usage")
        yield Note(
            model=told if isinstance(told, str) else None,
            usage=usage if isinstance(usage, dict) and isinstance(usage.get("output_tokens"), int) else None,
            request_id=request_id_of(reply),
            warnings=left_out,
        )
        items = answer["data"]
        for index, item in enumerate(items):
            yield from self._picture(item, index)
        for index in range(len(items), job.n):  # one that knows no `n` ignores it
            yield Failed(InvalidReply(f"{self.name} made {len(items)} of {job.n} pictures"), index)

    # ---- what is sent

    def _call(self, job: Job) -> tuple[Call, tuple[str, ...]]:
        """The call, and a sentence for each thing that it cannot say."""
        server = self.server
        if job.mask is not None and server.mask_path:
            return self._inpainting(job, job.mask)
        fields = self._fields(job)
        if not job.references:
            return self._post("images/generations", json=_numbered(fields)), ()
        path = server.edits_path or "images/edits"
        if server.edits == "json":
            fields[server.image_field or "images"] = [self._json(reference) for reference in job.references]
            if job.mask is not None:
                fields[server.mask_field or "mask"] = self._json(job.mask)
            return self._post(path, json=_numbered(fields)), ()
        parts = [Part(name, _text(value)) for name, value in fields.items()]
        for reference in job.references:
            if isinstance(reference, Link):
                parts.append(Part(server.link_field or "url", reference.url))
            else:
                parts.append(Part(server.image_field or "image[]", reference))
        if job.mask is not None:
            parts.append(Part(server.mask_field or "mask", job.mask))
        return self._post(path, parts=parts), ()

    def _inpainting(self, job: Job, mask: Image) -> tuple[Call, tuple[str, ...]]:
        """LocalAI's endpoint for one picture and its mask, which reads nothing else (contracts: self-hosted.md)."""
        if len(job.references) != 1:
            what = f"{job.name} takes a mask with one picture, and {len(job.references)} were sent"
            raise ClientError(what, param="image", code="invalid_value")
        if not isinstance(job.references[0], Image):
            raise ClientError(f"{job.name} takes no link beside a mask", param="image", code="link_not_supported")
        parts = [
            Part("model", job.model),
            Part("prompt", job.prompt),
            Part("image", job.references[0]),
            Part(self.server.mask_field or "mask", mask),
        ]
        given = {"size": job.size, **self._options(job)}
        left_out = ", ".join(name for name, value in given.items() if value is not None)
        warning = (f"{job.name} takes no {left_out} beside a mask; left out",) if left_out else ()
        return self._post(self.server.mask_path or "", parts=parts), warning

    def _post(self, path: str, **body: Any) -> Call:
        return Call(method="POST", url=self._base / path.strip("/"), headers=self._headers, **body)

    def _fields(self, job: Job) -> dict[str, Any]:
        """All that is not a picture, without what is not there."""
        server = self.server
        options = self._options(job)
        prompt = job.prompt
        if server.negative_separator and (negative := options.pop("negative_prompt", None)):
            if server.negative_separator in prompt:  # then it has a negative prompt already, and a second would be lost
                what = f"the prompt holds {server.negative_separator!r}, which begins its negative prompt; send one of them"
                raise ClientError(what, param="negative_prompt", code="invalid_value")
            prompt = f"{prompt}{server.negative_separator}{negative}"
        inner = {name: options.pop(name) for name in server.prompt_fields or () if name in options}
        if inner:
            text = orjson.dumps(_numbered(inner)).decode().replace("</", "<\\/")  # or a value could end the element
            prompt = f"<sd_cpp_extra_args>{text}</sd_cpp_extra_args>{prompt}"
        fields = {
            **options,
            "model": job.model,
            "prompt": prompt,
            "n": job.n if job.n > 1 else None,
            "size": job.size,
            "response_format": server.response_format if server.response_format != "none" else None,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def _options(self, job: Job) -> dict[str, Any]:
        known = {name: getattr(job, name) for name in ("quality", "output_format", "background", "seed")}
        return {**job.extra, **{name: value for name, value in known.items() if value is not None}}

    def _json(self, reference: Image | Link) -> object:
        if self.server.image_form == "object":
            return {"image_url": reference.url}
        return reference.base64 if self.server.image_form == "base64" and isinstance(reference, Image) else reference.url

    # ---- what is answered

    def _picture(self, item: Mapping[str, Any], index: int) -> Steps:
        """One picture: in hand, at the server itself, or elsewhere."""
        text = item.get("b64_json") or item.get("url")
        if not text:
            error = _refused(_refusal_in(item, {}), self.name) if item.get("error") else None
            yield Failed(error or InvalidReply(f"{self.name} answered without a picture"), index)
        elif item.get("b64_json") or text.startswith("data:"):
            yield Image.from_base64(text)
        elif _place(url := self._base.join(URL(text, encoded=True))) == _place(self._base):
            yield from self._own(url, index)
        else:
            # Byte for byte, for it may be signed; fetched under guard, and without the key.
            yield HostedImage(text if "://" in text[:8] else str(url), index)

    def _own(self, url: URL, index: int) -> Steps:
        """A picture at the server itself, which may be private: the operator chose it, and it has the key already."""
        try:
            reply = yield Call(method="GET", url=url, headers={**self._headers, "Accept": "image/*"})
        except CallError as error:
            # The picture is made: a client that asked again would have it made, and paid for, again.
            failure = Failure.UNKNOWN
            yield Failed(refusal(error.reply, self.name, status=502, code="image_fetch_failed", failure=failure), index)
        else:
            image = Image(reply.body)
            yield image if image.media_type else Failed(InvalidReply(f"what {self.name} sent is not an image"), index)


_CODES = {
    401: "invalid_api_key",
    402: "insufficient_quota",
    403: "permission_denied",
    429: "rate_limit_exceeded",
    503: "overloaded",
}
_STATUSES = {402: 429, 422: 400}  # as OpenAI says the same


def _refusal_in(value: Mapping[str, Any], headers: Mapping[str, str]) -> Reply:
    """An error that came with status 200, as it would have come with its own."""
    error = value["error"]
    told = error.get("code") if isinstance(error, Mapping) else None
    status = told if isinstance(told, int) and 400 <= told < 600 else 400
    return Reply(status=status, headers=headers, body=orjson.dumps(value))


def _refused(reply: Reply, name: str) -> UpstreamRefusal:
    """An error in OpenAI's words. Servers of this kind put the status, or nothing, where OpenAI has a code."""
    told = refusal(reply, name)
    status = _STATUSES.get(reply.status, reply.status)
    code = told.code or ""
    if code.isdigit() or code == "upstream_error":
        code = _CODES.get(reply.status, "invalid_request" if status < 500 else "upstream_error")
        if reply.status == 404:  # without that word, it is the path that is unknown
            code = "model_not_found" if "model" in told.message.removeprefix(name).lower() else "not_found"
    # One that says when to come again has made nothing yet.
    waits = reply.status == 503 and "retry-after" in reply.headers
    return refusal(reply, name, status=status, code=code, failure=Failure.NOT_BILLED if waits else None)


def _place(url: URL) -> tuple[str, str, int | None]:
    """The origin; a host may be written in capitals."""
    return url.scheme, (url.host or "").lower(), url.port


def _numbered(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(value) if name in _NUMBERS else value for name, value in fields.items()}


def _number(value: object) -> object:
    for read in (int, float):
        try:
            return read(value) if isinstance(value, str) else value
        except ValueError:
            continue
    return value


def _text(value: object) -> str:
    """As a form holds it."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
