"""The steps that make pictures with a GPT image model, wherever it is served (contracts: openai.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
from yarl import URL

from plugins.image_edit import (
    Call,
    CallError,
    Image,
    Job,
    Next,
    Note,
    Part,
    Preview,
    Reply,
    Steps,
    UpstreamRefusal,
    request_id_of,
)


def make(job: Job, *, images: URL, headers: Mapping[str, str], refused: Callable[[Reply], UpstreamRefusal]) -> Steps:
    """One call below `images`: a generation is JSON, an edit is a form, which takes pictures of any length."""
    fields = {
        "model": job.model,
        "prompt": job.prompt,
        "n": job.n if job.n > 1 else None,
        "size": job.size,
        "quality": job.quality,
        "background": job.background,
        "output_format": job.output_format,
        **job.extra,
        **({"stream": True, "partial_images": job.partial_images} if job.partial_images else {}),
    }
    sent = {name: value for name, value in fields.items() if value is not None}
    more: dict[str, Any] = {"method": "POST", "headers": headers, "events": job.partial_images > 0}
    if job.references:
        call = Call(url=_below(images, "edits"), parts=[*_parts(job, sent)], **more)
    else:
        call = Call(url=_below(images, "generations"), json=sent, **more)
    try:
        reply = yield call
    except CallError as error:
        raise refused(error.reply) from None
    if call.events and not reply.body:
        yield from _streamed(reply, refused)
        return
    yield _note(reply.json, reply)
    for item in reply.json["data"]:
        yield Image.from_base64(item["b64_json"])


def _streamed(opened: Reply, refused: Callable[[Reply], UpstreamRefusal]) -> Steps:
    """What the events of a stream hold; fewer previews may come than were asked for."""
    while not (reply := (yield Next())).ended:
        event = reply.json
        name = str(event.get("type"))
        if "error" in event or name == "error":  # the specification's has no wrapper, and some gateways' has one
            raise refused(_as_answer(event.get("error") or event, opened))
        if name.endswith(".partial_image"):
            yield Preview(Image.from_base64(event["b64_json"]))
        elif name.endswith(".completed"):
            yield _note(event, opened)
            yield Image.from_base64(event["b64_json"])


def _as_answer(error: Any, opened: Reply) -> Reply:
    """An error within a stream, with the status that it would have had before one."""
    kind = error.get("type") if isinstance(error, Mapping) else None
    status = {"invalid_request_error": 400, "image_generation_user_error": 400}.get(str(kind), 500)
    return Reply(status=status, headers=opened.headers, body=orjson.dumps({"error": error}))


def _note(told: Mapping[str, Any], reply: Reply) -> Note:
    usage = told.get("usage")
    return Note(usage=usage if isinstance(usage, dict) else None, request_id=request_id_of(reply))


def _below(images: URL, name: str) -> URL:
    return (images / name).with_query(images.query)  # yarl's `/` drops the query


def _parts(job: Job, sent: Mapping[str, Any]) -> Iterator[Part]:
    """`image[]` for one reference too: it is a list to the service, and its order is the order of the parts."""
    for name, value in sent.items():
        yield Part(name, "true" if value is True else str(value))
    for place, image in enumerate(job.images, 1):
        yield Part("image[]", image, f"image-{place}.{_ending(image)}")
    if job.mask is not None:
        yield Part("mask", job.mask, "mask.png")


def _ending(image: Image) -> str:
    return image.media_type.rpartition("/")[2]
