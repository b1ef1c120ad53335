"""llama.cpp's server behind the proxy: states cross processes through a real daemon."""

from __future__ import annotations

import json
import pathlib
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from llama_parts import Llama, Proxy

import kdn
from kdn.engines.llamacpp import LlamaServer, SlotCache, StateSettings
from kdn.engines.llamacpp.records import Manifest, PrefixEntry, manifest_key, piece_key, prefix_key
from kdn.keys import chain_root, chunk_hashes

CHARACTERS = 2600  # about 550 tokens, two whole chunks
ANSWER = {"n_predict": 12}


@pytest.fixture(scope="module")
def gguf(material: pathlib.Path) -> pathlib.Path:
    return material / "smollm2.gguf"


@pytest.fixture(scope="module")
def texts(material: pathlib.Path) -> list[str]:
    text = (material / "lcet10.txt").read_text("utf-8", "replace")[4000:]
    return [text[i * CHARACTERS : (i + 1) * CHARACTERS] for i in range(4)]


@pytest.fixture(scope="module")
def stored(kdnd: Any, gguf: pathlib.Path, texts: list[str], tmp_path_factory: Any) -> list[Any]:
    """What a server answered that then was killed, with its slots stored by its proxy."""
    llama = Llama(gguf, tmp_path_factory.mktemp("first"))
    proxy = Proxy(llama, kdnd.tcp)
    answers = []
    for text in texts[:2]:
        answer, restored = proxy.complete(prompt=text, **ANSWER)
        assert restored == 0
        assert answer["timings"]["cache_n"] == 0
        assert proxy.saved()["saves"] == len(answers) + 1
        # What a restored slot must repeat is what this slot says when it computes one token:
        # a whole prompt computed at once rounds differently, and greedy text may then differ.
        answers.append(proxy.complete(prompt=text, **ANSWER)[0])
        assert answers[-1]["timings"]["prompt_n"] == 1
    report = proxy.saved()
    assert (report["saves"], report.get("saves_failed", 0)) == (2, 0), report
    assert report["tokens_saved"] == sum(a["tokens_cached"] for a in answers)
    assert not list(llama.slots.iterdir())
    llama.end()
    assert proxy.end(signal.SIGTERM) == 0
    return answers


@pytest.fixture(scope="module")
def llama(gguf: pathlib.Path, tmp_path_factory: Any) -> Iterator[Llama]:
    """A server that has computed nothing yet when the first test starts."""
    server = Llama(gguf, tmp_path_factory.mktemp("second"))
    yield server
    server.end()


@pytest.fixture
def proxy(llama: Llama, kdnd: Any) -> Iterator[Proxy]:
    made = Proxy(llama, kdnd.tcp)
    yield made
    made.end(signal.SIGTERM)


def test_another_process_restores_the_state_and_continues_as_the_first(stored, proxy, texts):
    answer, restored = proxy.complete(prompt=texts[0], **ANSWER)
    prompt = stored[0]["tokens_evaluated"]
    assert answer["content"] == stored[0]["content"]
    assert restored == stored[0]["tokens_cached"]
    # The last token is always computed: its logits are not in the state.
    assert answer["timings"]["cache_n"] == prompt - 1
    assert answer["timings"]["prompt_n"] == 1
    report = proxy.saved()
    assert (report["restores"], report["engine_computed"]) == (1, 1)
    assert report.get("saves", 0) == 0


def test_a_longer_prompt_uses_the_stored_prefix_in_a_streamed_chat_too(stored, proxy, texts):
    body = {"prompt": texts[1] + texts[3][:600], "temperature": 0, "n_predict": 4, "stream": True}
    answer = requests.post(proxy.url + "/completion", json=body, stream=True, timeout=120)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert int(answer.headers["X-KDN-Restored-Tokens"]) == stored[1]["tokens_cached"]
    events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith(b"data: {")]
    timings = events[-1]["timings"]
    assert len(events) >= 4
    # The tokens at the seam of the two texts may be others than those at the first one's end.
    assert stored[1]["tokens_evaluated"] - 4 <= timings["cache_n"] < stored[1]["tokens_cached"]
    chat = {"messages": [{"role": "user", "content": texts[2]}], "max_tokens": 3}
    first, restored = proxy.complete("/v1/chat/completions", **chat)
    assert restored == 0
    report = proxy.saved()
    assert report["tokens_saved"] >= first["usage"]["prompt_tokens"]
    again, _ = proxy.complete("/v1/chat/completions", **chat)
    assert again["timings"]["prompt_n"] == 1


def test_the_helper_saves_and_restores_a_slot_without_a_proxy(kdnd, llama, texts):
    with kdn.Client(kdnd.tcp) as client:
        settings = StateSettings(salt=b"helper", piece_bytes=1 << 20)
        cache = SlotCache(client, LlamaServer(llama.url), llama.slots, settings)
        cache.identify()
        body = {"prompt": texts[3], "temperature": 0, "id_slot": 0, "cache_prompt": True, **ANSWER}
        requests.post(llama.url + "/completion", json=body, timeout=120)
        first = requests.post(llama.url + "/completion", json=body, timeout=120).json()
        saved = cache.save_slot(0)
        assert (saved.error, saved.tokens) == ("", first["tokens_cached"])
        assert saved.bytes_sent > 10 * (1 << 20)
        tokens = cache.server.tokenize(texts[3], 10)
        cache.server.erase_slot(1)
        restored = cache.restore_slot(1, tokens)
        assert (restored.cause, len(restored.tokens)) == ("", first["tokens_cached"])
        again = requests.post(llama.url + "/completion", json={**body, "id_slot": 1}, timeout=120)
        assert again.json()["content"] == first["content"]
        assert again.json()["timings"]["prompt_n"] == 1


def test_a_damaged_state_is_a_miss_and_is_stored_anew(kdnd, llama, texts):
    with kdn.Client(kdnd.tcp) as client:
        settings = StateSettings(salt=b"damaged")
        cache = SlotCache(client, LlamaServer(llama.url), llama.slots, settings)
        name = cache.identify().name
        tokens = cache.server.tokenize(texts[3], 10)
        body = {"prompt": texts[3], "n_predict": 1, "id_slot": 0}
        requests.post(llama.url + "/completion", json=body, timeout=120)
        assert cache.save_slot(0).error == ""
        damage_first_piece(client, name, settings, tokens)
        missed = cache.restore_slot(1, tokens)
        assert (len(missed.tokens), missed.covered) == (0, 0)
        assert "damaged" in missed.cause
        assert cache.save_slot(0).bytes_sent > 0
        assert len(cache.restore_slot(1, tokens).tokens) >= len(tokens)
    assert not list(llama.slots.iterdir())


def damage_first_piece(client: Any, name: str, settings: StateSettings, tokens: Any) -> None:
    """Replaces one byte in the middle of a stored state, behind the daemon's own checksum."""
    root = chain_root(name, settings.salt)
    entry = PrefixEntry.decode(client.get(prefix_key(chunk_hashes(root, tokens)[-1])))
    manifest = Manifest.decode(client.get(manifest_key(entry.state)))
    key = piece_key(entry.state, manifest.nonce, 0)
    data = bytearray(client.get(key))
    data[len(data) // 2] ^= 1
    client.purge(keys=[key])
    client.put(key, data)


@pytest.mark.parametrize("what", ["weights", "cache types", "variant"])
def test_a_server_that_computes_something_else_restores_nothing(
    what, stored, kdnd, gguf, texts, tmp_path
):
    model, cache_type, options = gguf, "f16", []
    if what == "weights":
        model = tmp_path / "other.gguf"
        data = bytearray(gguf.read_bytes())
        data[-1000] ^= 1
        model.write_bytes(data)
    elif what == "cache types":
        cache_type = "q8_0"
    else:
        options = ["--variant", "rope-freq-scale 0.5"]
    llama = Llama(model, tmp_path / "slots", cache_type)
    try:
        proxy = Proxy(llama, kdnd.tcp, *options)
        answer, restored = proxy.complete(prompt=texts[0], n_predict=1)
        assert restored == 0
        assert answer["timings"]["prompt_n"] == stored[0]["tokens_evaluated"]
        assert proxy.status()["causes"] == {"restore: not stored": 1}
        proxy.end()
    finally:
        llama.end()


def test_without_a_daemon_requests_pass_and_nothing_is_left_behind(own_kdnd, llama, texts):
    proxy = Proxy(llama, own_kdnd.tcp)
    try:
        own_kdnd.process.kill()
        own_kdnd.process.wait()
        answer, restored = proxy.complete(prompt=texts[2], **ANSWER)
        assert restored == 0
        assert answer["tokens_predicted"] > 0
        report = proxy.saved()
        assert report["requests"] == 1
        assert any("ConnectionLost" in cause for cause in report["causes"])
    finally:
        proxy.end(signal.SIGTERM)
    assert not list(llama.slots.iterdir())
