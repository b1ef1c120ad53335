"""States in a real daemon: which entry leads to which state, and what failures leave behind."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fake_llama import state_of

import kdn
from kdn.engines.llamacpp.records import manifest_key, state_hash
from kdn.engines.llamacpp.settings import StateSettings
from kdn.engines.llamacpp.store import Doubt, StateStore
from kdn.results import PutResult

SECONDS = 20.0
ROOT = kdn.chain_root("model")
SETTINGS = StateSettings(chunk_tokens=16, min_tokens=16, piece_bytes=64 << 10)


@pytest.fixture
def client(kdnd: Any) -> Iterator[Any]:
    with kdn.Client(kdnd.tcp) as client:
        client.purge(namespace=True)
        yield client


@pytest.fixture
def save(client: Any, tmp_path: pathlib.Path) -> Any:
    """Stores the state of some tokens; returns what that did."""

    def save(tokens: list[int], through: Any = client) -> Any:
        path = tmp_path / "state"
        path.write_bytes(state_of(tokens))
        store = StateStore(through, ROOT, SETTINGS)
        return store.save(path, 1000, time.monotonic() + SECONDS)

    return save


def found(client: Any, tokens: list[int]) -> Any:
    return StateStore(client, ROOT, SETTINGS).find(tokens, 0, 4096, SECONDS)


def name(tokens: list[int]) -> bytes:
    return state_hash(ROOT, tokens, 16)


def objects(client: Any) -> int:
    return int(client.stats()["namespace"]["objects"])


def test_every_chunk_of_a_prompt_leads_to_the_state(client, save, tmp_path):
    tokens = list(range(100))
    stored = save(tokens)
    assert (stored.entries, stored.bytes_sent) == (6, len(state_of(tokens)))
    assert objects(client) == 6 + 1 + 2  # entries, manifest, pieces
    candidates = found(client, tokens[:50] + [9] * 50).worthy
    assert [c.shared for c in candidates] == [48, 32]  # for 16 tokens it would be too long
    loaded = tmp_path / "loaded"
    store = StateStore(client, ROOT, SETTINGS)
    assert list(store.load(candidates[0], loaded, time.monotonic() + SECONDS)) == tokens
    assert loaded.read_bytes() == state_of(tokens)
    with pytest.raises(FileExistsError):
        store.load(candidates[0], loaded, time.monotonic() + SECONDS)


def test_the_same_state_is_stored_once(client, save):
    save(list(range(100)))
    before = objects(client)
    again = save(list(range(100)))
    assert (again.present, again.bytes_sent, again.error) == (True, 0, "")
    assert objects(client) == before


def test_a_prefix_leads_to_the_first_state_until_one_is_much_shorter(client, save):
    long, other, short = list(range(200)), list(range(180)) + [7] * 20, list(range(50))
    save(long)
    save(other)
    assert found(client, long).stored[-1].entry.state == name(long)
    assert found(client, other).worthy[0].entry.state == name(other)
    save(short)
    assert found(client, [*range(32), *[9] * 16]).worthy[0].entry.state == name(short)
    assert found(client, long).worthy[0].entry.state == name(long)


def test_a_prefix_of_a_state_that_is_gone_leads_to_the_next_that_is_stored(client, save, tmp_path):
    first, second = list(range(100)), list(range(96)) + [7] * 4
    save(first)
    client.purge(keys=[manifest_key(name(first))])
    with pytest.raises(Doubt) as caught:
        StateStore(client, ROOT, SETTINGS).load(
            found(client, first).worthy[0], tmp_path / "x", time.monotonic() + SECONDS
        )
    assert caught.value.final
    assert not (tmp_path / "x").exists()
    assert save(second).entries == 6
    assert {c.entry.state for c in found(client, first).stored} == {name(second)}


@pytest.mark.parametrize("refused", [2, 3])
def test_a_store_that_fails_leaves_nothing_behind(client, save, refused):
    class Refusing:
        """Refuses the put with this number: the second piece, the manifest."""

        def __init__(self) -> None:
            self.puts = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        def put_from(self, items: Any, timeout: float) -> Any:
            self.puts += 1
            if self.puts == refused:
                return [PutResult("failed", kdn.ServerError(kdn.Status.BUSY))]
            return client.put_from(items, timeout=timeout)

    stored = save(list(range(100)), Refusing())
    assert "busy" in stored.error
    assert (stored.bytes_sent, objects(client)) == (0, 0)


def test_a_deadline_that_is_over_stores_nothing(client, tmp_path):
    path = tmp_path / "state"
    path.write_bytes(state_of(list(range(100))))
    with pytest.raises(TimeoutError):
        StateStore(client, ROOT, SETTINGS).save(path, 0, time.monotonic())
    assert objects(client) == 0


def test_links_in_place_of_files_are_not_followed(client, save, tmp_path):
    save(list(range(100)))
    secret = tmp_path / "secret"
    secret.write_bytes(state_of(list(range(200))))
    link = tmp_path / "link"
    link.symlink_to(secret)
    store = StateStore(client, ROOT, SETTINGS)
    with pytest.raises(OSError):
        store.save(link, 0, time.monotonic() + SECONDS)
    candidate = found(client, list(range(100))).worthy[0]
    with pytest.raises(OSError):
        store.load(candidate, link, time.monotonic() + SECONDS)
    assert secret.read_bytes() == state_of(list(range(200)))
