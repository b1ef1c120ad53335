"""The proxy in front of a fake llama.cpp server, with a real daemon behind it."""

from __future__ import annotations

import http.client
import json
import pathlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import xxhash
from fake_llama import FakeLlama, send, state_of, tokens_of

import kdn
from kdn.engines.llamacpp import LlamaServer, ProxySettings, SlotCache, StateSettings
from kdn.engines.llamacpp.proxy import Proxy
from kdn.engines.llamacpp.records import Manifest, manifest_key, piece_key
from kdn.engines.llamacpp.service import Service

SECONDS = 20.0
TEXT = " ".join(f"word{i}" for i in range(300))


class Running:
    """A proxy with its fake server, in this process."""

    def __init__(self, client: Any, folder: pathlib.Path, **options: Any) -> None:
        settings = options.pop("settings", StateSettings(piece_bytes=64 << 10))
        self.limits = options.pop("limits", ProxySettings(slot_wait=SECONDS))
        self.llama = FakeLlama(folder, options.pop("slots", 2))
        for name, value in options.items():
            setattr(self.llama, name, value)
        self.cache = SlotCache(client, LlamaServer(self.llama.url), folder, settings)
        self.service = Service(self.cache, self.limits)
        self.proxy = Proxy(("127.0.0.1", 0), self.service)
        self.address = self.proxy.server_address
        threading.Thread(target=self.proxy.serve_forever, args=(0.01,), daemon=True).start()

    def ready(self) -> Running:
        self.cache.identify()
        self.service.start()
        self.llama.asked.clear()
        return self

    def close(self) -> None:
        self.proxy.shutdown()
        self.proxy.server_close()
        self.service.close()
        self.llama.close()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self.address, timeout=SECONDS)

    def ask(self, path: str, body: Any, method: str = "POST") -> tuple[int, Any, int]:
        connection = self.connect()
        connection.request(method, path, json.dumps(body))
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        return answer.status, content, int(answer.getheader("X-KDN-Restored-Tokens", -1))

    def complete(self, text: Any = TEXT, **more: Any) -> tuple[Any, int]:
        status, content, restored = self.ask("/completion", {"prompt": text, **more})
        assert status == 200
        return content, restored

    def saved(self) -> dict[str, Any]:
        assert self.service.wait_saved(SECONDS)
        return self.service.report()


@pytest.fixture
def client(kdnd: Any) -> Iterator[Any]:
    with kdn.Client(kdnd.tcp) as client:
        client.purge(namespace=True)
        yield client


@pytest.fixture
def running(client: Any, tmp_path: pathlib.Path) -> Iterator[Any]:
    """Makes proxies; ends them."""
    made: list[Running] = []

    def make(**options: Any) -> Running:
        made.append(Running(client, tmp_path / f"slots{len(made)}", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
        assert not list(one.llama.folder.iterdir())


def test_a_state_in_many_pieces_crosses_from_one_server_to_another(running):
    first = running().ready()
    assert first.complete()[1] == 0
    report = first.saved()
    assert (report["saves"], report["tokens_saved"]) == (1, 301)
    assert report["bytes_saved"] > 4 * (64 << 10)
    second = running().ready()
    answer, restored = second.complete()
    assert (restored, answer["timings"]["cache_n"]) == (301, 299)
    answer, restored = running().ready().complete(" ".join(TEXT.split()[:280]) + " other" * 40)
    assert (restored, answer["timings"]["cache_n"]) == (301, 280)


def test_pieces_of_a_stream_pass_as_they_come(running):
    one = running().ready()
    one.llama.gate.clear()
    connection = one.connect()
    connection.request("POST", "/completion", json.dumps({"prompt": TEXT, "stream": True}))
    answer = connection.getresponse()
    assert b"early" in answer.readline()  # the server sends the rest only after this
    one.llama.gate.set()
    assert b"timings" in answer.read()
    connection.close()
    assert one.saved()["saves"] == 1


def test_a_client_that_leaves_ends_the_computation(running):
    one = running(slots=1).ready()
    one.llama.gate.clear()
    connection = one.connect()
    connection.request("POST", "/completion", json.dumps({"prompt": TEXT}))
    assert one.llama.reached.wait(SECONDS)
    connection.close()
    assert one.llama.client_left.wait(SECONDS)
    one.llama.gate.set()
    assert one.complete()[0]["timings"]["prompt_n"] == 300  # the only slot is free again
    assert one.saved()["saves"] == 1


def test_when_no_slot_becomes_free_a_request_passes_as_it_is(running):
    one = running(slots=1, limits=ProxySettings(slot_wait=0.01)).ready()
    one.llama.gate.clear()
    waiting = threading.Thread(target=one.complete, args=(TEXT,), kwargs={"stream": False})
    connection = one.connect()
    connection.request("POST", "/completion", json.dumps({"prompt": TEXT, "stream": True}))
    assert b"early" in connection.getresponse().readline()
    one.llama.gate.set()
    one.service._pool[1].borrow([], 1, SECONDS)
    waiting.start()
    waiting.join(SECONDS)
    assert "id_slot" not in one.llama.bodies("/completion")[-1]
    connection.close()


def test_a_pinned_request_that_is_refused_is_sent_again_as_it_was(running, monkeypatch):
    one = running().ready()
    complete = one.llama.answer_post

    def refuse_pinned(handler, body):
        if "id_slot" in body:
            send(handler, 400, {"error": "no such slot"})
        else:
            complete(handler, body)

    monkeypatch.setattr(one.llama, "answer_post", refuse_pinned)
    one.llama.refuse = {"/slots/0?action=restore"}
    assert one.complete()[1] == -1
    sent = one.llama.bodies("/completion")
    assert [body.get("id_slot") for body in sent] == [0, None]
    assert sent[1] == {"prompt": TEXT}


def test_a_state_that_the_server_refuses_is_fetched_only_once(running):
    first = running().ready()
    first.complete()
    first.saved()
    second = running(slots=1).ready()
    second.llama.refuse = {"/slots/0?action=restore"}
    for _ in range(2):
        answer, restored = second.complete(" ".join(TEXT.split()[:299]) + " end")
        assert restored == 0
        second.saved()
        second.llama.slots[0] = []
        second.service._pool[1]._slots[0].tokens = []
    assert len(second.llama.bodies("/slots/0?action=restore")) == 1
    assert "restore: refused by the server before" in second.saved()["causes"]


def remove_piece(client: Any, state: bytes, manifest: Manifest) -> None:
    client.purge(keys=[piece_key(state, manifest.nonce, 2)])


def flip_bit(client: Any, state: bytes, manifest: Manifest) -> None:
    key = piece_key(state, manifest.nonce, 2)
    data = bytearray(client.get(key))
    data[500] ^= 4
    client.purge(keys=[key])
    client.put(key, data)


def swap_state(client: Any, state: bytes, manifest: Manifest) -> None:
    """Puts a whole and consistent state of other tokens in the place of this one."""
    data = state_of([*range(300), 77])
    keys = [piece_key(state, manifest.nonce, i) for i in range(len(manifest.pieces))]
    client.purge(keys=[*keys, manifest_key(state)])
    client.put(keys[0], data)
    pieces = ((len(data), xxhash.xxh3_64_intdigest(data)),)
    client.put(manifest_key(state), Manifest(manifest.nonce, 301, pieces).encode())


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (remove_piece, "restore: doubt: piece 2 is missing: purged"),
        (flip_bit, "restore: doubt: piece 2 is damaged"),
        (swap_state, "restore: doubt: it is of other tokens"),
    ],
)
def test_a_state_that_is_not_whole_is_a_miss_and_is_stored_anew(running, client, damage, cause):
    first = running().ready()
    first.complete()
    first.saved()
    found = first.cache.identity.store.find(tokens_of(TEXT), 0, 4096, SECONDS)
    state = found.worthy[0].entry.state
    damage(client, state, Manifest.decode(client.get(manifest_key(state))))
    second = running().ready()
    answer, restored = second.complete()
    assert (restored, answer["timings"]["cache_n"]) == (0, 0)
    report = second.saved()
    assert report["causes"] == {cause: 1}
    assert report["saves"] == 1
    assert running().ready().complete()[1] == 301


def test_a_slot_that_holds_other_tokens_is_not_stored(running, monkeypatch):
    one = running().ready()
    act = one.llama._act

    def overwrite_before(handler, slot, query, body):
        one.llama.slots[slot] = list(range(301))
        act(handler, slot, query, body)

    monkeypatch.setattr(one.llama, "_act", overwrite_before)
    one.complete()
    report = one.saved()
    assert "saves" not in report
    assert "save: the slot holds other tokens than prompt and answer" in report["causes"]
    assert running().ready().complete(list(range(301)))[1] == 0


def test_a_restarted_server_is_looked_at_again_before_its_slots_are_used(running):
    one = running().ready()
    one.complete()
    one.saved()
    one.llama.marker = "second"
    one.llama.slots = [[], []]
    assert one.complete()[1] == -1  # passed as it was
    assert one.service.wait_ready(SECONDS)
    assert one.complete()[1] == 301
    assert one.service.report()["servers_lost"] == 1


@pytest.mark.parametrize("trouble", ["adapters", "another folder", "no slots"])
def test_a_server_that_cannot_be_kept_safely_is_only_passed_to(running, trouble, tmp_path):
    one = running()
    if trouble == "adapters":
        one.llama.adapters = [{"id": 0, "path": "a.gguf", "scale": 0.0}]
    elif trouble == "another folder":
        one.llama.folder = tmp_path
    else:
        one.llama.refuse = {"/slots/0?action=save"}
    with pytest.raises(kdn.engines.llamacpp.UnsupportedServer):
        one.cache.identify()
    assert one.complete()[1] == -1
    assert one.service.report()["ready"] is False
    one.llama.folder = one.cache._dir
    for path in tmp_path.glob("kdn-*.slot"):
        path.unlink()
    one.service.start()


def test_a_server_that_is_not_there_is_a_502(running):
    one = running()
    one.cache.server.port = closed_port()
    status, content, _ = one.ask("/completion", {"prompt": TEXT})
    assert (status, content["error"]["code"]) == (502, 502)
    one.service.start()


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.mark.parametrize("path", ["/slots/0?action=save", "/%73lots/0?action=restore", "//slots/1"])
def test_clients_cannot_reach_the_slots_files(running, path):
    one = running().ready()
    assert one.ask(path, {"filename": "kdn-x.slot"})[0] == 403
    assert one.llama.asked == []


@pytest.mark.parametrize("prompt", [TEXT, list(range(300))])
def test_for_whom_the_server_does_not_answer_no_slot_is_touched(running, prompt):
    one = running().ready()
    one.llama.refuse = {"/tokenize"}
    assert one.complete(prompt)[1] == -1
    assert not [path for path, _ in one.llama.asked if path.startswith("/slots/")]
    assert one.llama.bodies("/completion") == [{"prompt": prompt}]


def test_everything_else_passes(running):
    one = running().ready()
    assert one.ask("/v1/models?x=1", None, "GET")[1] == {"path": "/v1/models?x=1"}
    connection = one.connect()
    for size in (1, 70_000):
        body = json.dumps({"prompt": "a b " * size}).encode()
        pieces = iter([body[:5], body[5:]])
        connection.request("POST", "/embedding", pieces, encode_chunked=True)
        counted = json.loads(connection.getresponse().read())["timings"]
        assert counted["prompt_n"] + counted["cache_n"] == 2 * size
    connection.close()


def test_a_body_over_the_limit_is_streamed_through(running):
    one = running(limits=ProxySettings(body_bytes_max=1000)).ready()
    answer, restored = one.complete()
    assert (answer["timings"]["prompt_n"], restored) == (300, -1)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: +3\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
    ],
)
def test_a_request_whose_end_is_unclear_is_refused(running, head):
    one = running().ready()
    with socket.create_connection(one.address, SECONDS) as sock:
        sock.sendall(b"POST /completion HTTP/1.1\r\nHost: x\r\n" + head + b"\r\nabc")
        assert sock.makefile("rb").readline().startswith(b"HTTP/1.1 400 ")
    assert one.llama.asked == []


def test_more_connections_than_allowed_are_closed(running):
    one = running(limits=ProxySettings(connections_max=1)).ready()
    with socket.create_connection(one.address, SECONDS) as first:
        first.sendall(b"GET /kdn/status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert first.recv(12) == b"HTTP/1.1 200"
        with socket.create_connection(one.address, SECONDS) as second:
            assert second.recv(1) == b""
    assert one.service.report()["causes"] == {"too many connections": 1}
