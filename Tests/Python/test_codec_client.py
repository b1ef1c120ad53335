"""Fidelity: a client that says so gets objects encoded and hands them on decoded, or a miss."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable

import codec_cases as cases
import pytest
from codec_samples import Sample
from fake_server import AsyncFacade, FakeServer, Peer, Request
from framing import OPS, RESPONSE, descriptor, header, xxh3

from kdn import Client, FieldError, Get, Key, MissCause
from kdn.codec import DecodeStream
from kdn.codec.profiles import VARIABLE
from kdn.fidelity import terms_of

Script = Callable[[Peer], None]


@pytest.fixture(autouse=True)
def profile_folder(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))


def key_of(sample: Sample) -> Key:
    assert sample.layout is not None
    return Key.layout(bytes(range(32)), sample.layout.id, sample.the_part)


def answer(peer: Peer, request: Request, samples: list[Sample | None], **wrong: int) -> None:
    """Sends encoded objects; None is a miss. `wrong` changes what the descriptors say."""
    rows, payload = b"", b""
    for sample in samples:
        if sample is None:
            rows += descriptor(1, 1, 0, 0, 0, 0, 0)
            continue
        data = sample.bytes()
        told = {
            "codec": sample.codec,
            "raw": len(sample.decoded),
            "sum": xxh3(sample.raw if sample.raw is not None else sample.decoded),
            "sent": xxh3(data),
            **wrong,
        }
        rows += descriptor(0, 0, told["codec"], told["raw"], len(data), told["sum"], told["sent"])
        payload += data
    peer.reply(request, struct.pack("<II", len(samples), 0) + rows, payload)


def serving(samples: list[Sample | None], asked: list[tuple[int, int]], **wrong: int) -> Script:
    def script(peer: Peer) -> None:
        peer.hello()
        request = peer.expect("GET")
        asked.append(struct.unpack_from("<II", request.body, 4))
        answer(peer, request, samples, **wrong)

    return script


def test_an_encoded_object_comes_decoded() -> None:
    sample = cases.uniform_sample(1, "bf16", 33, rope=cases.rope_of(8), raw_tokens=4)
    asked: list[tuple[int, int]] = []
    with (
        FakeServer(serving([sample, None], asked)) as server,
        Client(server.address, fidelity="balanced", link="tcp") as client,
    ):
        buffer = bytearray(len(sample.decoded) + 7)
        found = client.get_into([Get(key_of(sample), buffer), Get(key_of(sample))])
    assert asked == [(0, terms_of("balanced").accepted)]
    assert found[0].hit and found[0].codec == 2
    assert found[0].nbytes == len(sample.decoded) and found[0].wire_bytes == len(sample.bytes())
    assert found[0].object_checksum == xxh3(sample.decoded)
    assert bytes(buffer[: found[0].nbytes]) == sample.decoded
    assert not found[1].hit and found[1].cause is MissCause.NEVER_STORED


def test_without_a_buffer_the_client_allocates_what_decoding_takes() -> None:
    sample = cases.exact_sample(2, "bf16", 20)
    with (
        FakeServer(serving([sample], [])) as server,
        Client(server.address, fidelity="exact", link="tcp") as client,
    ):
        assert client.get(key_of(sample)) == sample.decoded


def test_exact_is_said_to_the_server_and_accepts_only_lossless_classes() -> None:
    sample = cases.exact_sample(3, "bf16", 20)
    asked: list[tuple[int, int]] = []
    with (
        FakeServer(serving([sample], asked)) as server,
        Client(server.address, fidelity="exact", link="tcp") as client,
    ):
        client.get(key_of(sample))
    assert asked[0][0] == 8
    assert asked[0][1] & 0b111110 == 0b10


def test_without_fidelity_only_raw_bytes_are_accepted() -> None:
    asked: list[tuple[int, int]] = []
    sample = cases.raw_sample()

    def script(peer: Peer) -> None:
        peer.hello()
        request = peer.expect("GET")
        asked.append(struct.unpack_from("<II", request.body, 4))
        peer.reply_get(request, [sample.decoded])

    with FakeServer(script) as server, Client(server.address, link="tcp") as client:
        assert client.get(key_of(sample)) == sample.decoded
    assert asked == [(0, 1)]


def test_coarser_fidelities_accept_all_finer_classes() -> None:
    finer = {"exact": {1}, "high": {1, 2}, "balanced": {1, 2, 3}, "small": {1, 2, 3, 4}}
    for name, numbers in {**finer, "archive": {1, 2, 3, 4, 5}}.items():
        bits = terms_of(name).wanted
        assert {number for number in range(1, 16) if bits >> number & 1} == numbers


def test_a_profile_is_fetched_once_and_kept() -> None:
    sample, profile = cases.transform_sample(4, "bf16", 9, cases.rope_of(16), raw_tokens=1)
    data = cases.profile_bytes_of(sample)
    fetched: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.hello()
        while True:
            request = peer.receive()
            if request.op == "GET":
                answer(peer, request, [sample])
                continue
            assert request.op == "CODEC_PROFILE" and request.body[:4] == b"\1\0\0\0"
            fetched.append(request.body[4:])
            peer.reply_get(request, [data])

    with FakeServer(script) as server:
        for _ in range(2):
            with Client(server.address, fidelity="small", link="tcp") as client:
                assert client.get(key_of(sample)) == sample.decoded
                assert client.get(key_of(sample)) == sample.decoded
    assert fetched == [profile.hash]


def test_a_profile_that_the_server_lacks_is_a_miss_with_that_cause() -> None:
    sample, _ = cases.transform_sample(5, "bf16", 9, None)

    def script(peer: Peer) -> None:
        peer.hello()
        if peer.index:
            peer.reply_get(peer.expect("CODEC_PROFILE"), [None])
        else:
            answer(peer, peer.expect("GET"), [sample])

    with (
        FakeServer(script) as server,
        Client(server.address, fidelity="small", link="tcp", streams=1) as client,
    ):
        (found,) = client.get_into([Get(key_of(sample))])
    assert not found.hit and found.cause is MissCause.UNDECODABLE and found.data is None


def test_a_profile_with_other_bytes_is_a_miss() -> None:
    sample, _ = cases.transform_sample(6, "bf16", 9, None)

    def script(peer: Peer) -> None:
        peer.hello()
        if peer.index:
            peer.reply_get(peer.expect("CODEC_PROFILE"), [b"KDNF and other bytes"])
        else:
            answer(peer, peer.expect("GET"), [sample])

    with (
        FakeServer(script) as server,
        Client(server.address, fidelity="small", link="tcp", streams=1) as client,
    ):
        (found,) = client.get_into([Get(key_of(sample))])
    assert not found.hit and found.cause is MissCause.CORRUPT


@pytest.mark.parametrize("kind", [Client, AsyncFacade])
def test_a_profile_that_does_not_come_in_time_holds_up_no_call_and_no_buffer(kind) -> None:
    sample, _ = cases.transform_sample(6, "bf16", 9, None)
    asked, ended = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.hello()
        while True:
            request = peer.receive()
            if request.op == "GET":
                answer(peer, request, [sample])
                continue
            asked.set()
            assert ended.wait(30)
            peer.reply_get(request, [cases.profile_bytes_of(sample)])

    with (
        FakeServer(script) as server,
        kind(server.address, fidelity="small", link="tcp", timeout=20.0) as client,
    ):
        buffer = bytearray(len(sample.decoded))
        (found,) = client.get_into([Get(key_of(sample), buffer)], timeout=0.5)
        assert asked.is_set()
        assert (found.hit, found.cause) == (False, MissCause.OVER_DEADLINE)
        ended.set()
        assert client.get(key_of(sample)) == sample.decoded
        assert not any(buffer)


@pytest.mark.parametrize("kind", [Client, AsyncFacade])
def test_a_decoder_that_fails_in_a_way_of_its_own_makes_a_miss(kind, monkeypatch) -> None:
    sample = cases.uniform_sample(9, "bf16", 33)

    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("a fault of the decoder's own")

    monkeypatch.setattr(DecodeStream, "finish", broken)
    with (
        FakeServer(serving([sample], [])) as server,
        kind(server.address, fidelity="high", link="tcp") as client,
    ):
        (found,) = client.get_into([Get(key_of(sample))])
    assert (found.hit, found.cause, found.data) == (False, MissCause.CORRUPT, None)


@pytest.mark.parametrize("wrong", [{"sum": 5}, {"sent": 5}, {"raw": 6000}, {"codec": 1}])
def test_what_contradicts_its_descriptor_is_a_miss(wrong: dict[str, int]) -> None:
    sample = cases.uniform_sample(7, "bf16", 33)
    with (
        FakeServer(serving([sample], [], **wrong)) as server,
        Client(server.address, fidelity="high", link="tcp") as client,
    ):
        (found,) = client.get_into([Get(key_of(sample))])
    assert not found.hit and found.cause is MissCause.CORRUPT


def test_an_object_of_another_part_is_a_miss() -> None:
    sample = cases.uniform_sample(8, "bf16", 33)
    other = cases.uniform_sample(8, "bf16", 33, heads=4, dims=10)
    with (
        FakeServer(serving([sample], [])) as server,
        Client(server.address, fidelity="high", link="tcp") as client,
    ):
        (found,) = client.get_into([Get(key_of(other))])
    assert not found.hit and found.cause is MissCause.CORRUPT


def test_a_buffer_too_small_for_the_decoded_object_is_a_miss() -> None:
    sample = cases.uniform_sample(9, "bf16", 33)
    with (
        FakeServer(serving([sample], [])) as server,
        Client(server.address, fidelity="high", link="tcp") as client,
    ):
        (found,) = client.get_into([Get(key_of(sample), bytearray(len(sample.decoded) - 1))])
    assert not found.hit and found.cause is MissCause.BUFFER_TOO_SMALL


def test_a_connection_that_breaks_within_an_object_is_asked_again() -> None:
    sample = cases.uniform_sample(10, "bf16", 33)

    def script(peer: Peer) -> None:
        peer.hello()
        request = peer.expect("GET")
        if peer.index:
            answer(peer, request, [sample])
            return
        data = sample.bytes()
        row = descriptor(0, 0, 2, len(sample.decoded), len(data), xxh3(sample.decoded), xxh3(data))
        body = struct.pack("<II", 1, 0) + row
        head = header(OPS["GET"], RESPONSE, request.id, 0, body, len(data), 0)
        peer.sock.sendall(head + body + data[: len(data) // 2])

    with (
        FakeServer(script) as server,
        Client(server.address, fidelity="high", link="tcp", streams=1) as client,
    ):
        assert client.get(key_of(sample)) == sample.decoded


def test_a_word_that_is_no_fidelity_is_refused() -> None:
    with pytest.raises(FieldError, match="fidelity"):
        Client("127.0.0.1:1", fidelity="best")


def test_rdma_carries_no_encoded_bytes_and_says_so() -> None:
    with pytest.raises(FieldError, match="fidelity"):
        Client("127.0.0.1:1", fidelity="high", link="rdma")
