"""Pictures asked for in a conversation: what is the prompt, what is a reference, and the shapes in which pictures come back."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest

from plugins.image_edit import Image, Job, Link, Result, Rules
from plugins.image_edit.ask import Ask, Event, Given, job
from plugins.image_edit.dialects.chat import Chat, Shape
from plugins.image_edit.fit import fit
from plugins.image_edit.testing import PNG
from plugins.image_edit.wire import Form, json_pieces
from proxy_core import Body, ClientError, Data, Exchange, Piece

B64 = base64.b64encode(PNG).decode()
URL_A, URL_B = "https://a.example/1.png?sig=a%2Fb", "https://b.example/2.png"
DATA = f"data:image/png;base64,{B64}"


def parsed(*messages: Any, **fields: Any) -> Ask:
    return Chat().parse(Form(fields={"model": "m", "messages": list(messages), **fields}))


def refused(*messages: Any, **fields: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        parsed(*messages, **fields)
    assert caught.value.status == 400
    assert caught.value.param
    return caught.value


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": parts[0] if len(parts) == 1 and isinstance(parts[0], str) else list(parts)}


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def link(url: str = URL_A) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "high"}}


def shown(given: Given) -> str:
    """Where a link leads, or the picture's bytes in base64."""
    if isinstance(given.value, Link):
        return given.value.url
    return base64.b64encode(b"".join(map(bytes, given.value.chunks()))).decode()


# --- the prompt ---


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([user("a hat")], "a hat"),
        ([user(words("a hat"))], "a hat"),
        ([user(words("a"), words("b"))], "a\nb"),
        ([user({"type": "input_text", "text": "a hat"})], "a hat"),
        ([user("a", "b")], "a\nb"),  # plain strings among the parts
        ([user("draw a cat"), user("make it black")], "draw a cat\nmake it black"),
        ([user(words("a"), words("b")), user("c"), user(words("d"))], "a\nb\nc\nd"),
        ([user("a", words("b")), user("c")], "a\nb\nc"),
        ([{"role": "system", "content": "be nice"}, user("a"), {"role": "assistant", "content": "done"}, user("b")], "a\nb"),
        ([{"role": "developer", "content": 5}, {"role": "tool"}, {"content": "x"}, {}, user("a")], "a"),
        ([{"role": "user", "content": None}, user("a")], "a"),
        ([{"role": "user"}, user("a")], "a"),
        ([user("a"), {"role": "user", "content": []}], "a"),
        ([user("a"), user(link())], "a"),
        ([user("  a\n"), user("")], "  a\n\n"),
        ([{"role": "user", "content": "a", "name": 7, "images": "x"}], "a"),
    ],
    ids=itertools.count(),
)
def test_the_prompt_is_the_text_of_all_user_turns(messages: list[Any], prompt: str) -> None:
    assert parsed(*messages).prompt == prompt


@pytest.mark.parametrize(
    "messages",
    [
        [user("")],
        [user(" \n\t")],
        [user(link())],
        [user("", words(" "))],
        [{"role": "system", "content": "draw a cat"}],
        [{"role": "assistant", "content": "draw a cat"}],
        [{"role": "USER", "content": "draw a cat"}],
        [{"role": ["user"], "content": "draw a cat"}],
        [{}],
    ],
    ids=itertools.count(),
)
def test_without_a_users_words_there_is_no_prompt(messages: list[Any]) -> None:
    error = refused(*messages)
    assert (error.param, error.code) == ("messages", "missing_prompt")


@pytest.mark.parametrize("messages", [None, [], {}, "draw a cat", 5, True, {"role": "user"}], ids=repr)
def test_messages_are_a_list(messages: object) -> None:
    with pytest.raises(ClientError) as caught:
        Chat().parse(Form(fields={"model": "m", "messages": messages}))
    assert caught.value.param == "messages"
    with pytest.raises(ClientError):
        Chat().parse(Form(fields={"model": "m"}))


# --- references ---


@pytest.mark.parametrize(
    ("part", "picture"),
    [
        ({"type": "image_url", "image_url": {"url": URL_A}}, URL_A),
        ({"type": "image_url", "image_url": {"url": DATA, "detail": None}}, B64),
        ({"type": "image_url", "image_url": URL_A}, URL_A),
        ({"type": "image_url", "image_url": DATA}, B64),
        ({"type": "input_image", "image_url": DATA}, B64),
        # LangChain, before its own client has turned them into image_url.
        ({"type": "image", "base64": B64, "mime_type": "image/jpeg"}, B64),
        ({"type": "image", "base64": B64}, B64),
        ({"type": "image", "url": URL_A}, URL_A),
        ({"type": "image", "url": DATA}, B64),
        ({"type": "image", "base64": None, "url": URL_A}, URL_A),
        ({"type": "image", "base64": "", "url": URL_A}, URL_A),
        ({"type": "image", "source_type": "base64", "data": B64, "mime_type": "image/png"}, B64),
        ({"type": "image", "source_type": "url", "url": URL_A}, URL_A),
        ({"type": "image", "source_type": "url", "url": URL_A, "data": None}, URL_A),
    ],
    ids=itertools.count(),
)
def test_a_picture_comes_in_many_spellings(part: dict[str, Any], picture: str) -> None:
    (given,) = parsed(user(words("x"), part)).references
    assert shown(given) == picture


@pytest.mark.parametrize(
    ("messages", "pictures"),
    [
        ([user(words("x"), link(URL_A), link(URL_B))], [URL_A, URL_B]),
        ([user(link(URL_B), words("x"), link(URL_A))], [URL_B, URL_A]),
        ([user(words("x"), link(URL_A)), user(words("y"), link(URL_B))], [URL_B]),  # each turn replaces
        ([user(words("x"), link(URL_A)), user("y")], []),  # and a text-only turn clears
        ([user(words("x"), link(URL_A)), user(words("y"))], []),
        ([user(words("x"), link(URL_A)), {"role": "user", "content": None}], []),
        ([user(words("x"), link(URL_A)), {"role": "assistant", "content": "y"}], [URL_A]),
        ([user(words("x"), link(URL_A)), {"role": "assistant", "content": [link(URL_B)]}], [URL_A]),
        ([{"role": "system", "content": [link(URL_B)]}, user("x")], []),
        ([user("x"), user(link(URL_A))], [URL_A]),
        # What pictures an earlier turn holds does not matter any more, not even whether they are any.
        ([user(words("x"), link("broken"), {"type": "file"}), user(words("y"), link(URL_A))], [URL_A]),
    ],
    ids=itertools.count(),
)
def test_references_are_those_of_the_latest_user_turn(messages: list[Any], pictures: list[str]) -> None:
    """Fact 25."""
    assert [shown(given) for given in parsed(*messages).references] == pictures


def test_a_reference_knows_where_it_stands() -> None:
    made = parsed({"role": "system", "content": "s"}, user(words("x"), link(), {"type": "image", "base64": B64}))
    assert [given.param for given in made.references] == [
        "messages[1].content[1].image_url.url",
        "messages[1].content[2].base64",
    ]


WHERE = "messages[1].content"


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (5, f"{WHERE}[1]"),
        (None, f"{WHERE}[1]"),
        ([words("x")], f"{WHERE}[1]"),
        (True, f"{WHERE}[1]"),
        ({}, f"{WHERE}[1]"),
        ({"text": "x"}, f"{WHERE}[1]"),
        ({"type": None}, f"{WHERE}[1]"),
        ({"type": ["text"]}, f"{WHERE}[1]"),
        ({"type": {"a": 1}}, f"{WHERE}[1]"),
        ({"type": "file", "file": {"file_id": "x"}}, f"{WHERE}[1]"),
        ({"type": "input_audio"}, f"{WHERE}[1]"),
        ({"type": "x" * 10_000}, f"{WHERE}[1]"),
        ({"type": "text"}, f"{WHERE}[1].text"),
        ({"type": "text", "text": None}, f"{WHERE}[1].text"),
        ({"type": "text", "text": ["x"]}, f"{WHERE}[1].text"),
        ({"type": "image_url"}, f"{WHERE}[1].image_url"),
        ({"type": "image_url", "url": URL_A}, f"{WHERE}[1].image_url"),
        ({"type": "image_url", "image_url": None}, f"{WHERE}[1].image_url"),
        ({"type": "image_url", "image_url": [URL_A]}, f"{WHERE}[1].image_url"),
        ({"type": "image_url", "image_url": 5}, f"{WHERE}[1].image_url"),
        ({"type": "image_url", "image_url": "x"}, f"{WHERE}[1].image_url"),
        ({"type": "image_url", "image_url": {}}, f"{WHERE}[1].image_url.url"),
        ({"type": "image_url", "image_url": {"url": None}}, f"{WHERE}[1].image_url.url"),
        ({"type": "image_url", "image_url": {"url": {"url": URL_A}}}, f"{WHERE}[1].image_url.url"),
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, f"{WHERE}[1].image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}, f"{WHERE}[1].image_url.url"),
        ({"type": "input_image", "file_id": "x"}, f"{WHERE}[1].file_id"),
        ({"type": "image"}, f"{WHERE}[1]"),
        ({"type": "image", "base64": 5}, f"{WHERE}[1].base64"),
        ({"type": "image", "data": {}}, f"{WHERE}[1].data"),
        ({"type": "image", "url": 5}, f"{WHERE}[1].url"),
        ({"type": "image", "url": "x"}, f"{WHERE}[1].url"),
    ],
    ids=itertools.count(),
)
def test_a_part_that_is_none_is_named(part: object, param: str) -> None:
    error = refused(user("x"), user(words("y"), part))
    assert error.param == param
    assert len(error.message) < 300


@pytest.mark.parametrize("message", [5, None, "hello", [user("x")], True])
def test_a_message_that_is_none_is_named(message: object) -> None:
    assert refused(user("x"), message).param == "messages[1]"
    assert refused(message, user("x")).param == "messages[0]"


@pytest.mark.parametrize("content", [5, True, {}, {"type": "text", "text": "x"}, 1.5])
@pytest.mark.parametrize("place", [0, 1])
def test_content_that_is_none_is_named(content: object, place: int) -> None:
    messages = [user("x")]
    messages.insert(place, {"role": "user", "content": content})
    assert refused(*messages).param == f"messages[{place}].content"


@pytest.mark.parametrize("part", [{"type": "text"}, {"type": "text", "text": 5}])
def test_an_earlier_turns_broken_text_is_named(part: object) -> None:
    error = refused(user(words("x"), words("x"), part), user("y"))
    assert error.param == "messages[0].content[2].text"


@pytest.mark.parametrize("turns", [1, 2])
def test_long_conversations_are_read_in_linear_time(turns: int) -> None:
    """Many parts, told apart by their last character only."""

    def spent(count: int) -> float:
        parts = [{"type": "text", "text": "", "id": f"{'x' * 50}{n}"} for n in range(count)]
        messages = [user(words("a hat"), *parts), *[user("b")] * (turns - 1)]
        form = Form(fields={"model": "m", "messages": messages})
        begun = time.process_time()
        Chat().parse(form)
        return time.process_time() - begun

    few, many = (min(spent(count) for _ in range(2)) for count in (250, 4000))
    assert many < 100 * few + 0.05  # 16 times the work; quadratic would be 256 times


# --- other fields ---


def test_fields_of_the_conversation_are_not_the_pictures() -> None:
    made = parsed(
        user("x"),
        stream=True,
        stream_options={"include_usage": True},
        modalities=["image", "text"],
        user="someone",
        metadata={"a": "b"},
        store=False,
        n=2,
        size="2K",
        temperature=0.5,
    )
    assert made.stream is True
    assert made.options == {"n": 2, "size": "2K"}
    assert made.extra == {}
    assert made.notes == ("temperature: for words alone, not for pictures; not used",)
    assert parsed(user("x")).stream is False


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({"aspect_ratio": "16:9", "image_size": "2K"}, {"aspect_ratio": "16:9", "resolution": "2K"}),
        ({"image_size": "4K"}, {"resolution": "4K"}),
        ({}, {}),
        (None, {}),
        ({"n": 3, "seed": 5}, {"n": 3, "seed": 5}),
    ],
)
def test_openrouters_image_config_is_understood(config: object, options: dict[str, object]) -> None:
    made = parsed(user("x"), image_config=config)
    assert made.options == options
    assert made.extra == {}


def test_image_config_cannot_reach_what_is_not_of_pictures() -> None:
    made = parsed(user("x"), image_config={"model": "other", "messages": [], "stream": True, "prompt": "y"})
    assert (made.prompt, made.stream) == ("x", False)


@pytest.mark.parametrize("config", [5, "16:9", [], True, [{"aspect_ratio": "1:1"}]], ids=repr)
def test_an_image_config_that_is_none_is_named(config: object) -> None:
    assert refused(user("x"), image_config=config).param == "image_config"


@pytest.mark.parametrize(
    ("name", "value"), [("stream", "yes"), ("stream", []), ("n", "many"), ("n", 0), ("size", 5), ("seed", {})]
)
def test_a_field_of_a_wrong_type_is_named(name: str, value: object) -> None:
    assert refused(user("x"), **{name: value}).param == name


# --- every value in every place ---

STRANGE: list[Any] = [
    None, True, False, 0, -1, 1.5, 2**63, 1e30, "", "x", " ", "\x00", "16:9", "1024x1024", "data:",
    "data:image/png;base64,!!!!", "http://", "https://a.example", DATA, [], {}, [[]], [None], [5], ["x"], [{}], {"url": None},
    {"type": []}, {"type": "text"}, {"": {}}, [words("x")], {"a": [[[[[[1]]]]]]},
]  # fmt: skip


def mutants(value: Any) -> Iterator[Any]:
    """`value` with each part of it, in turn, replaced by everything strange, doubled, and left out."""
    yield from STRANGE
    if isinstance(value, dict):
        for key, inner in value.items():
            yield {other: kept for other, kept in value.items() if other != key}
            yield from ({**value, key: mutant} for mutant in mutants(inner))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield [*value[:place], *value[place + 1 :]]
            yield [*value[: place + 1], *value[place:]]
            yield from ([*value[:place], mutant, *value[place + 1 :]] for mutant in mutants(inner))


VALID: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "be nice"},
        {"role": "user", "content": [words("a cat"), link(DATA), "and"]},
        {"role": "assistant", "content": "", "images": [link(DATA)]},
        {
            "role": "user",
            "content": [
                words("a hat"),
                link(DATA),
                {"type": "image", "base64": B64},
                {"type": "image_url", "image_url": URL_A},
            ],
        },
    ],
    "stream": False,
    "n": 1,
    "size": "1024x1024",
    "seed": 1,
    "watermark": False,
    "image_config": {"aspect_ratio": "16:9", "image_size": "2K"},
    "tools": [{"type": "web_search"}],
}
RULES = [Rules(), Rules(references=0, fields=frozenset({"size", "n", "seed", "tools", "watermark", "aspect_ratio"}))]


def test_whatever_is_sent_becomes_a_job_or_names_what_is_wrong() -> None:
    counts = {"jobs": 0, "refusals": 0}
    for fields in mutants(VALID):
        if not isinstance(fields, dict):
            continue  # refused by who reads the body
        try:
            made = job(Chat().parse(Form(fields=fields)), name="n", model="m", like="l")
            for rules, reject in itertools.product(RULES, [False, True]):
                counts["jobs"] += 1
                fit(made, rules, reject=reject)
        except ClientError as error:
            counts["refusals"] += 1
            told = (error.status, bool(error.code), isinstance(error.param, str), len(error.message) < 500)
            assert told == (400, True, True, True), (fields, error.body())  # noqa: PT017  # the mutant is shown
    assert min(counts.values()) > 300  # both ways were taken


# --- answers ---

ONE, TWO = Image(PNG), Image(b"\xff\xd8\xff", b"a jpeg")
TWO64 = base64.b64encode(b"\xff\xd8\xffa jpeg").decode()
JPEG = f"data:image/jpeg;base64,{TWO64}"
EXCHANGE = Exchange(asked_id="req-7")


def result(*images: Image, **more: Any) -> Result:
    asked = Job(name="house-style", model="ep-1", prompt="p")
    return Result(**{"job": asked, "provider": "toy", "images": images, "model": "toy-1", "warnings": ["w"], **more})


def joined(pieces: Sequence[Data | Piece]) -> bytes:
    body = b"".join(bytes(chunk) for p in pieces for chunk in (p.chunks() if isinstance(p, Piece) else [p]))
    assert Body(*pieces).size == len(body)
    return body


def rendered(shape: Shape, *images: Image, extra: Any = None, **more: Any) -> Any:
    pieces = Chat(shape).render(result(*images, **more), EXCHANGE, extra or {})
    return orjson.loads(joined(pieces))


def written(events: Sequence[Event], *items: dict[str, Any]) -> list[Any]:
    """Their data, as it is sent, a signer's fields in those that take some."""
    for event, item in zip([event for event in events if event.image is not None], items, strict=False):
        assert event.place is not None
        event.place.update(item)
    return [orjson.loads(joined(json_pieces(event.value))) for event in events]


def streamed(shape: Shape, *images: Image, extra: Any = None, items: Any = (), **more: Any) -> list[Any]:
    made = result(*images, **more)
    told = Chat(shape).events(made.job, EXCHANGE)
    events = [event for image in images for event in told.image(image)]
    *events, end = [*events, *told.end(made, extra or {})]
    assert end.value is None  # [DONE]
    assert not any(event.name for event in events)
    return written(events, *items)


COST = {"amount": "0.03", "currency": "USD"}
OBJECTS = [
    {"type": "image_url", "image_url": {"url": DATA}, "index": 0},
    {"type": "image_url", "image_url": {"url": JPEG}, "index": 1},
]
MESSAGES: dict[Shape, dict[str, Any]] = {
    "objects": {"content": "", "images": OBJECTS},
    "strings": {"content": "", "images": [DATA, JPEG]},
    "content": {"content": [{"type": "image_url", "image_url": {"url": url}} for url in (DATA, JPEG)]},
    "markdown": {"content": f"![image]({DATA})\n\n![image]({JPEG})"},
}


@pytest.mark.parametrize(("shape", "message"), MESSAGES.items())
def test_an_answer_is_one_message_with_the_pictures(shape: Shape, message: dict[str, Any]) -> None:
    """Fact 23."""
    usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8, "more": {"a": 1}}
    answer = rendered(shape, ONE, TWO, usage=usage, cost=COST)
    assert abs(answer.pop("created") - time.time()) < 10
    assert answer == {
        "id": "chatcmpl-req-7",
        "object": "chat.completion",
        "model": "house-style",  # what the client asked for
        "system_fingerprint": None,
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
        "cost": COST,
        "warnings": ["w"],
    }


@pytest.mark.parametrize(("shape", "message"), MESSAGES.items())
def test_a_streamed_answer_is_the_pictures_then_the_end(shape: Shape, message: dict[str, Any]) -> None:
    """Fact 24: Each in a chunk of its own; put together, they are what a plain answer holds."""
    *chunks, last = streamed(shape, ONE, TWO, usage={"output_tokens": 5, "total_tokens": 5})
    for chunk in (*chunks, last):
        assert abs(chunk.pop("created") - time.time()) < 10
    deltas = [chunk["choices"][0].pop("delta") for chunk in chunks]
    assert deltas[0].pop("role") == "assistant"
    if shape == "strings":  # where the origin's clients look
        deltas = [{**delta, "images": chunk.pop("images")} for delta, chunk in zip(deltas, chunks, strict=True)]
    assert {name: deltas[0][name] + deltas[1][name] for name in deltas[0]} == message
    assert deltas[0].keys() == deltas[1].keys()
    head = {
        "id": "chatcmpl-req-7",
        "object": "chat.completion.chunk",
        "model": "house-style",
        "system_fingerprint": None,
    }
    choice = {"index": 0, "logprobs": None}
    assert chunks == [{**head, "choices": [{**choice, "finish_reason": None}]}] * 2
    assert last == {
        **head,
        "choices": [{**choice, "delta": {}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 5, "total_tokens": 5},
        "cost": None,
        "warnings": ["w"],
    }


def test_objects_are_what_is_sent_unless_asked_otherwise() -> None:
    assert Chat() == Chat("objects")


@pytest.mark.parametrize("shape", MESSAGES)
def test_usage_is_complete_without_details(shape: Shape) -> None:
    """A client that reads details without reasoning_tokens in them fails; one without usage may."""
    assert rendered(shape, ONE)["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert streamed(shape, ONE)[-1]["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize("shape", MESSAGES)
def test_a_signers_fields_stand_where_clients_keep_them(shape: Shape) -> None:
    extra, items = {"signature": "s", "chain": ["a"]}, [{"image_signature": "1"}, {"other": 2}]
    answer = rendered(shape, ONE, TWO, extra=extra)
    assert (answer["signature"], answer["chain"]) == ("s", ["a"])
    first, second, last = streamed(shape, ONE, TWO, extra=extra, items=items)
    assert "signature" not in {**first, **second}
    assert (last["signature"], last["chain"]) == ("s", ["a"])
    assert first["choices"][0]["delta"]["image_signature"] == "1"
    assert second["choices"][0]["delta"]["other"] == 2


@pytest.mark.parametrize("shape", MESSAGES)
def test_a_preview_is_marked_as_one(shape: Shape) -> None:
    told = Chat(shape).events(result(ONE).job, EXCHANGE)
    events = [*told.preview(TWO, index=0, number=0), *told.preview(ONE, index=0, number=1), *told.image(ONE)]
    assert [event.preview for event in events] == [True, True, False]
    first, second, third = written(events)
    preview = {"type": "image_url", "image_url": {"url": JPEG}, "index": 0, "partial": True, "partial_image_index": 0}
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "images": [preview]}
    assert second["choices"][0]["delta"]["images"][0]["partial_image_index"] == 1
    assert "role" not in third["choices"][0]["delta"]


@pytest.mark.parametrize("shape", MESSAGES)
def test_an_answer_can_be_written_twice(shape: Shape) -> None:
    pieces = Chat(shape).render(result(ONE, TWO), EXCHANGE, {})
    assert joined(pieces) == joined(pieces)
