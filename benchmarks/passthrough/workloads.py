"""What is asked and what is answered: the workloads, shared by the load generator and the upstream."""

from __future__ import annotations

import json
from dataclasses import dataclass

BODY = 10_000_000  # bytes of a large body
EVENTS = 50  # of one stream
GAP = 0.002  # seconds between two events: long enough that each is a write of its own

CHAT = "/v1/chat/completions"
FILES = "/v1/files"

# A model that no image plugin takes, so that the request goes to its route.
_QUESTION = {
    "model": "text-model",
    "messages": [
        {"role": "system", "content": "You are a helpful assistant. Answer briefly and in plain words."},
        {"role": "user", "content": "Which film is the more forgiving one to push by two stops, and what should I mind?"},
    ],
    "temperature": 0.2,
}
REQUEST = json.dumps(_QUESTION).encode()
STREAM_REQUEST = json.dumps({**_QUESTION, "stream": True}).encode()

ANSWER = json.dumps(
    {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion",
        "created": 1760000000,
        "model": "text-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "A pushed film. " * 20}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 52, "completion_tokens": 80, "total_tokens": 132},
    }
).encode()


def _event(number: int) -> bytes:
    chunk = {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": "text-model",
        "choices": [{"index": 0, "delta": {"content": f" word{number:03}"}, "finish_reason": None}],
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


STREAM = [*(_event(number) for number in range(EVENTS - 1)), b"data: [DONE]\n\n"]
LARGE = bytes(range(256)) * (BODY // 256 + 1)
LARGE = LARGE[:BODY]
TAKEN = json.dumps({"object": "file", "bytes": BODY}).encode()


@dataclass(frozen=True)
class Workload:
    """One kind of request, and how many clients send it at once.

    `pause` is how many milliseconds, from and to, a client waits between two requests: none is the most that goes, some is
    a load far from it. `by_bytes`: requests are long, so those that the end of a run cuts are counted by their bytes.
    """

    name: str
    title: str
    unit: str
    body: bytes
    answer: bytes
    clients: int
    path: str = CHAT
    method: str = "POST"
    pause: tuple[int, int] | None = None
    seconds: int = 2
    by_bytes: bool = False


WORKLOADS = (
    Workload("json", "Small JSON, as fast as it goes", "requests", REQUEST, ANSWER, 32),
    Workload("latency", "Small JSON, far from saturation", "requests", REQUEST, ANSWER, 4, pause=(5, 15)),
    Workload("streams", f"Streams of {EVENTS} events", "streams", STREAM_REQUEST, b"".join(STREAM), 32, by_bytes=True),
    Workload(
        "streams_full", f"Streams of {EVENTS} events, as many as go", "streams", STREAM_REQUEST, b"".join(STREAM), 256,
        by_bytes=True,
    ),
    Workload("up", "10 MB up", "bodies", LARGE, TAKEN, 16, path=FILES, by_bytes=True),
    Workload("down", "10 MB down", "bodies", b"", LARGE, 16, path=FILES, method="GET", by_bytes=True),
)
