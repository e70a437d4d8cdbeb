"""The steps that make pictures with a GPT image model, wherever it is served (contracts: openai.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from yarl import URL

from plugins.image_edit import Call, CallError, Image, Job, Note, Part, Reply, Steps, UpstreamRefusal, request_id_of


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
    }
    sent = {name: value for name, value in fields.items() if value is not None}
    if job.references:
        call = Call(method="POST", url=_below(images, "edits"), headers=headers, parts=[*_parts(job, sent)])
    else:
        call = Call(method="POST", url=_below(images, "generations"), headers=headers, json=sent)
    try:
        reply = yield call
    except CallError as error:
        raise refused(error.reply) from None
    usage = reply.json.get("usage")
    yield Note(usage=usage if isinstance(usage, dict) else None, request_id=request_id_of(reply))
    for item in reply.json["data"]:
        text: str = item["b64_json"]
        yield Image.from_base64(text.partition(",")[2] if text.startswith("data:") else text)


def _below(images: URL, name: str) -> URL:
    return (images / name).with_query(images.query)  # yarl's `/` drops the query


def _parts(job: Job, sent: Mapping[str, Any]) -> Iterator[Part]:
    """`image[]` for one reference too: it is a list to the service, and its order is the order of the parts."""
    for name, value in sent.items():
        yield Part(name, str(value))
    for place, image in enumerate(job.images, 1):
        yield Part("image[]", image, f"image-{place}.{_ending(image)}")
    if job.mask is not None:
        yield Part("mask", job.mask, "mask.png")


def _ending(image: Image) -> str:
    return image.media_type.rpartition("/")[2]


def check_base_url(url: URL) -> None:
    """Raises ValueError for what cannot have paths put below it."""
    if url.scheme not in ("http", "https") or not url.host or url.user or url.password or url.query_string:
        raise ValueError("base_url: must be an http or https URL of host and path, without user, password or query")
