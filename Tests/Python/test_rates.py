"""What a client measures of itself, and how it is told to a server."""

from __future__ import annotations

import struct
import threading

import pytest
from fake_server import FakeServer, Peer
from framing import descriptor, xxh3

from kdn import Client, Get, Key, MissCause
from kdn.bodies import Adaptation
from kdn.decoders import Backlog
from kdn.rates import ARRIVAL_BYTES_MIN, Rates

MEBIBYTE = 1 << 20
ADAPT = 4


def test_what_was_not_measured_is_unknown() -> None:
    assert Rates().adaptation() == Adaptation(0, 0, 0, 0)


def test_rates_go_in_the_protocols_units() -> None:
    rates = Rates()
    rates.note_arrival(100 * MEBIBYTE, 0.5)
    rates.note_decoding(2, 300_000_000, 0.1)
    rates.note_decoding(4, 300_000_000, 1.0)
    rates.note_prefill(5000, 0.5)
    assert rates.adaptation() == Adaptation(200 * MEBIBYTE, 3000, 300, 10_000)


def test_hints_go_before_what_was_measured() -> None:
    rates = Rates()
    rates.note_arrival(100 * MEBIBYTE, 0.5)
    rates.note_prefill(5000, 0.5)
    assert rates.adaptation(125e6, 70) == Adaptation(125_000_000, 0, 0, 70)


def test_what_is_known_and_slow_is_not_unknown() -> None:
    rates = Rates()
    rates.note_decoding(1, 600_000, 1.0)
    assert rates.adaptation(bandwidth=0.1).bandwidth == 1
    assert rates.adaptation().decode_rate == 1


def test_newer_measurements_count_more_and_none_alone() -> None:
    rates = Rates()
    for seconds in (1.0, 0.1):
        rates.note_prefill(1000, seconds)
    assert 1000 < rates.prefill < 10_000
    for _ in range(40):
        rates.note_prefill(1000, 0.1)
    assert rates.prefill == pytest.approx(10_000, rel=0.01)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_clock_that_stood_still_measures_nothing(seconds: float) -> None:
    rates = Rates()
    rates.note_arrival(100 * MEBIBYTE, seconds)
    rates.note_decoding(1, 100 * MEBIBYTE, seconds)
    rates.note_prefill(1000, seconds)
    assert rates.adaptation() == Adaptation()


def test_short_answers_and_prompts_measure_nothing() -> None:
    rates = Rates()
    rates.note_arrival(ARRIVAL_BYTES_MIN - 1, 0.001)
    rates.note_decoding(1, 1000, 0.001)
    rates.note_prefill(3, 0.001)
    assert rates.adaptation() == Adaptation()


def test_threads_that_decode_at_once_count_together() -> None:
    rates = Rates()
    rates.decoding_begins(2, 10.0)
    rates.decoding_begins(3, 10.5)
    rates.decoding_ends(2, 11.0, 100_000)
    rates.decoding_ends(3, 12.0, 200_000)
    # Nothing is decoded while bytes are on their way.
    rates.decoding_begins(2, 50.0)
    rates.decoding_ends(2, 52.0, 7_700_000)
    assert (rates.decoding, rates.transforming) == (2_000_000, 0)
    rates.decoding_begins(4, 60.0)
    rates.decoding_ends(4, 61.0, 1_000_000)
    assert rates.transforming == 1_000_000


def test_answers_that_overlap_share_the_link_whose_speed_is_measured() -> None:
    rates = Rates()
    rates.arrival_begins(1.0)
    rates.arrival_begins(1.5)
    rates.arrival_ends(MEBIBYTE, 2.0, True)
    assert rates.arrival == 0
    rates.arrival_ends(3 * MEBIBYTE, 3.0, True)
    assert rates.arrival == 2 * MEBIBYTE


def test_answers_that_overlap_for_long_are_measured_on_the_way() -> None:
    rates = Rates()
    rates.arrival_begins(0.0)
    for second in (1.0, 2.0, 3.0):
        rates.arrival_begins(second - 0.5)
        rates.arrival_ends(16 * MEBIBYTE, second, True)
    assert rates.arrival == 16 * MEBIBYTE


def test_an_answer_that_is_cut_off_measures_nothing_and_spoils_no_later_one() -> None:
    rates = Rates()
    rates.arrival_begins(0.0)
    rates.arrival_begins(0.0)
    rates.arrival_ends(MEBIBYTE, 100.0, False)
    assert rates.arrival == 0
    rates.arrival_ends(MEBIBYTE, 101.0, True)
    assert rates.arrival == 0
    rates.arrival_begins(200.0)
    rates.arrival_ends(MEBIBYTE, 201.0, True)
    assert rates.arrival == MEBIBYTE


def test_a_deadline_is_told_with_the_rates_and_arrivals_are_measured() -> None:
    data = bytes(2 * MEBIBYTE)
    asked: list[tuple[int, int, bytes]] = []

    def script(peer: Peer) -> None:
        peer.hello(frame=4 * MEBIBYTE)
        while True:
            request = peer.expect("GET")
            flags = struct.unpack_from("<I", request.body, 4)[0]
            asked.append((flags, request.deadline_ms, request.body[16 + 2 * 72 :]))
            rows = descriptor(0, 0, 0, len(data), len(data), xxh3(data), xxh3(data))
            rows += descriptor(1, 10, 0, 0, 0, 0, 0)
            peer.reply(request, struct.pack("<II", 2, 0) + rows, data)

    items = [Get(Key.opaque(b"a")), Get(Key.opaque(b"b"))]
    with FakeServer(script) as server, Client(server.address, link="tcp") as client:
        client.get_into(items)
        assert client.rates.arrival > 0
        client.rates.arrival, client.rates.prefill = 5e6, 700.0
        client.get_into(items, deadline=2.0)
        found = client.get_into(items, deadline=2.0, bandwidth=3e6, prefill_rate=9.0)
        assert client.counters.misses[MissCause.RECOMPUTE] == 3
    assert [row.cause for row in found] == [MissCause.NONE, MissCause.RECOMPUTE]
    (plain, _, nothing), (first, first_ms, told), (_, _, hinted) = asked
    assert (plain & ADAPT, nothing, first & ADAPT) == (0, b"", ADAPT)
    assert 0 < first_ms <= 2000
    # The second answer's arrival was averaged in before the third question.
    assert struct.unpack("<QIIII", told) == (5_000_000, 0, 0, 700, 0)
    assert struct.unpack("<QIIII", hinted) == (3_000_000, 0, 0, 9, 0)


def test_without_a_limit_of_its_own_a_call_outlasts_its_deadline() -> None:
    data = b"late, and good"

    def script(peer: Peer) -> None:
        peer.hello()
        request = peer.expect("GET")
        # Longer than the whole deadline; the answer is as good as before.
        threading.Event().wait(request.deadline_ms / 1000 + 0.05)
        peer.reply_get(request, [data])

    with FakeServer(script) as server, Client(server.address, link="tcp") as client:
        (found,) = client.get_into([Get(Key.opaque(b"a"))], deadline=0.05)
    assert found.hit and found.data == data


def test_who_receives_waits_for_decoders_that_are_behind_and_no_longer_than_its_time() -> None:
    backlog = Backlog(bytes_max=10)
    backlog.add(10)
    backlog.wait(deadline=float("inf"))
    backlog.add(1)
    backlog.wait(deadline=0.0)
    passed = threading.Event()

    def receive() -> None:
        backlog.wait(deadline=float("inf"))
        passed.set()

    waiting = threading.Thread(target=receive)
    waiting.start()
    assert not passed.is_set()
    backlog.remove(1)
    assert passed.wait(30)
    waiting.join()
