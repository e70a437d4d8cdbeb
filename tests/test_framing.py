"""The framing battery: whatever a client or an upstream sends has one meaning, or is refused, and nobody's bytes become
another's.

Every request stands in a table in `framing.py`, and is followed by one that an attacker would smuggle. The upstream is a
witness that shares no line with the proxy and takes no byte that could be read in two ways.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson
import pytest
import pytest_asyncio

from proxy_core.testing import running
from tests.framing import GROUPS, INNER, SMUGGLED, TE, Sent, Vector, post
from tests.framing_answers import ANSWERS, CUT, Answered
from tests.pictures import png
from tests.witness import Ambiguous, Client, Message, Witness, read_answers, witnessing

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 65536  # bytes of a body
DRIPPED = 300  # bytes of a vector that is sent byte by byte, too
READ = b"/v1/chat/completions"  # where image_edit reads the body before it decides; elsewhere it streams


@dataclass
class Script:
    """What the witness answers: what it is told where somebody asks for /v1/hostile, else that it has seen."""

    hostile: Answered | None = None

    def __call__(self, request: Message, transport: asyncio.Transport) -> None:
        if request.start[1] == b"/v1/hostile" and self.hostile is not None:
            transport.write(self.hostile.data)
            if self.hostile.closes:
                transport.close()
            return
        body = b'{"object": "witnessed"}'
        if request.start[1].startswith(b"/v1/images/"):
            body = orjson.dumps({"data": [{"b64_json": base64.b64encode(png()).decode()}], "object": "witnessed"})
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        transport.write(head if request.start[0] == b"HEAD" else head + body)


@dataclass
class Room:
    script: Script
    witness: Witness
    port: int
    well: Client

    async def is_well(self) -> None:
        """An ordinary request, on a connection that is kept throughout, is answered."""
        await self.well.send(b"GET /v1/well HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await self.well.until(b'"witnessed"}')).startswith(b"HTTP/1.1 200 ")
        (request,) = self.witness.take()
        assert request.start == (b"GET", b"/v1/well")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room() -> AsyncIterator[Room]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("proxy_core.protocol.LINGER", 0.01)  # a refused body that is never sent is not waited for
        script = Script()
        async with witnessing(script) as witness:
            proxy = {
                "plugins": ["access_log", "image_edit", "openai_compatible"],
                "limits": {"body": LIMIT},
                "routes": {"/v1": {"upstream": witness.url}, "/f": {"upstream": witness.url, "forwarded": True}},
            }
            plugins = {"openai_compatible": {"servers": {"w": {"base_url": f"{witness.url}/v1", "models": ["ours"]}}}}
            async with running({"proxy": proxy, "plugins": plugins}) as url:
                assert url.port is not None
                well = await Client.connect(url.port)
                yield Room(script, witness, url.port, well)
                well.close()


def check_refusal(answer: Message) -> None:
    """In OpenAI's shape."""
    (error,) = json.loads(answer.body).values()
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert answer.all(b"Content-Type") == [b"application/json"]


async def judge(room: Room, vector: Vector, *, read: bool, dripping: bool) -> None:
    becomes = [*vector.becomes, *([Sent(method="GET", target="/v1/smuggled")] if vector.goes_on else [])]
    room.witness.forget()
    before = room.witness.received
    client = await Client.connect(room.port)
    data = vector.data.replace(b" /v1/x ", b" %b " % READ) if read else vector.data
    await client.send(data + SMUGGLED, dripping=dripping)
    said = await client.to_end()

    answers = [one for one in read_answers(said, *[getattr(one, "method", "GET") for one in becomes]) if one.start[0] >= b"2"]
    await room.witness.until_cut()
    if vector.or_refused and [answer.start for answer in answers] == [(b"400",)]:
        becomes = [400]
    statuses = [one if isinstance(one, int) else 200 for one in becomes]
    assert [int(answer.start[0]) for answer in answers] == statuses, said
    for answer in answers:
        if answer.start[0] >= b"4":
            check_refusal(answer)
    if not vector.goes_on and statuses[-1] != 413:  # behind which the rest of the body is waited for a while
        assert answers[-1].all(b"Connection") == [b"close"] or b" HTTP/1.0\r\n" in data
    sent = [one for one in becomes if isinstance(one, Sent)]
    wanted = [(one.method, READ.decode() if read and one.target == "/v1/x" else one.target, one.body) for one in sent]
    requests = room.witness.take()
    seen = [(one.start[0].decode(), one.start[1].decode("utf-8", "surrogateescape"), one.body) for one in requests]
    assert seen == wanted
    if not sent and (read or b"chunked\r\n\r\n" not in data):
        assert room.witness.received == before  # not even the beginning of a request


@pytest.mark.parametrize(
    "vector", [pytest.param(one, id=f"{group}-{one.id}") for group, vectors in GROUPS.items() for one in vectors]
)
async def test_a_request_has_one_meaning_or_is_refused(room: Room, vector: Vector) -> None:
    await judge(room, vector, read=False, dripping=False)
    if len(vector.data) <= DRIPPED:
        await judge(room, vector, read=False, dripping=True)
    if b"POST /v1/x " in vector.data:
        await judge(room, vector, read=True, dripping=False)
    await room.is_well()


@pytest.mark.parametrize(
    "vector", [pytest.param(one, id=f"{group}-{one.id}") for group, vectors in ANSWERS.items() for one in vectors]
)
async def test_an_answer_is_clean_or_none(room: Room, vector: Answered) -> None:
    """And whoever asks next, on the same connection or another, is given the answer to what it asked."""
    room.witness.forget()
    room.script.hostile = vector
    client = await Client.connect(room.port)
    asked = f"{vector.method} /v1/hostile HTTP/1.1\r\nHost: h\r\n\r\n"
    await client.send(asked.encode() + b"GET /v1/next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    said = await client.to_end()
    assert b"evil" not in said.lower()
    if vector.status == CUT:
        with pytest.raises(Ambiguous, match="half a body"):
            read_answers(said, vector.method)
        room.witness.take()
    else:
        answer, after = read_answers(said, vector.method, "GET")
        assert answer.start == (str(vector.status).encode(),)
        if vector.status == 502:
            assert json.loads(answer.body)["error"]["code"] == "invalid_upstream_reply"
            assert answer.all(b"x-should-retry") == [b"false"]
        else:
            assert answer.body == vector.body
        assert json.loads(after.body) == {"object": "witnessed"}
        assert [one.start[1] for one in room.witness.take()] == [b"/v1/hostile", b"/v1/next"]
    await room.is_well()


UNFINISHED = {
    "a counted body": post(b"Content-Length: 100", body=b"hello"),
    "a counted body that is a request": post(b"Content-Length: 100", body=INNER),
    "chunks without an end": post(TE, body=b"5\r\nhello\r\n"),
    "a last chunk without its last line": post(TE, body=b"5\r\nhello\r\n0\r\n"),
    "a last chunk in the midst of trailers": post(TE, body=b"5\r\nhello\r\n0\r\nX-A: 1\r\n"),
    "a chunk of more than ever comes": post(TE, body=b"ffff\r\nhello\r\n0\r\n\r\n"),
    "a chunk of more than anybody has": post(TE, body=b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    "a chunk that wraps elsewhere": post(TE, body=b"100000005\r\nhello\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("data", [pytest.param(data, id=id) for id, data in UNFINISHED.items()])
async def test_what_is_never_finished_is_no_request(room: Room, data: bytes) -> None:
    """The upstream is cut off in the midst of it, and not told that this was all."""
    room.witness.forget()
    before = room.witness.received
    client = await Client.connect(room.port)
    await client.send(data)
    await room.witness.until_more(before)
    client.close()
    await room.witness.until_cut()
    assert room.witness.take() == []
    await room.is_well()


@pytest.mark.parametrize(
    "flood",
    [b"1;" + b"a" * 300_000, b"1;" + b"a" * 300_000 + b"\r\na\r\n0\r\n\r\n", b"0\r\n" + b"X-A: 1\r\n" * 40_000],
    ids=["an extension", "an extension that ends", "trailers"],
)
async def test_framing_without_end_is_bounded(room: Room, flood: bytes) -> None:
    room.witness.forget()
    client = await Client.connect(room.port)
    await client.send(post(TE))
    for at in range(0, len(flood), 16384):
        await client.send(flood[at : at + 16384])
        await asyncio.sleep(0)
    (answer,) = read_answers(await client.to_end(), "POST")
    assert answer.start == (b"400",)
    check_refusal(answer)
    await room.witness.until_cut()
    assert room.witness.take() == []
    await room.is_well()


async def ask(room: Room, data: bytes) -> tuple[Message, Message]:
    """(the answer, what the witness was sent)."""
    room.witness.forget()
    client = await Client.connect(room.port)
    await client.send(data)
    (answer,) = read_answers(await client.to_end(), "POST")
    (request,) = room.witness.take()
    return answer, request


CLOSE = b"Connection: close"


async def test_nothing_of_a_trailer_becomes_a_header(room: Room) -> None:
    trailers = b"5\r\nhello\r\n0\r\nAuthorization: Bearer evil\r\nX-Request-ID: evil\r\nX-A: evil\r\n\r\n"
    answer, request = await ask(room, post(TE, CLOSE, body=trailers))
    assert request.fields == [(b"Transfer-Encoding", b"chunked"), (b"Host", room.witness.url.removeprefix("http://").encode())]
    assert b"evil" not in b"".join(value for _, value in answer.fields)


async def test_what_connection_names_stays_behind_and_the_frame_does_not(room: Room) -> None:
    names = b"Connection: close, Content-Length, Transfer-Encoding, Host, Authorization, X-A"
    answer, request = await ask(room, post(names, b"Content-Length: 5", b"Authorization: Bearer a", b"X-A: 1", body=b"hello"))
    assert answer.start == (b"200",)
    assert sorted(name.lower() for name, _ in request.fields) == [b"content-length", b"host"]


async def test_an_absolute_targets_host_is_the_one_that_is_told(room: Room) -> None:
    head = b"GET http://named.example:81/f/x HTTP/1.1\r\nHost: evil\r\nX-A: 1\r\nX-A: 2\r\nConnection: close\r\n\r\n"
    _, request = await ask(room, head)
    assert request.all(b"X-Forwarded-Host") == [b"named.example:81"]
    assert request.all(b"X-A") == [b"1", b"2"]


ODD_IDS = [
    b"two words",
    b"a\tb",
    b"\xff",
    "\u010d\u010a".encode(),
    b"a;b",
    b"a,b",
    b'"a"',
    b"<a>",
    b"a%0d%0aX-Evil: 1",
    b"a" * 200,
    b"",
]


@pytest.mark.parametrize("value", ODD_IDS)
async def test_an_odd_request_id_is_not_given_back(room: Room, value: bytes) -> None:
    answer, request = await ask(room, post(b"X-Request-ID: " + value, CLOSE))
    (given,) = answer.all(b"X-Request-ID")
    assert given.startswith(b"req_")
    assert request.all(b"X-Request-ID") == [value]  # what the client says to the upstream is theirs


EVIL = "a\r\nX-Evil: 1\r\n\r\nevil\0\u010d\u010a"  # the last two are CR and LF to who drops the high byte


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("field", ["prompt", "size", "quality", "user", "background", "x-evil\r\nX-Evil: 1"])
async def test_no_field_of_json_becomes_a_header(room: Room, field: str, stream: bool) -> None:
    body = orjson.dumps({"model": "ours", "prompt": "a sun", "stream": stream, field: EVIL})
    room.witness.forget()
    client = await Client.connect(room.port)
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    await client.send(head.encode() + body)
    (answer,) = read_answers(await client.to_end(), "POST")
    for message in (answer, *room.witness.take()):
        assert not message.all(b"X-Evil")
        assert not [value for _, value in message.fields if b"\xc4" in value]
    await room.is_well()


async def test_a_model_that_nobody_has_is_told_in_the_body_alone(room: Room) -> None:
    body = orjson.dumps({"model": EVIL, "prompt": "a sun"})
    answer, request = await ask(room, post(b"Content-Length: %d" % len(body), CLOSE, body=body).replace(b"/v1/x", READ))
    assert not answer.all(b"X-Evil")
    assert request.body == body


@pytest.mark.parametrize(
    "disposition",
    [
        b'name="image"; filename="a\\"b.png"',
        b'name="image"; filename="a%22%0d%0aX-Evil: 1.png"',
        b'name="image"; filename="../../a.png"',
        b'name="image"; filename="\xff\xfe.png"',
        b"name=\"image\"; filename*=UTF-8''a%0D%0AX-Evil%3A%201.png",
        b'name="image"; filename="a.png"\r\nX-Evil: 1',
        b'name="image"; filename="a.png"\r\nContent-Type: image/png; x="\r\nX-Evil: 1',
    ],
)
async def test_no_name_in_a_form_becomes_a_line_of_the_upstreams(room: Room, disposition: bytes) -> None:
    fields = {b"model": b"ours", b"prompt": b"add a hat\r\n--x\r\nX-Evil: 1"}
    form = b"".join(b'--cut\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % one for one in fields.items())
    form += b"--cut\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + png() + b"\r\n--cut--\r\n"
    kind = b"Content-Type: multipart/form-data; boundary=cut"
    data = post(kind, b"Content-Length: %d" % len(form), CLOSE, body=form).replace(b"/v1/x", b"/v1/images/edits")
    answer, request = await ask(room, data)
    assert answer.start == (b"200",)
    (told,) = request.all(b"Content-Type")
    boundary = told.partition(b"boundary=")[2]
    parts = request.body.split(b"--" + boundary)
    assert parts[0] == b""
    assert parts[-1] == b"--\r\n"
    for part in parts[1:-1]:
        lines = part.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        assert [line.partition(b":")[0] for line in lines] in (
            [b"Content-Disposition"],
            [b"Content-Disposition", b"Content-Type"],
        )
