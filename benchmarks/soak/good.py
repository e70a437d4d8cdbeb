"""What clients of good faith ask for. Each raises `Lost` for anything but the answer that they must get."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp

from plugins.signing.check import VALID, Evidence, verify
from plugins.signing.keys import Known, read_keys

from .world import DONE, STREAM, picture


class Lost(Exception):
    """A good request did not get what it must."""


class Client:
    """Has one kind of request after another answered, over kept connections as the SDKs do."""

    def __init__(self, http: aiohttp.ClientSession, url: str, name: str) -> None:
        self._http = http
        self._url = url
        self._name = name
        self._keys: list[Known] = []
        self._lots = random.Random(name)
        self._count = 0

    @property
    def kinds(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        return {
            "text": self.text,
            "text, streamed": self.streamed_text,
            "sandbox edit by chat": self.chat_edit,
            "picture from a link": self.linked,
            "edit with a reference": self.edit,
            "picture, streamed": self.streamed_picture,
        }

    def _mark(self) -> str:
        self._count += 1
        return f"{self._name}-{self._count}"

    async def _asked(self, path: str, **body: Any) -> bytes:
        async with self._http.post(self._url + path, **body) as response:
            answer = await response.read()
            if response.status != 200:
                raise Lost(f"{path}: {response.status} {answer[:300]!r}")
            return answer

    async def _valid(self, answer: bytes) -> None:
        if not self._keys:
            async with self._http.get(f"{self._url}/.well-known/darkroom/keys.json") as response:
                self._keys = read_keys(await response.read())
        verdict = verify(Evidence(saved=[answer], keys=self._keys))
        if verdict.code != VALID:
            raise Lost(f"the receipt: {verdict.lines[-1]}")

    async def text(self) -> None:
        sent = json.dumps({"model": "text", "messages": [{"role": "user", "content": self._mark() * 50}]}).encode()
        answer = await self._asked("/v1/chat/completions", data=sent, headers={"Content-Type": "application/json"})
        if answer != sent:
            raise Lost("the text came back as another one")

    async def streamed_text(self) -> None:
        sent = {"model": "text", "stream": True, "messages": [{"role": "user", "content": self._mark()}]}
        answer = await self._asked("/v1/chat/completions", json=sent)
        if not (answer.startswith(STREAM) and answer.endswith(DONE)):
            raise Lost(f"the stream is not whole: {len(answer)} bytes")

    async def chat_edit(self) -> None:
        mark = self._mark()
        link = "data:image/png;base64," + base64.b64encode(picture(mark, 2_000)).decode()
        content = [{"type": "text", "text": "sepia"}, {"type": "image_url", "image_url": {"url": link}}]
        sent = {"model": "sandbox", "messages": [{"role": "user", "content": content}]}
        await self._valid(await self._asked("/v1/chat/completions", json=sent))

    async def linked(self) -> None:
        mark = self._mark()
        answer = await self._asked("/v1/images/generations", json={"model": "linked", "prompt": f"good/{mark}"})
        self._is(answer, mark)
        await self._valid(answer)

    async def edit(self) -> None:
        reference = picture(self._mark(), self._lots.choice([2_000, 100_000, 1_000_000]))
        form = aiohttp.FormData({"model": "linked", "prompt": "a hat"})
        form.add_field("image", reference, filename="a.png", content_type="image/png")
        self._is(await self._asked("/v1/images/edits", data=form), hashlib.sha256(reference).hexdigest())

    async def streamed_picture(self) -> None:
        sent = {"model": "linked", "prompt": f"good/{self._mark()}", "stream": True}
        await self._valid(await self._asked("/v1/images/generations", json=sent))

    @staticmethod
    def _is(answer: bytes, mark: str) -> None:
        if base64.b64decode(json.loads(answer)["data"][0]["b64_json"]) != picture(mark):
            raise Lost("the picture is not the one that was made for this request")
