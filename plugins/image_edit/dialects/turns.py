"""Turns of a conversation: their words, and the pictures in them, in the many spellings of clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy_core import ClientError

from ..ask import MOST_PICTURES, Given, kind, picture, reference, text


def read_words(content: object, where: str) -> list[str]:
    """The texts of an earlier turn; what pictures and files stand in it is behind us."""
    if isinstance(content, list):
        texts: list[str] = []
        for place, part in enumerate(content):
            if isinstance(part, str):
                texts.append(part)
            elif isinstance(part, dict) and part.get("type") in ("text", "input_text"):
                texts.append(text(part.get("text"), f"{where}[{place}].text"))
        return texts
    return read_turn(content, where)[0]


def read_turn(content: object, where: str) -> tuple[list[str], list[Given]]:
    """(texts, references) of one user turn."""
    if content is None:
        return [], []
    if isinstance(content, str):
        return [content], []
    if not isinstance(content, list):
        what = f"{where} must be a string or an array of parts, not {kind(content)}"
        raise ClientError(what, param=where, code="invalid_type")
    texts: list[str] = []
    references: list[Given] = []
    for place, part in enumerate(content):
        here = f"{where}[{place}]"
        if isinstance(part, str):
            texts.append(part)
        elif not isinstance(part, dict):
            raise ClientError(f"{here} must be an object, not {kind(part)}", param=here, code="invalid_type")
        elif part.get("type") in ("text", "input_text"):
            texts.append(text(part.get("text"), f"{here}.text"))
        elif len(references) == MOST_PICTURES:
            raise ClientError(f"{where} has more than {MOST_PICTURES} pictures", param=here, code="too_many_images")
        else:
            references.append(_picture_part(part, here))
    return texts, references


def _picture_part(part: Mapping[str, Any], where: str) -> Given:
    match part.get("type"):
        case "image_url" | "input_image":
            if part.get("file_id") is not None and part.get("image_url") is None:
                what = f"{where}.file_id: files are not kept here; send the picture as a data: URL or link"
                raise ClientError(what, param=f"{where}.file_id", code="unsupported_parameter")
            return read_image_url(part.get("image_url"), f"{where}.image_url")
        case "image":
            return _image_block(part, where)
        case other:
            shown = f"a part of type {other!r}"[:80] if isinstance(other, str) else "a part without a type"
            raise ClientError(
                f"{where} is {shown}, which an image model cannot use; send text, image_url or image",
                param=where,
                code="unsupported_content",
            )


def read_image_url(value: object, where: str) -> Given:
    """An object {"url": ...}, or the bare string that some clients send."""
    if isinstance(value, dict):
        value, where = value.get("url"), f"{where}.url"
    return reference(text(value, where), where)


def _image_block(part: Mapping[str, Any], where: str) -> Given:
    """LangChain's block: {"base64": ...} or {"url": ...}, or the older {"source_type": ..., "data" or "url": ...}."""
    for key in ("base64", "data"):
        if part.get(key) not in (None, ""):
            return picture(text(part[key], f"{where}.{key}"), f"{where}.{key}")
    if part.get("url") is not None:
        return reference(text(part["url"], f"{where}.url"), f"{where}.url")
    raise ClientError(f"{where} has neither 'base64' nor 'url'", param=where, code="invalid_image_url")
