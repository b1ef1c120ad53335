"""Objects whose blocks are decoded as they arrive, by several threads; no server here."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import codec_cases as cases
import pytest

from kdn import decoding as steps
from kdn.bodies import Descriptor
from kdn.codec.header import read_header
from kdn.codec.stream import DecodeStream
from kdn.decoders import Decoders
from kdn.decoding import Decoding
from kdn.keys import Key
from kdn.rates import Rates
from kdn.results import Get, MissCause

SAMPLE = cases.uniform_sample(1, "bf16", 13, rope=cases.rope_of(8), raw_tokens=2)
DATA = SAMPLE.bytes()
HEADER = read_header(DATA)
WAIT = 60


@pytest.fixture(autouse=True)
def one_block_is_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "STEP_BYTES", 1)


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    made = Decoders(lambda name: None, 2, Rates(), is_waiting=False)
    yield made
    made.close()


def begun(
    decoders: Decoders, room: bytearray, taker: Callable[[memoryview], None] | None = None
) -> Decoding:
    assert HEADER.layout is not None and HEADER.part is not None
    key = Key.layout(bytes(32), HEADER.layout.id, HEADER.part)
    told = Descriptor(
        False, MissCause.NONE, HEADER.raw_bytes, len(DATA), HEADER.raw_checksum, 0, HEADER.codec
    )
    item = Get(key, taker=taker)
    return decoders.start(item, told, memoryview(room), time.monotonic() + WAIT)


def send(decoding: Decoding, count: int) -> None:
    """All bytes up to the first `count`."""
    decoding.view[:count] = DATA[:count]
    decoding.arrived(count)


@contextmanager
def within(monkeypatch: pytest.MonkeyPatch, before: Callable[[range], None]) -> Iterator[None]:
    """Calls `before` with the blocks of each step, in the thread that then decodes them."""
    decode = DecodeStream.decode

    def noted(self: DecodeStream, blocks: range) -> object:
        before(blocks)
        return decode(self, blocks)

    with monkeypatch.context() as patch:
        patch.setattr(DecodeStream, "decode", noted)
        yield


@pytest.mark.parametrize("size", [1, 7, 113, 1000, len(DATA)])
def test_however_an_object_arrives_its_bytes_are_the_same(decoders: Decoders, size: int) -> None:
    room = bytearray(HEADER.raw_bytes)
    decoding = begun(decoders, room)
    for end in range(size, len(DATA) + size, size):
        send(decoding, min(end, len(DATA)))
    assert decoding.outcome(time.monotonic() + WAIT) is MissCause.NONE
    assert bytes(room) == SAMPLE.decoded
    assert decoding.checksum == HEADER.decoded_checksum


def test_two_threads_decode_blocks_of_one_object_at_once(decoders, monkeypatch) -> None:
    both = threading.Barrier(2)
    room = bytearray(HEADER.raw_bytes)
    assert len(HEADER.entries) % 2 == 0
    with within(monkeypatch, lambda blocks: (both.wait(WAIT), None)[1]):
        decoding = begun(decoders, room)
        send(decoding, len(DATA))
        assert decoding.outcome(time.monotonic() + WAIT) is MissCause.NONE
    assert bytes(room) == SAMPLE.decoded


def test_who_gives_up_an_object_waits_for_the_step_that_writes_and_no_other_begins(
    decoders, monkeypatch
) -> None:
    writing, go_on = threading.Event(), threading.Event()
    seen: list[range] = []

    def stop(blocks: range) -> None:
        seen.append(blocks)
        writing.set()
        assert go_on.wait(WAIT)

    with within(monkeypatch, stop):
        decoding = begun(decoders, bytearray(HEADER.raw_bytes))
        send(decoding, HEADER.entries[0].end)
        assert writing.wait(WAIT)
        settling = threading.Thread(target=decoding.settle)
        settling.start()
        while not decoding._cause:
            time.sleep(0)
        send(decoding, len(DATA))
        assert settling.is_alive() and not decoding.future.done()
        go_on.set()
        settling.join(WAIT)
        assert not settling.is_alive()
        assert decoding.future.result(WAIT) is MissCause.OVER_DEADLINE
    assert seen == [range(1)]
    decoders.backlog.wait(time.monotonic())
    assert decoders.backlog._bytes == 0


def test_a_step_that_fails_ends_the_object_and_no_taker_gets_it(decoders, monkeypatch) -> None:
    def fail(blocks: range) -> None:
        if blocks.start == 1:
            raise MemoryError

    taken: list[int] = []
    with within(monkeypatch, fail):
        decoding = begun(decoders, bytearray(), taker=lambda data: taken.append(len(data)))
        send(decoding, len(DATA))
        assert decoding.outcome(time.monotonic() + WAIT) is MissCause.CORRUPT
    assert taken == []


def test_a_client_that_was_closed_decodes_no_more(decoders) -> None:
    decoding = begun(decoders, bytearray(HEADER.raw_bytes))
    decoders.close()
    send(decoding, len(DATA))
    assert decoding.outcome(time.monotonic() + WAIT) is MissCause.OVER_DEADLINE


def test_whatever_happens_to_objects_each_ends_and_nothing_is_left(decoders) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(150):
        rooms = [bytearray(HEADER.raw_bytes) for _ in range(rng.randrange(1, 5))]
        some = [begun(decoders, room) for room in rooms]
        ends = [rng.choice((len(DATA), len(DATA), rng.randrange(len(DATA)))) for _ in some]
        for decoding, end in zip(some, ends):
            for count in sorted(rng.randrange(end + 1) for _ in range(rng.randrange(4))):
                send(decoding, count)
            send(decoding, end)
            if end < len(DATA) or rng.random() < 0.2:
                rng.choice((decoding.abandon, decoding.settle))()
        for decoding, end, room in zip(some, ends, rooms):
            cause = decoding.future.result(WAIT)
            assert cause in (MissCause.NONE, MissCause.OVER_DEADLINE)
            assert cause is MissCause.OVER_DEADLINE or bytes(room) == SAMPLE.decoded
            assert end == len(DATA) or cause is MissCause.OVER_DEADLINE
    assert decoders.backlog._bytes == 0
