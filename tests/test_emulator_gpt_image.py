"""The emulators of OpenAI and Azure, judged by OpenAI's own SDK, which knows both services' paths, forms and answers."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai.types import ImagesResponse

from tests.emulators import azure
from tests.emulators.azure import Azure
from tests.emulators.gpt_image import KEY, GptImage
from tests.pictures import BLUE, GREEN, RED, mask, png

Named = tuple[str, bytes, str]


def file(picture: bytes, kind: str = "image/png") -> Named:
    return "a.png", picture, kind


@pytest.fixture
async def emulator() -> AsyncIterator[GptImage]:
    async with GptImage() as emulator:
        yield emulator


@pytest.fixture
async def sdk(emulator: GptImage) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=str(emulator.url), api_key=KEY, max_retries=0) as sdk:
        yield sdk


async def test_everything_at_once(emulator: GptImage, sdk: openai.AsyncOpenAI) -> None:
    made = await sdk.images.generate(
        model="gpt-image-2",
        prompt="x",
        n=2,
        size="1536x1024",
        quality="low",
        background="transparent",
        output_format="webp",
        output_compression=50,
        moderation="low",
        user="someone",
    )
    assert (made.size, made.output_format, made.background, made.quality) == ("1536x1024", "webp", "transparent", "low")
    assert made.usage is not None
    assert made.usage.output_tokens == 2000
    assert [seen.pictures for seen in emulator.requests] == [2]


async def test_forms(emulator: GptImage, sdk: openai.AsyncOpenAI) -> None:
    three = [file(png(colour=colour)) for colour in (RED, GREEN, BLUE)]
    await sdk.images.edit(model="gpt-image-2", image=three[0], prompt="x")
    await sdk.images.edit(model="gpt-image-2", image=three, mask=file(mask((96, 64))), prompt="x", n=2)
    await sdk.images.edit(model="gpt-image-1.5", image=three[:1], prompt="x", input_fidelity="high")
    parts = [[one.part for one in seen.files] for seen in emulator.requests]
    assert parts == [["image"], ["image[]"] * 3, ["image[]"]]
    assert emulator.requests[1].mask is not None


async def test_json(sdk: openai.AsyncOpenAI) -> None:
    url = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    asked = {"model": "gpt-image-2", "prompt": "x"}
    made = await sdk.post("/images/edits", body={**asked, "images": [{"image_url": url}]}, cast_to=ImagesResponse)
    assert made.data
    wrong: list[Any] = [[url], [{"image_url": url, "file_id": "f"}], [{}], url, [], [{"image_url": url}] * 17, None]
    for images in wrong:
        with pytest.raises(openai.BadRequestError):
            await sdk.post("/images/edits", body={**asked, "images": images}, cast_to=ImagesResponse)


async def test_streams(sdk: openai.AsyncOpenAI) -> None:
    made = await sdk.images.generate(model="gpt-image-2", prompt="x", stream=True, partial_images=2)
    kinds = ["ImageGenPartialImageEvent", "ImageGenPartialImageEvent", "ImageGenCompletedEvent"]
    assert [type(event).__name__ async for event in made] == kinds
    edited = await sdk.images.edit(model="gpt-image-2", image=file(png()), prompt="x", stream=True)
    assert [type(event).__name__ async for event in edited] == ["ImageEditCompletedEvent"]


@pytest.mark.parametrize(
    ("given", "code", "param"),
    [
        ({"response_format": "b64_json"}, "unknown_parameter", "response_format"),
        ({"extra_body": {"seed": 1}}, "unknown_parameter", "seed"),
        ({"extra_body": {"image": "x"}}, "unknown_parameter", "image"),
        ({"extra_body": {"input_fidelity": "low"}}, "unknown_parameter", "input_fidelity"),
        ({"size": "1000x1000"}, "invalid_value", "size"),
        ({"size": "3840x3840"}, "invalid_value", "size"),
        ({"size": "16:9"}, "invalid_value", "size"),
        ({"model": "gpt-image-1.5", "size": "1536x864"}, "invalid_value", "size"),
        ({"quality": "max"}, "invalid_value", "quality"),
        ({"quality": "hd"}, "invalid_value", "quality"),
        ({"n": 11}, "invalid_value", "n"),
        ({"extra_body": {"n": "1"}}, "invalid_type", "n"),
        ({"prompt": ""}, "missing_required_parameter", "prompt"),
        ({"background": "transparent", "output_format": "jpeg"}, "invalid_value", "background"),
        ({"output_compression": 50}, "invalid_value", "output_compression"),
    ],
)
async def test_generations_that_are_refused(
    emulator: GptImage, sdk: openai.AsyncOpenAI, given: dict[str, Any], code: str, param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.images.generate(**{"model": "gpt-image-2", "prompt": "x", **given})
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.request_id == emulator.requests[0].request_id
    assert emulator.pictures == 0


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"image": png()}, "unsupported_file_mimetype"),
        ({"image": file(png(kind="GIF"))}, "invalid_image_file"),
        ({"image": file(b"no picture")}, "invalid_image_file"),
        ({"image": [file(png())] * 17}, "invalid_value"),
        ({"mask": file(png())}, "invalid_image_file"),
        ({"mask": file(mask((10, 10)))}, "invalid_image_file"),
        ({"extra_body": {"response_format": "url"}}, "unknown_parameter"),
        ({"input_fidelity": "high"}, "unknown_parameter"),
        ({"model": "gpt-image-1-mini", "input_fidelity": "high"}, "invalid_value"),
    ],
)
async def test_edits_that_are_refused(sdk: openai.AsyncOpenAI, given: dict[str, Any], code: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.images.edit(**{"model": "gpt-image-2", "prompt": "x", "image": file(png()), **given})
    assert caught.value.code == code


async def test_models_keys_and_paths(emulator: GptImage, sdk: openai.AsyncOpenAI) -> None:
    for model, status in (("gpt-image-9", 404), ("dall-e-3", 410), ("gpt-image-1", 410)):
        with pytest.raises(openai.APIStatusError) as caught:
            await sdk.images.generate(model=model, prompt="x")
        assert (caught.value.status_code, caught.value.code) == (status, "model_not_found")
    with pytest.raises(openai.AuthenticationError):
        await sdk.with_options(api_key="another").images.generate(model="gpt-image-2", prompt="x")
    with pytest.raises(openai.NotFoundError):
        await sdk.post("/images/variations", body={}, cast_to=ImagesResponse)
    assert emulator.pictures == 0


async def test_azure() -> None:
    async with Azure() as resource:
        classic = openai.AsyncAzureOpenAI(
            azure_endpoint=str(resource.url), api_version="2025-04-01-preview", api_key=azure.KEY, max_retries=0
        )
        async with classic:
            await classic.images.generate(model="pictures", prompt="x", size="1536x864")
            await classic.images.edit(model="pictures", image=[file(png()), file(png())], prompt="x")
            with pytest.raises(openai.NotFoundError) as caught:
                await classic.images.generate(model="none", prompt="x")
            assert caught.value.code == "DeploymentNotFound"
            with pytest.raises(openai.AuthenticationError):
                await classic.with_options(api_key="another").images.generate(model="pictures", prompt="x")
        old = openai.AsyncAzureOpenAI(azure_endpoint=str(resource.url), api_version="2024-10-21", api_key=azure.KEY)
        async with old:
            with pytest.raises(openai.NotFoundError):
                await old.images.edit(model="pictures", image=file(png()), prompt="x")
        headers: Any = {"api-key": azure.KEY, "Authorization": openai.Omit()}
        async with openai.AsyncOpenAI(base_url=str(resource.url / "openai/v1"), api_key="unused", max_retries=0) as v1:
            await v1.images.generate(model="pictures", prompt="x", extra_headers=headers)
            await v1.images.edit(model="pictures-old", image=file(png()), prompt="x", extra_headers=headers)
        done = [seen.path for seen in resource.requests if seen.status == 200]
    stem = "/openai/deployments/pictures/images/{}?api-version=2025-04-01-preview"
    assert done == [
        stem.format("generations"),
        stem.format("edits"),
        "/openai/v1/images/generations",
        "/openai/v1/images/edits",
    ]
