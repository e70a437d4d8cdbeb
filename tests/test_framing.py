"""The framing battery: whatever a client or an upstream sends has one meaning, or is refused, and nobody's bytes become
another's.

Every request stands in a table in `framing.py`, and is followed by one that an attacker would smuggle. The upstream is a
witness that shares no line with the proxy and takes no byte that could be read in two ways.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from proxy_core.testing import running
from tests.framing import GROUPS, SMUGGLED, Sent, Vector
from tests.framing_answers import ANSWERS, CUT, Answered
from tests.witness import Ambiguous, Client, Message, Witness, read_answers, witnessing

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 65536  # bytes of a body
DRIPPED = 500  # bytes of a vector that is sent byte by byte, too
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
    ways = [False, True] if len(vector.data) <= DRIPPED else [False]
    for dripping in ways:
        await judge(room, vector, read=False, dripping=dripping)
        if b"POST /v1/x " in vector.data:
            await judge(room, vector, read=True, dripping=dripping)
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
