"""What a session does with bytes that come in pieces, end early, or are wrong."""

import random
import struct
from dataclasses import replace

import pytest
from conftest import load_vectors
from framing import CAUSES, MORE, RESPONSE, descriptor, error_body, header, xxh3
from hypothesis import given, settings
from hypothesis import strategies as st

from kdn import ConnectionLost, Get, Key, MissCause, ProtocolError, Put, ServerError, bodies
from kdn.buffers import writable_view
from kdn.get_job import GetEntry, GetJob
from kdn.jobs import SimpleJob
from kdn.put_job import PutJob
from kdn.results import GetResult
from kdn.session import Session
from kdn.wire import Limits, Op

FRAMES = {row["name"]: bytes.fromhex(row["hex"]) for row in load_vectors("frames.json")["frames"]}
LIMITS = Limits(
    body_bytes=1 << 16, frame_payload_bytes=1 << 16, object_bytes=1 << 20, keys_per_request=64,
    requests_in_flight=64, credit_bytes=1 << 20,
)
DATA = bytes(range(256)) * 3


def session_of(*jobs):
    session = Session()
    session.limits = LIMITS
    for job in jobs:
        session.add(job)
    while views := session.outgoing(0.0):
        session.sent(sum(map(len, views)))
    return session


def get_job(*buffers, ranges=None, verify=True):
    entries = []
    for index, buffer in enumerate(buffers):
        item = Get(Key.opaque(b"%d" % index), buffer, ranges)
        view = None if buffer is None else writable_view(buffer)
        entries.append(
            GetEntry(item, bodies.encode_get_item(item), view,
                     GetResult(False, MissCause.NEVER_STORED)))
    return GetJob(entries, wait=False, verify=verify, deadline=10.0)


def feed(session, data, step=None):
    """Hands over bytes as a socket would: never more than asked for, nor than `step`."""
    offset = 0
    while offset < len(data):
        for view in session.incoming():
            assert len(view) > 0
            piece = data[offset : offset + min(len(view), step or len(view))]
            view[: len(piece)] = piece
            offset += len(piece)
            session.received(len(piece))
            break


def get_reply(rows, payloads, request_id=1, cut=None):
    """A GET response, over frames of at most `cut` bytes of payload."""
    body = len(rows).to_bytes(4, "little") + bytes(4) + b"".join(descriptor(*r) for r in rows)
    payload = b"".join(payloads)
    cut = cut or len(payload) or 1
    pieces = [payload[i : i + cut] for i in range(0, len(payload), cut)] or [b""]
    frames = []
    for index, piece in enumerate(pieces):
        flags = RESPONSE | (MORE if index + 1 < len(pieces) else 0)
        head = header(5, flags, request_id, 0, body if index == 0 else b"", len(piece), 0)
        frames.append(head + (body if index == 0 else b"") + piece)
    return frames


def hit(data, whole=None, sent_sum=None):
    whole = data if whole is None else whole
    return (0, 0, 0, len(whole), len(data), xxh3(whole),
            xxh3(data) if sent_sum is None else sent_sum)


@pytest.mark.parametrize("step", [1, 2, 7, 63, 64, 65, None])
@pytest.mark.parametrize("cut", [1, 100, None])
def test_a_reply_in_pieces_is_received_whole(step, cut):
    first, second = bytearray(len(DATA)), bytearray(100)
    job = get_job(first, second)
    session = session_of(job)
    frames = get_reply([hit(DATA), hit(DATA[:100])], [DATA, DATA[:100]], cut=cut)
    feed(session, b"".join(frames), step)
    assert job.done and job.error is None and session.idle
    assert [entry.result.hit for entry in job.entries] == [True, True]
    assert first == DATA and second == DATA[:100]


def test_replies_come_out_of_order_and_interleaved():
    big, small = bytearray(len(DATA)), bytearray(5)
    slow, fast = get_job(big), get_job(small)
    asked = SimpleJob(Op.EXISTS, bodies.encode_keys([]),
                      lambda body: bodies.decode_exists(body, 0), 10.0)
    session = session_of(slow, fast, asked)
    pieces = get_reply([hit(DATA)], [DATA], request_id=1, cut=300)
    feed(session, pieces[0], 11)
    feed(session, get_reply([hit(b"small")], [b"small"], request_id=2)[0], 11)
    assert fast.done and not slow.done
    feed(session, pieces[1], 11)
    body = bytes(8)
    feed(session, header(4, RESPONSE, 3, 0, body, 0, 0) + body, 11)
    assert asked.done and not slow.done
    feed(session, pieces[2], 11)
    assert slow.done and big == DATA and small == b"small"


def test_every_truncation_leaves_the_call_unanswered():
    reply = get_reply([hit(DATA)], [DATA], cut=500)
    whole = b"".join(reply)
    for length in range(len(whole)):
        job = get_job(bytearray(len(DATA)))
        session = session_of(job)
        feed(session, whole[:length])
        assert not job.done
        session.fail(ConnectionLost("closed"))
        assert isinstance(job.error, ConnectionLost)
        assert not job.entries[0].result.hit


def test_no_flipped_bit_gives_a_wrong_value():
    data = b"some bytes of a cache"
    whole = b"".join(get_reply([hit(data)], [data], cut=15))
    for index in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[index // 8] ^= 1 << index % 8
        buffer = bytearray(len(data))
        job = get_job(buffer)
        session = session_of(job)
        try:
            feed(session, bytes(flipped))
        except ProtocolError:
            assert not job.entries[0].result.hit
            continue
        result = job.entries[0].result
        assert not result.hit and result.cause is MissCause.CORRUPT
        assert session.idle


@pytest.mark.parametrize("name", ["EXISTS response of 17", "MATCH response, all, leased",
                                  "GOAWAY draining", "error busy"])
def test_a_flipped_bit_in_a_small_answer_is_a_protocol_error(name):
    raw = FRAMES[name]
    for index in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[index // 8] ^= 1 << index % 8
        jobs = [SimpleJob(Op.EXISTS, b"", bytes, 10.0) for _ in range(4)]
        session = session_of(*jobs)
        with pytest.raises(ProtocolError):
            feed(session, bytes(flipped))
        assert not any(job.done for job in jobs)


@given(st.binary(min_size=64, max_size=300))
def test_random_bytes_are_a_protocol_error(data):
    session = session_of(get_job(bytearray(10)))
    with pytest.raises(ProtocolError):
        feed(session, data)


@pytest.mark.parametrize(
    ("rows", "payload", "field"),
    [
        ([(0, 0, 0, 1 << 21, 1 << 21, 0, 0)], b"", "objectBytes"),
        ([(0, 0, 0, 10, 11, 0, 0)], b"", "sentBytes"),
        ([(0, 0, 0, 20, 10, 0, 0)], b"", "sentBytes"),
        ([(0, 0, 0, 0, 0, 0, 0)], b"", "sentBytes"),
        ([(0, 1, 0, 10, 10, 0, 0)], b"", "missCause"),
        ([(1, 0, 0, 0, 0, 0, 0)], b"", "missCause"),
        ([(1, len(CAUSES), 0, 0, 0, 0, 0)], b"", "missCause"),
        ([(2, 0, 0, 0, 0, 0, 0)], b"", "state"),
        ([(0, 0, 1, 10, 10, 0, 0)], b"", "codec"),
        ([(1, 1, 0, 10, 10, 0, 0)], b"", "sentBytes"),
        ([hit(b"x" * 10)], b"x" * 9, "payloadLength"),
        ([hit(b"x" * 10)], b"x" * 11, "payloadLength"),
        ([(1, 1, 0, 0, 0, 0, 0)], b"x", "payloadLength"),
        ([hit(b"x"), hit(b"x")], b"xx", "count"),
        ([], b"", "count"),
    ],
)
def test_descriptors_that_cannot_be_are_protocol_errors(rows, payload, field):
    buffer = bytearray(64)
    session = session_of(get_job(buffer))
    with pytest.raises(ProtocolError) as caught:
        feed(session, b"".join(get_reply(rows, [payload])))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (header(5, RESPONSE, 9, 0, b"", 0, 0), "requestID"),
        (header(5, 0, 1, 0, b"", 0, 0), "flags"),
        (header(5, RESPONSE | 8, 1, 0, b"", 0, 0), "flags"),
        (header(5, RESPONSE, 1, 99, b"", 0, 0), "status"),
        (header(5, RESPONSE, 1, 0, b"", 0, 0, place=1), "place"),
        (header(5, RESPONSE, 1, 0, b"", 0, 0, version=2), "version"),
        (header(5, RESPONSE, 1, 0, b"", 0, 0, magic=b"HTTP"), "magic"),
        (header(5, RESPONSE, 1, 0, b"", 0, 0, body_length=2**32 - 1), "bodyLength"),
        (header(5, RESPONSE, 1, 0, b"", 2**63, 0), "payloadLength"),
        (header(5, RESPONSE, 1, 0, b"", 0, 0, reserved=(50, 1)), "reserved"),
        (header(5, RESPONSE, 1, 0, b"", 0, 0, reserved=(23, 1)), "reserved"),
        (header(5, RESPONSE, 1, 0, b"", 0, 0, header_checksum=1), "headerChecksum"),
        (header(5, RESPONSE, 1, 0, b"", 0, 0, body_checksum=1), "bodyChecksum"),
        (header(4, RESPONSE, 1, 0, bytes(8), 0, 0) + bytes(8), "op"),
        (header(17, RESPONSE, 5, 9, error_body(0, "", 0, 0, ""), 0, 0)
         + error_body(0, "", 0, 0, ""), "requestID"),
    ],
)
def test_frames_that_a_server_may_not_send_are_protocol_errors(frame, field):
    session = session_of(get_job(bytearray(10)))
    with pytest.raises(ProtocolError) as caught:
        feed(session, frame)
    assert caught.value.field == field


@pytest.mark.parametrize("reason", ["whole", "part"])
def test_a_wrong_checksum_is_a_corrupt_miss_and_the_link_goes_on(reason):
    buffer = bytearray(10)
    job = get_job(buffer, ranges=None if reason == "whole" else [(0, 10)])
    later = get_job(bytearray(3))
    session = session_of(job, later)
    bad = (0, 0, 0, 10, 10, 1, 1)
    feed(session, b"".join(get_reply([bad], [b"x" * 10])))
    assert not job.entries[0].result.hit
    assert job.entries[0].result.cause is MissCause.CORRUPT
    feed(session, b"".join(get_reply([hit(b"yes")], [b"yes"], request_id=2)))
    assert later.entries[0].result.hit


def test_an_unverified_get_takes_the_bytes_as_they_come():
    buffer = bytearray(10)
    job = get_job(buffer, verify=False)
    feed(session_of(job), b"".join(get_reply([(0, 0, 0, 10, 10, 1, 0)], [b"x" * 10])))
    assert job.entries[0].result.hit and buffer == b"x" * 10


def test_an_object_larger_than_the_buffer_is_drained_and_missed():
    small, good = bytearray(10), bytearray(len(DATA))
    job = get_job(small, good)
    session = session_of(job)
    feed(session, b"".join(get_reply([hit(DATA * 200), hit(DATA)], [DATA * 200, DATA],
                                     cut=60000)), 40000)
    first, second = (entry.result for entry in job.entries)
    assert not first.hit and first.cause is MissCause.BUFFER_TOO_SMALL
    assert first.object_bytes == len(DATA) * 200 and small == bytes(10)
    assert second.hit and good == DATA


def test_a_withdrawn_get_is_drained_without_touching_the_buffer():
    buffer = bytearray(len(DATA))
    job, later = get_job(buffer), get_job(bytearray(3))
    session = session_of(job, later)
    whole = b"".join(get_reply([hit(DATA)], [DATA]))
    feed(session, whole[:200])
    taken = bytes(buffer)
    session.withdraw(job)
    feed(session, whole[200:])
    assert bytes(buffer) == taken and session.awaits_reply
    feed(session, b"".join(get_reply([hit(b"yes")], [b"yes"], request_id=2)))
    assert later.entries[0].result.hit and session.idle


def next_op(session):
    """Sends one frame, and says which operation it is."""
    views = session.outgoing(0.0)
    if not views:
        return None
    op = Op(bytes(views[0])[5])
    session.sent(sum(map(len, views)))
    return op.name


def put_session(*sizes, frame=100):
    session = Session()
    session.limits = replace(LIMITS, frame_payload_bytes=frame)
    jobs = []
    for index, size in enumerate(sizes):
        data = bytes([index]) * size
        job = PutJob(Put(Key.opaque(b"%d" % index), data), [memoryview(data)], 10.0)
        jobs.append(job)
        session.add(job)
    return session, jobs


def test_a_put_of_what_is_present_stops_sending():
    session, (job,) = put_session(1000)
    assert [next_op(session) for _ in range(3)] == ["PUT_BEGIN", "PUT_DATA", "PUT_DATA"]
    body = struct.pack("<B7xQ", 2, xxh3(bytes(1000)))
    feed(session, header(6, RESPONSE, 1, 0, body, 0, 0) + body)
    assert [next_op(session), next_op(session)] == ["PUT_ABORT", None]
    feed(session, header(9, RESPONSE, 4, 0, b"", 0, 0))
    assert job.done and job.result.state == "present" and session.idle


def test_some_transfers_begin_ahead_of_the_data():
    session, _ = put_session(*[100] * 6)
    ops = [next_op(session) for _ in range(18)]
    assert ops[:5] == ["PUT_BEGIN"] * 4 + ["PUT_DATA"]
    assert sorted(ops) == ["PUT_BEGIN"] * 6 + ["PUT_COMMIT"] * 6 + ["PUT_DATA"] * 6
    assert next_op(session) is None


def test_a_small_request_goes_before_the_rest_of_a_large_store():
    session, _ = put_session(1000)
    assert [next_op(session), next_op(session)] == ["PUT_BEGIN", "PUT_DATA"]
    session.add(SimpleJob(Op.EXISTS, b"", bytes, 10.0))
    assert [next_op(session), next_op(session)] == ["EXISTS", "PUT_DATA"]


def test_no_more_requests_are_in_flight_than_granted():
    session = Session()
    session.limits = replace(LIMITS, requests_in_flight=2)
    for _ in range(5):
        session.add(SimpleJob(Op.EXISTS, b"", bytes, 10.0))
    assert [next_op(session) for _ in range(3)] == ["EXISTS", "EXISTS", None]
    feed(session, header(4, RESPONSE, 2, 0, b"", 0, 0))
    assert [next_op(session), next_op(session)] == ["EXISTS", None]


def test_goaway_while_draining_lets_answers_come():
    job = get_job(bytearray(3))
    session = session_of(job)
    feed(session, FRAMES["GOAWAY draining"])
    refused = get_job(bytearray(3))
    session.add(refused)
    assert isinstance(refused.error, ConnectionLost)
    feed(session, b"".join(get_reply([hit(b"yes")], [b"yes"])))
    assert job.entries[0].result.hit


def test_goaway_for_a_fault_names_it():
    session = session_of(get_job(bytearray(3)))
    with pytest.raises(ServerError) as caught:
        feed(session, FRAMES["GOAWAY bad_request"])
    assert caught.value.field == "magic"
    with pytest.raises(ConnectionLost):
        feed(session_of(), FRAMES["GOAWAY deadline"])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(1, 2000), min_size=1, max_size=12))
def test_any_mix_of_hits_misses_cuts_and_pieces_arrives(seed, sizes):
    dice = random.Random(seed)
    objects = [dice.randbytes(size) for size in sizes]
    present = [dice.random() < 0.7 for _ in sizes]
    allocate = [dice.random() < 0.3 for _ in sizes]
    buffers = [None if own else bytearray(size) for own, size in zip(allocate, sizes)]
    job = get_job(*buffers)
    session = session_of(job)
    rows = [hit(data) if here else (1, 1, 0, 0, 0, 0, 0)
            for data, here in zip(objects, present)]
    payloads = [data for data, here in zip(objects, present) if here]
    stream = b"".join(get_reply(rows, payloads, cut=dice.randint(1, 3000)))
    feed(session, stream, dice.choice([None, 1, 13, 500]))
    assert job.done and session.idle
    for entry, data, here in zip(job.entries, objects, present):
        result = entry.result
        assert result.hit == here
        if here:
            assert bytes(entry.item.buffer or result.data) == data
        else:
            assert result.cause is MissCause.NEVER_STORED and result.data is None
