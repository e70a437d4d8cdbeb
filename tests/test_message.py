"""What passes through: headers, the memory budget, bodies in hand and on their way, encodings, and an exchange's life."""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any, assert_type

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from proxy_core import Body, ClientError, Data, Ended, Exchange, Key, Lease, Memory, Overloaded, Request, Response, TooLarge
from proxy_core.message import CHUNK, MODEL, Piece, decode, end_to_end, upgrades


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until `condition` holds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


# --- end_to_end ---


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([], []),
        ([("Accept", "a"), ("X-One", "1")], ["Accept", "X-One"]),
        ([("Connection", "close"), ("Host", "h")], ["Host"]),
        ([("KEEP-ALIVE", "5"), ("te", "trailers"), ("Trailer", "x"), ("Transfer-Encoding", "chunked")], []),
        ([("Upgrade", "h2c"), ("Proxy-Connection", "close"), ("Proxy-Authenticate", "x"), ("proxy-authorization", "x")], []),
        ([("Connection", "X-Hop, keep-alive"), ("x-hop", "1"), ("X-Hope", "2")], ["X-Hope"]),
        ([("connection", " ,X-HOP,, "), ("X-Hop", "1"), ("X-Hop", "2"), ("X-Stay", "3")], ["X-Stay"]),
        ([("Connection", "a"), ("Connection", "b"), ("A", "1"), ("B", "2"), ("C", "3")], ["C"]),
        ([("Authorization", "Bearer k"), ("WWW-Authenticate", "x")], ["Authorization", "WWW-Authenticate"]),
    ],
)
def test_what_speaks_of_one_connection_stays_behind(given: list[tuple[str, str]], kept: list[str]) -> None:
    headers = CIMultiDict(given)
    assert list(end_to_end(headers)) == kept
    assert list(end_to_end(CIMultiDictProxy(headers))) == kept
    assert list(headers.items()) == given  # a copy: the request may still be logged, or sent again


def test_repeated_headers_keep_their_values_and_order() -> None:
    given = [("Set-Cookie", "b=2"), ("X", "1"), ("set-cookie", "a=1"), ("Set-Cookie", "b=2")]
    assert list(end_to_end(CIMultiDict(given)).items()) == given


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("Connection", "Upgrade"), ("Upgrade", "websocket")], True),
        ([("connection", "keep-alive, UPGRADE"), ("upgrade", "WebSocket")], True),
        ([("Connection", "keep-alive"), ("Connection", " upgrade "), ("Upgrade", "websocket")], True),
        ([("Connection", "Upgrade")], False),
        ([("Upgrade", "websocket")], False),
        ([("Connection", "Upgrade"), ("Upgrade", "h2c")], False),
        ([("Connection", "Upgrades"), ("Upgrade", "websocket")], False),
        ([], False),
    ],
)
def test_who_asks_to_speak_websocket(headers: list[tuple[str, str]], expected: bool) -> None:
    assert upgrades(CIMultiDict(headers)) is expected


# --- Memory and Lease ---

PATIENT = 5.0  # no test waits that long: who waits is admitted, or cancelled


async def queued(memory: Memory, *sizes: int) -> list[tuple[Lease, asyncio.Task[None]]]:
    """A lease for each size, waiting in that order."""

    def longer(than: int) -> bool:
        return len(memory.waiting) > than

    entries = []
    for n in sizes:
        lease = memory.lease()
        before = len(memory.waiting)
        entries.append((lease, asyncio.create_task(lease.take(n))))
        await until(partial(longer, before))
    return entries


async def test_a_lease_takes_gives_and_releases() -> None:
    memory = Memory(100)
    lease = memory.lease()
    await lease.take(60)
    await lease.take(40)
    assert (lease.held, memory.used) == (100, 100)
    lease.give(30)
    assert (lease.held, memory.used) == (70, 70)
    lease.release()
    lease.release()  # whoever cleans up need not know whether somebody did
    assert (lease.held, memory.used) == (0, 0)


async def test_what_was_released_cannot_be_given_again() -> None:
    memory = Memory(100)
    lease, other = memory.lease(), memory.lease()
    await other.take(50)
    await lease.take(10)
    lease.release()
    lease.give(10)  # background work that cleans up after its exchange has ended
    assert (lease.held, memory.used) == (0, 50)


@pytest.mark.parametrize("held", [0, 1])
async def test_more_than_there_will_ever_be_is_too_large_at_once(held: int) -> None:
    memory = Memory(100, patience=PATIENT)
    lease = memory.lease()
    await lease.take(held)
    with pytest.raises(TooLarge, match=r"101.*100"):
        await lease.take(101)
    assert (lease.held, memory.used, len(memory.waiting)) == (held, held, 0)
    lease.release()
    await lease.take(100)  # the whole of it is not too much


async def test_who_holds_something_never_waits() -> None:
    memory = Memory(100, patience=PATIENT)
    first, second = memory.lease(), memory.lease()
    await first.take(60)
    await second.take(40)
    async with asyncio.timeout(PATIENT / 2):
        with pytest.raises(Overloaded) as caught:
            await first.take(1)
    assert caught.value.status == 503
    assert int(caught.value.headers["Retry-After"]) > 0
    assert (first.held, memory.used, len(memory.waiting)) == (60, 100, 0)


async def test_a_holder_for_whom_there_is_room_passes_those_that_wait() -> None:
    memory = Memory(100, patience=PATIENT)
    holder = memory.lease()
    await holder.take(50)
    [(_, task)] = await queued(memory, 60)
    await holder.take(50)  # it could not wait its turn: it would be refused, and its work so far lost
    assert memory.used == 100
    holder.release()
    await task


async def test_those_that_wait_are_admitted_in_the_order_they_came() -> None:
    memory = Memory(100, patience=PATIENT)
    holder = memory.lease()
    await holder.take(100)
    entries = await queued(memory, 60, 40, 60)
    order: list[int] = []

    def note(position: int, _: asyncio.Task[None]) -> None:
        order.append(position)

    for position, (_, task) in enumerate(entries):
        task.add_done_callback(partial(note, position))
    assert [lease.held for lease, _ in entries] == [0, 0, 0]
    holder.give(60)
    await entries[0][1]
    assert [lease.held for lease, _ in entries] == [60, 0, 0]
    holder.give(40)
    await entries[1][1]
    assert [lease.held for lease, _ in entries] == [60, 40, 0]
    entries[0][0].release()
    await entries[2][1]
    assert order == [0, 1, 2]
    assert memory.used == 100


async def test_one_gift_admits_as_many_as_it_has_room_for() -> None:
    memory = Memory(100, patience=PATIENT)
    holder = memory.lease()
    await holder.take(100)
    entries = await queued(memory, 30, 30, 30, 30)
    holder.release()
    await asyncio.gather(*(task for _, task in entries[:3]))
    assert [lease.held for lease, _ in entries] == [30, 30, 30, 0]
    entries[1][0].release()
    await entries[3][1]
    assert (memory.used, len(memory.waiting)) == (90, 0)


async def test_small_ones_do_not_overtake_a_large_one_that_waits() -> None:
    memory = Memory(100, patience=PATIENT)
    holder = memory.lease()
    await holder.take(60)
    (large, large_task), (small, small_task) = await queued(memory, 80, 30)
    holder.give(30)  # room for the small one, as there was before
    assert memory.fits(30)
    assert (memory.used, large_task.done(), small_task.done()) == (30, False, False)
    holder.release()
    await large_task
    assert (large.held, small.held) == (80, 0)
    large.release()
    await small_task
    assert (small.held, memory.used) == (30, 30)


async def test_impatience_is_answered_with_503_and_a_time_to_come_again() -> None:
    memory = Memory(100, patience=0.01)
    holder, lease = memory.lease(), memory.lease()
    await holder.take(100)
    with pytest.raises(Overloaded) as caught:
        await lease.take(1)
    assert caught.value.status == 503
    assert int(caught.value.headers["Retry-After"]) > 0
    assert (lease.held, memory.used, len(memory.waiting)) == (0, 100, 0)


async def test_an_impatient_one_at_the_head_makes_way() -> None:
    memory = Memory(100, patience=0.01)
    holder, large, small = memory.lease(), memory.lease(), memory.lease()
    await holder.take(60)
    first = asyncio.create_task(large.take(80))
    await until(lambda: len(memory.waiting) == 1)
    memory.patience = PATIENT
    second = asyncio.create_task(small.take(30))
    with pytest.raises(Overloaded):
        await first
    await second
    assert (small.held, memory.used) == (30, 90)


async def test_a_cancelled_one_leaves_the_queue_and_lets_the_next_in() -> None:
    memory = Memory(100, patience=PATIENT)
    holder = memory.lease()
    await holder.take(60)
    (large, large_task), (small, small_task) = await queued(memory, 80, 30)
    large_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await large_task
    await small_task
    assert (large.held, small.held, memory.used, len(memory.waiting)) == (0, 30, 90, 0)


@pytest.mark.parametrize("cancel_first", [True, False], ids=["cancelled, then room", "room, then cancelled"])
async def test_cancelled_in_the_moment_of_admission_leaks_nothing(cancel_first: bool) -> None:
    memory = Memory(100, patience=PATIENT)
    holder = memory.lease()
    await holder.take(100)
    (gone, gone_task), (next, next_task) = await queued(memory, 100, 70)
    # Both happen before the waiter runs again.
    if cancel_first:
        gone_task.cancel()
        holder.release()
    else:
        holder.release()
        gone_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone_task
    await next_task
    assert (gone.held, next.held, memory.used, len(memory.waiting)) == (0, 70, 70, 0)


async def test_patience_that_ends_in_the_moment_of_admission_leaks_nothing() -> None:
    memory = Memory(100, patience=0.001)
    holder, lease = memory.lease(), memory.lease()
    await holder.take(100)
    task = asyncio.create_task(lease.take(50))
    await until(lambda: len(memory.waiting) == 1)
    # The loop is held up until patience is over; room and the end of patience then come in one round of it.
    time.sleep(0.005)
    holder.release()
    await asyncio.wait([task])
    assert task.exception() is None or isinstance(task.exception(), Overloaded)
    assert (memory.used, len(memory.waiting)) == (lease.held, 0)


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_in_any_order_the_books_balance(seed: int) -> None:
    rnd = random.Random(seed)
    memory = Memory(1000, patience=0.002 if seed % 2 else PATIENT)
    leases: list[Lease] = []

    async def client() -> None:
        lease = memory.lease()
        leases.append(lease)
        try:
            for _ in range(rnd.randrange(1, 4)):
                await lease.take(rnd.randrange(1, 600))
                for _ in range(rnd.randrange(5)):
                    await asyncio.sleep(0)
                if rnd.random() < 0.3:
                    lease.give(rnd.randrange(lease.held + 1))
        except Overloaded:
            pass
        finally:
            lease.release()

    tasks: list[asyncio.Task[None]] = []
    for _ in range(300):
        tasks.append(asyncio.create_task(client()))
        if rnd.random() < 0.5:
            await asyncio.sleep(0)
        if rnd.random() < 0.4:
            rnd.choice(tasks).cancel()
        assert sum(lease.held for lease in leases) <= memory.used <= memory.limit
    async with asyncio.timeout(5):
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(end) for end in ends} <= {type(None), asyncio.CancelledError}
    assert (memory.used, len(memory.waiting)) == (0, 0)


# --- Body ---


class Noise:
    """A Piece: made anew each time it is asked for."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self.asked = 0

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))

    def chunks(self) -> Iterator[Data]:
        self.asked += 1
        yield from self.parts


class Source:
    """A stream's chunks, and whether their generator has been closed."""

    def __init__(self, *chunks: bytes, error: Exception | None = None) -> None:
        self.parts = chunks
        self.error = error
        self.given = 0
        self.ended = False
        self.let_go = 0

    async def generate(self) -> AsyncGenerator[Data, None]:
        try:
            for chunk in self.parts:
                self.given += 1
                yield chunk
            if self.error is not None:
                raise self.error
        finally:
            self.ended = True

    def close(self) -> None:
        self.let_go += 1

    def body(self, size: int | None = None) -> Body:
        return Body.stream(self.generate(), size, self.close)


async def collected(body: Body) -> list[bytes]:
    async with aclosing(body.chunks()) as chunks:
        return [bytes(chunk) async for chunk in chunks]


def plenty() -> Lease:
    return Memory(1 << 30).lease()


def test_what_has_a_size_and_chunks_is_a_piece_and_bytes_are_not() -> None:
    assert isinstance(Noise(), Piece)
    assert not any(isinstance(data, Piece) for data in (b"", bytearray(), memoryview(b"")))


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ((), b""),
        ((b"",), b""),
        ((b"abc",), b"abc"),
        ((bytearray(b"ab"), memoryview(b"cd")), b"abcd"),
        ((b"<", Noise(b"12", b"3"), b">"), b"<123>"),
        ((Noise(), b"x"), b"x"),
    ],
)
async def test_pieces_in_hand_are_counted_and_read_as_often_as_asked(pieces: tuple[Data | Piece, ...], whole: bytes) -> None:
    body = Body(*pieces)
    assert body.in_hand
    assert body.size == len(whole)
    for _ in range(2):
        assert b"".join(await collected(body)) == whole
        assert bytes(body.contiguous()) == whole
    await body.aclose()  # nothing to give up
    assert b"".join(await collected(body)) == whole


@pytest.mark.parametrize("make", [bytes, bytearray, lambda data: memoryview(data)])
@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
async def test_large_bytes_leave_in_chunks_of_256_kib(make: Callable[[bytes], Data], size: int) -> None:
    assert CHUNK == 256 * 1024
    data = random.Random(size).randbytes(size)
    chunks = await collected(Body(make(data)))
    assert b"".join(chunks) == data
    assert [len(chunk) for chunk in chunks[:-1]] == [CHUNK] * (len(chunks) - 1)
    assert len(chunks[-1]) <= CHUNK


async def test_a_piece_is_made_only_when_written() -> None:
    noise = Noise(b"abc")
    body = Body(b"x", noise)
    assert (body.size, noise.asked) == (4, 0)
    await collected(body)
    assert noise.asked == 1


@pytest.mark.parametrize("size", [None, 6])
async def test_a_stream_passes_chunk_by_chunk_as_it_came(size: int | None) -> None:
    source = Source(b"ab", b"", b"cdef")
    body = source.body(size)
    assert not body.in_hand
    assert body.size == size
    async with aclosing(body.chunks()) as chunks:
        assert await anext(chunks) == b"ab"
        assert source.given == 1  # nothing is read ahead: that is the back-pressure
        assert [bytes(chunk) async for chunk in chunks] == [b"", b"cdef"]
    assert source.ended
    assert source.let_go >= 1


async def test_a_stream_read_a_second_time_does_not_pass_for_empty() -> None:
    body = Source(b"ab").body()
    assert await collected(body) == [b"ab"]
    with pytest.raises(RuntimeError):
        await collected(body)
    with pytest.raises(RuntimeError):
        await body.read(plenty(), limit=100)


async def test_a_stream_is_not_in_one_piece() -> None:
    source = Source(b"ab")
    with pytest.raises(RuntimeError):
        source.body().contiguous()


async def test_leaving_a_stream_early_closes_what_it_comes_from() -> None:
    source = Source(b"ab", b"cd")
    async with aclosing(source.body().chunks()) as chunks:
        await anext(chunks)
    assert source.ended
    assert (source.given, source.let_go) == (1, 1)


async def test_aclose_closes_a_stream_that_was_begun() -> None:
    source = Source(b"ab", b"cd")
    body = source.body()
    assert await anext(body.chunks()) == b"ab"
    await body.aclose()
    assert source.ended
    assert source.let_go >= 1


async def test_aclose_lets_go_of_a_stream_that_was_never_begun() -> None:
    # Its generator's own `finally` does not run then: `close` is all there is.
    source = Source(b"ab")
    body = source.body()
    await body.aclose()
    await body.aclose()
    assert source.given == 0
    assert source.let_go >= 1
    without = Body.stream(Source(b"ab").generate())
    await without.aclose()


async def test_an_error_of_the_source_reaches_the_reader() -> None:
    source = Source(b"ab", error=ConnectionResetError("cut"))
    with pytest.raises(ConnectionResetError):
        await source.body().read(plenty(), limit=100)
    assert source.ended


@pytest.mark.parametrize("size", [None, 6])
async def test_read_brings_a_stream_in_hand_within_the_budget(size: int | None) -> None:
    memory = Memory(6)
    lease = memory.lease()
    source = Source(b"ab", b"", b"cdef")
    body = await source.body(size).read(lease, limit=6)
    assert body.in_hand
    assert len(body.pieces) == 1
    assert (bytes(body.contiguous()), body.size) == (b"abcdef", 6)
    assert b"".join(await collected(body)) == b"abcdef"
    assert (lease.held, memory.used) == (6, 6)
    assert source.ended


async def test_read_of_a_body_in_hand_is_that_body_and_takes_nothing() -> None:
    lease = plenty()
    body = Body(b"ab", Noise(b"c"))
    assert await body.read(lease, limit=3) is body
    assert lease.held == 0


async def test_the_limit_holds_for_a_body_that_somebody_else_has_read() -> None:
    with pytest.raises(TooLarge, match="limit is 2"):
        await Body(b"abc").read(plenty(), limit=2)


@pytest.mark.parametrize(
    ("size", "limit", "given"),
    [
        (7, 6, 0),  # told beforehand: nothing is read
        (None, 6, 3),
        (None, 0, 1),
        (5, 6, 3),  # it told less than it sends
    ],
)
async def test_read_over_the_limit_is_too_large(size: int | None, limit: int, given: int) -> None:
    source = Source(b"abc", b"def", b"g", b"never asked for")
    with pytest.raises(TooLarge, match=f"limit (is|of) {limit}") as caught:
        await source.body(size).read(plenty(), limit=limit)
    assert caught.value.status == 413
    assert source.given == given


@pytest.mark.parametrize("size", [None, 7], ids=["counted", "told"])
async def test_a_body_that_is_refused_is_let_go(size: int | None) -> None:
    source = Source(b"abcdefg")
    with pytest.raises(TooLarge):
        await source.body(size).read(plenty(), limit=6)
    assert source.let_go >= 1


async def test_a_body_for_which_there_is_no_memory_is_let_go_before_it_is_read() -> None:
    memory = Memory(10, patience=0.001)
    await memory.lease().take(10)
    source = Source(b"abcdefg")
    with pytest.raises(Overloaded):
        await source.body(7).read(memory.lease(), limit=10)
    assert source.given == 0
    assert source.let_go >= 1


async def test_a_stream_of_unknown_length_is_refused_when_memory_runs_out() -> None:
    memory = Memory(10, patience=PATIENT)
    lease = memory.lease()
    source = Source(b"abcdef", b"ghijkl", b"never asked for")
    with pytest.raises(Overloaded):
        await source.body().read(lease, limit=100)
    assert source.ended
    assert source.given == 2
    assert lease.held == 6
    lease.release()
    assert memory.used == 0


# --- decode ---


def packed_as(wbits: int) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
        return packer.compress(data) + packer.flush()

    return pack


gzipped, zlibbed, deflated = packed_as(31), packed_as(15), packed_as(-15)
EACH = pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzipped), ("deflate", zlibbed), ("deflate", deflated)], ids=["gzip", "zlib", "raw"]
)


TEXT = b'{"model": "seedream-4.0", "prompt": "a dog"}' * 50
LARGE = random.Random(7).randbytes(3 * CHUNK) + bytes(5 * CHUNK)  # more than a chunk of input, and of output


@pytest.mark.parametrize("plain", [b"", b"x", TEXT, LARGE], ids=["empty", "one", "text", "large"])
@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("", [bytes]),
        ("identity", [bytes]),
        (" Identity , identity", [bytes]),
        ("gzip", [gzipped]),
        ("GZip", [gzipped]),
        ("x-gzip", [gzipped]),
        ("deflate", [zlibbed]),
        ("deflate", [deflated]),
        ("gzip, deflate", [gzipped, zlibbed]),  # in the order they were applied
        ("deflate,identity,,x-gzip", [deflated, gzipped]),
    ],
)
async def test_an_encoding_is_undone(encoding: str, pack: list[Callable[[bytes], bytes]], plain: bytes) -> None:
    data = plain
    for step in pack:
        data = step(data)
    memory = Memory(1 << 30)
    lease = memory.lease()
    assert bytes(await decode(data, encoding, lease, limit=1 << 24)) == plain
    assert lease.held >= (0 if pack == [bytes] else len(plain))
    lease.release()
    assert memory.used == 0


async def test_any_kind_of_bytes_is_decoded() -> None:
    packed = gzipped(TEXT)
    for data in (packed, bytearray(packed), memoryview(packed)):
        assert bytes(await decode(data, "gzip", plenty(), limit=len(TEXT))) == TEXT


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, br", "br, gzip", "gzip;q=1", "*"])
async def test_an_encoding_not_understood_is_415(encoding: str) -> None:
    with pytest.raises(ClientError, match="gzip, deflate or none") as caught:
        await decode(gzipped(b"x"), encoding, plenty(), limit=100)
    assert (caught.value.status, caught.value.code) == (415, "unsupported_encoding")


@EACH
@pytest.mark.parametrize("size", [1, 100, 5000])
async def test_the_limit_is_exact(encoding: str, pack: Callable[[bytes], bytes], size: int) -> None:
    packed = pack(bytes(size))
    assert len(await decode(packed, encoding, plenty(), limit=size)) == size
    with pytest.raises(TooLarge) as caught:
        await decode(packed, encoding, plenty(), limit=size - 1)
    assert caught.value.status == 413


@pytest.mark.parametrize("over", [1, 243])
@EACH
async def test_the_limit_is_exact_where_a_chunk_ends(encoding: str, pack: Callable[[bytes], bytes], over: int) -> None:
    # Behind a full chunk of output the inflater may hold back some bytes, all input consumed.
    with pytest.raises(TooLarge):
        await decode(pack(bytes(CHUNK + over)), encoding, plenty(), limit=CHUNK)
    lease = plenty()
    assert len(await decode(pack(bytes(CHUNK + over)), encoding, lease, limit=CHUNK + over)) == CHUNK + over
    assert lease.held == CHUNK + over


async def test_a_bomb_is_stopped_before_it_is_held() -> None:
    memory = Memory(8 * CHUNK)
    lease = memory.lease()
    bomb = gzipped(bytes(64 * CHUNK))
    with pytest.raises(TooLarge):
        await decode(bomb, "gzip", lease, limit=2 * CHUNK)
    assert lease.held <= 2 * CHUNK
    lease.release()
    with pytest.raises(Overloaded):  # within the limit, but not within the budget
        await decode(bomb, "gzip", lease, limit=64 * CHUNK)
    lease.release()
    assert memory.used == 0


async def test_a_bomb_within_the_limit_does_not_hold_up_the_loop() -> None:
    rounds = 0

    async def others() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    megabytes = 16
    bomb = gzipped(bytes(megabytes << 20))
    assert len(bomb) < CHUNK  # one chunk of input
    task = asyncio.create_task(others())
    await decode(bomb, "gzip", plenty(), limit=megabytes << 20)
    task.cancel()
    assert rounds >= megabytes  # about a megabyte at once, and no more


@EACH
@pytest.mark.parametrize("plain", [TEXT, LARGE], ids=["text", "large"])
async def test_a_cut_stream_is_refused_wherever_it_is_cut(encoding: str, pack: Callable[[bytes], bytes], plain: bytes) -> None:
    packed = pack(plain)
    for end in (0, 1, 2, len(packed) // 2, len(packed) - 1):
        with pytest.raises(ClientError) as caught:
            await decode(packed[:end], encoding, plenty(), limit=len(plain))
        assert (caught.value.status, caught.value.code) == (400, "invalid_encoding"), end


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("garbage", [b"not compressed at all", b"\xff" * 100, b"\x1f\x8b\x08\xff", b"\x78\x9c\xff\xff"])
async def test_garbage_is_refused(encoding: str, garbage: bytes) -> None:
    with pytest.raises(ClientError) as caught:
        await decode(garbage, encoding, plenty(), limit=1000)
    assert (caught.value.status, caught.value.code) == (400, "invalid_encoding")


@pytest.mark.parametrize(("encoding", "pack", "tail"), [("gzip", gzipped, 8), ("deflate", zlibbed, 4)])
async def test_a_wrong_checksum_is_refused(encoding: str, pack: Callable[[bytes], bytes], tail: int) -> None:
    packed = bytearray(pack(TEXT))
    packed[-tail] ^= 1
    with pytest.raises(ClientError) as caught:
        await decode(packed, encoding, plenty(), limit=len(TEXT))
    assert (caught.value.status, caught.value.code) == (400, "invalid_encoding")


@EACH
@pytest.mark.parametrize("garbage", [b"junk", b"junk" * CHUNK], ids=["some", "much"])
async def test_what_follows_the_end_is_refused_not_dropped(
    encoding: str, pack: Callable[[bytes], bytes], garbage: bytes
) -> None:
    with pytest.raises(ClientError) as caught:
        await decode(pack(TEXT) + garbage, encoding, plenty(), limit=1 << 24)
    assert (caught.value.status, caught.value.code) == (400, "invalid_encoding")


@pytest.mark.parametrize("second", [TEXT, LARGE], ids=["text", "large"])
async def test_a_second_gzip_member_is_never_dropped_in_silence(second: bytes) -> None:
    # RFC 1952 2.2 allows several. They may be refused, but half a body must not pass for the whole.
    packed = gzipped(TEXT) + gzipped(second)
    try:
        plain = bytes(await decode(packed, "gzip", plenty(), limit=1 << 24))
    except ClientError:
        return
    assert plain == TEXT + second


# --- Exchange ---

COUNT: Key[int] = Key("count")
OTHER_COUNT: Key[int] = Key("count")


@pytest.mark.parametrize(
    "asked",
    ["a", "req_123", "0", "550e8400-e29b-41d4-a716-446655440000", "a.b_c:d/e+f=g@h-i", "x" * 128, "1-67891233-abcdef"],
)
def test_a_sane_id_is_kept(asked: str) -> None:
    assert Exchange(asked_id=asked).id == asked


@pytest.mark.parametrize(
    "asked",
    [None, "", " ", "a b", "a\n", "a\r\nX: y", "-a", ".a", "\u00e9", "a\u0660", '"', "a,b", "<b>", "x" * 129, "a\x00"],
)
def test_an_id_that_is_not_sane_is_replaced(asked: str | None) -> None:
    first, second = Exchange(asked_id=asked), Exchange(asked_id=asked)
    assert first.id != asked
    assert first.id != second.id
    assert Exchange(asked_id=first.id).id == first.id  # what we make is sane by our own measure


def test_values_are_known_by_their_key_not_its_name() -> None:
    exchange = Exchange()
    assert COUNT not in exchange
    assert exchange.get(COUNT) is None
    assert exchange.get(COUNT, "none") == "none"
    with pytest.raises(KeyError, match="count"):
        exchange[COUNT]
    exchange[COUNT] = 1
    exchange[OTHER_COUNT] = 2
    exchange[COUNT] = 3
    assert (exchange[COUNT], exchange[OTHER_COUNT]) == (3, 2)
    assert COUNT in exchange
    assert exchange.get(COUNT, "none") == 3
    assert COUNT not in Exchange()
    assert repr(COUNT) == "Key('count')"
    assert_type(exchange[COUNT], int)
    assert_type(exchange.get(COUNT), int | None)
    assert_type(exchange.get(COUNT, "none"), int | str)


def test_the_end_is_told_once_with_final_values() -> None:
    exchange = Exchange(method="POST", target="/v1/x")
    seen: list[tuple[Ended, str]] = []
    exchange.on_end(lambda ended: seen.append((ended, exchange[MODEL])))
    exchange.on_end(lambda ended: seen.append((ended, "second")))
    exchange[MODEL] = "set after on_end"
    exchange.received, exchange.sent, exchange.upstream = 10, 20, 0.25
    exchange.started -= 2.0
    assert exchange.end(status=200, error="cut") == []
    assert exchange.end(status=500, error=None) == []
    (ended, model), (again, second) = seen
    assert (model, second) == ("set after on_end", "second")
    assert ended == again
    assert (ended.status, ended.received, ended.sent, ended.upstream, ended.error) == (200, 10, 20, 0.25, "cut")
    assert 2.0 <= ended.total < 60.0


def test_a_callback_that_raises_costs_the_others_nothing() -> None:
    exchange = Exchange()
    seen: list[str] = []
    first, second = ValueError("first"), KeyError("second")

    def fail(error: Exception) -> Callable[[Ended], None]:
        def callback(_: Ended) -> None:
            raise error

        return callback

    exchange.on_end(fail(first))
    exchange.on_end(lambda _: seen.append("between"))
    exchange.on_end(fail(second))
    exchange.on_end(lambda _: seen.append("last"))
    assert exchange.end(status=200, error=None) == [first, second]
    assert seen == ["between", "last"]


async def test_memory_is_given_back_at_the_end_whatever_a_callback_does() -> None:
    memory = Memory(100, patience=PATIENT)
    exchange = Exchange(memory=memory.lease())
    await exchange.memory.take(100)
    [(waiter, task)] = await queued(memory, 40)
    used: list[int] = []

    def fail(_: Ended) -> None:
        used.append(exchange.memory.held)
        raise RuntimeError("a plugin's mistake")

    exchange.on_end(fail)
    assert len(exchange.end(status=200, error=None)) == 1
    await task
    assert used == [0]
    assert (waiter.held, memory.used) == (40, 40)


async def test_work_for_later_is_handed_to_who_waits_for_it() -> None:
    done = asyncio.Event()

    async def work() -> None:
        done.set()

    handed: list[Coroutine[Any, Any, object]] = []
    Exchange(spawn=handed.append).later(work())
    assert not done.is_set()
    await handed[0]
    assert done.is_set()
    done.clear()
    Exchange().later(work())
    async with asyncio.timeout(5):
        await done.wait()


# --- Request ---


def request(body: Body, *headers: tuple[str, str], target: str = "/", memory: Lease | None = None) -> Request:
    exchange = Exchange(memory=memory or plenty())
    return Request(exchange=exchange, method="POST", target=target, headers=CIMultiDict(headers), body=body)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/v1/a", "/v1/a", ""),
        ("/v1?", "/v1", ""),
        ("/v1/a%2Fb?x=%2F&y=+%20", "/v1/a%2Fb", "x=%2F&y=+%20"),
        ("/a?b?c=d", "/a", "b?c=d"),
        ("//two//?=&&=", "//two//", "=&&="),
        ("/a/../b;p=1/./%zz?%", "/a/../b;p=1/./%zz", "%"),
    ],
)
def test_path_and_query_are_the_targets_own_bytes(target: str, path: str, query: str) -> None:
    made = request(Body(), target=target)
    assert (made.target, made.path, made.query) == (target, path, query)


async def test_buffered_keeps_all_but_the_body_and_that_byte_for_byte() -> None:
    packed = gzipped(TEXT)
    streamed = request(Source(packed).body(), ("Content-Encoding", "gzip"), ("X", "1"), ("X", "2"), target="/a?b")
    held = await streamed.buffered(len(packed))
    assert bytes(held.body.contiguous()) == packed
    assert held.exchange is streamed.exchange
    assert (held.method, held.target, held.origin) == ("POST", "/a?b", None)
    assert list(held.headers.items()) == list(streamed.headers.items())
    assert held.exchange.memory.held == len(packed)
    assert await held.buffered(len(packed)) is held
    assert held.exchange.memory.held == len(packed)


@pytest.mark.parametrize("in_hand", [False, True])
async def test_buffered_over_its_limit_is_too_large(in_hand: bool) -> None:
    body = Body(b"abc") if in_hand else Source(b"abc").body()
    with pytest.raises(TooLarge):
        await request(body).buffered(2)


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ([], TEXT),
        ([("content-encoding", "gzip")], gzipped(TEXT)),
        ([("Content-Encoding", "deflate, gzip")], gzipped(zlibbed(TEXT))),
        # RFC 9110 5.2: several lines are one list.
        ([("Content-Encoding", "deflate"), ("Content-Encoding", "gzip")], gzipped(zlibbed(TEXT))),
    ],
    ids=["none", "one", "two in a line", "two lines"],
)
async def test_decoded_undoes_what_the_headers_say(headers: list[tuple[str, str]], sent: bytes) -> None:
    held = await request(Source(sent).body(), *headers).buffered(1 << 20)
    for _ in range(2):
        assert bytes(await held.decoded(1 << 20)) == TEXT
    assert bytes(held.body.contiguous()) == sent  # what goes on is what came


async def test_decoded_holds_its_limit_after_decompression() -> None:
    held = await request(Source(gzipped(TEXT)).body(), ("Content-Encoding", "gzip")).buffered(1 << 20)
    with pytest.raises(TooLarge):
        await held.decoded(len(TEXT) - 1)


# --- Response ---


async def test_a_json_answer() -> None:
    made = Response.json({"a": [1, "\u00e9"]}, status=201, headers={"X-One": "1"})
    assert made.status == 201
    assert dict(made.headers) == {"Content-Type": "application/json", "X-One": "1"}
    assert b"".join(await collected(made.body)) == '{"a":[1,"é"]}'.encode()
    assert made.body.size == 14


@pytest.mark.parametrize("name", ["Content-Type", "content-type"])
def test_a_json_answer_has_one_content_type(name: str) -> None:
    made = Response.json({}, headers={name: "application/problem+json"})
    assert made.headers.getall("Content-Type") == ["application/problem+json"]


def test_answers_do_not_share_headers_or_bodies() -> None:
    first, second = Response(status=200), Response(status=200)
    assert first.body.size == 0
    assert isinstance(first.headers, CIMultiDict)
    first.headers["X"] = "1"
    assert "X" not in second.headers


async def test_what_background_work_takes_after_the_end_is_given_back() -> None:
    memory = Memory(100)
    exchange = Exchange(memory=memory.lease())
    go = asyncio.Event()

    async def work() -> None:
        await go.wait()
        await exchange.memory.take(60)

    tasks: list[asyncio.Future[object]] = []
    exchange.spawn = lambda coroutine: tasks.append(asyncio.ensure_future(coroutine))
    exchange.later(work())
    exchange.end(status=200, error=None)
    go.set()
    await tasks[0]
    assert memory.used == 0
