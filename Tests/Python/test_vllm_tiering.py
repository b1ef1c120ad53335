"""The parts of the vLLM tier that need no vLLM: keys, settings and lookups."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

import kdn
from kdn.engines.vllm.tiering_keys import engine_facts, fingerprint, object_key
from kdn.engines.vllm.tiering_lookup import LookupTable, LookupThread
from kdn.engines.vllm.tiering_settings import TierSettings

WAIT = 20.0


def config(**changes):
    facts = {
        "tp_size": 1, "dtype": "bfloat16", "tokens": 16, "layers": ("l0", "l1"), "blocks": 1,
        "layout": "LBHNC", "canonical": False, "agnostic": True, "pp_size": 1, **changes,
    }
    tp = facts["tp_size"]
    return SimpleNamespace(
        groups=(SimpleNamespace(tokens_per_block=facts["tokens"], layer_names=facts["layers"]),),
        worker_kv_bytes_per_block=4096 // tp,
        model=SimpleNamespace(name="m", dtype=facts["dtype"]),
        cache=SimpleNamespace(tokens_per_hash=16, blocks_per_chunk=facts["blocks"]),
        parallel=SimpleNamespace(
            tp_size=tp, pp_size=facts["pp_size"], pcp_size=1, dcp_size=1, world_size=tp, rank=0,
            is_parallelism_agnostic=facts["agnostic"],
        ),
        canonical_layout=facts["canonical"], kv_cache_layout=facts["layout"],
    )


def engine(**changes) -> bytes:
    return fingerprint("m@1", engine_facts(config(**changes), 4096))


# Keys


@pytest.mark.parametrize(
    "change",
    [
        {"tp_size": 2}, {"pp_size": 2}, {"dtype": "float16"}, {"tokens": 32}, {"blocks": 2},
        {"layers": ("l0",)}, {"layout": "LBNHC"}, {"canonical": True},
    ],
)
def test_engines_that_differ_in_a_fact_share_no_key(change):
    assert engine(**change) != engine()


def test_engines_that_differ_in_the_model_the_row_or_the_epoch_share_no_key():
    facts = engine_facts(config(), 4096)
    names = {
        fingerprint("m@1", facts),
        fingerprint("m@2", facts),
        fingerprint("m@1", engine_facts(config(), 8192)),
        fingerprint("m@1", facts, b"epoch"),
    }
    assert len(names) == 4


def test_the_same_engine_has_the_same_name_again():
    assert engine() == engine()


def test_parallel_sizes_count_for_nothing_only_in_a_portable_canonical_layout():
    assert engine(canonical=True, tp_size=2) == engine(canonical=True)
    assert engine(canonical=True, agnostic=False, tp_size=2) != engine(
        canonical=True, agnostic=False
    )


def test_groups_and_hashes_are_in_the_key():
    name = engine()
    keys = {
        object_key(name, bytes(32) + bytes(4)), object_key(name, bytes(32) + b"\0\0\0\1"),
        object_key(name, b"\1" * 32 + bytes(4)), object_key(engine(tp_size=2), bytes(36)),
    }
    assert len(keys) == 4 and None not in keys


def test_a_hash_that_is_not_collision_resistant_has_no_key():
    assert object_key(engine(), bytes(16) + bytes(4)) is None


# Settings


def test_settings_have_defaults_and_take_the_address_of_the_environment(monkeypatch):
    monkeypatch.setenv("KDN_ADDRESS", "10.0.0.7:9440")
    assert TierSettings.parse({"model_name": "m"}).address == "10.0.0.7:9440"
    monkeypatch.delenv("KDN_ADDRESS")
    assert TierSettings.parse({"model_name": "m"}).address == "127.0.0.1:9440"


@pytest.mark.parametrize(
    ("entries", "field"),
    [
        ({}, "model_name"),
        ({"model_name": 7}, "model_name"),
        ({"model_name": "m", "adress": "x"}, "adress"),
        ({"model_name": "m", "address": "host:port"}, "address"),
        ({"model_name": "m", "address": 9440}, "address"),
        ({"model_name": "m", "timeout": 0}, "timeout"),
        ({"model_name": "m", "timeout": "5"}, "timeout"),
        ({"model_name": "m", "streams": 1.5}, "streams"),
        ({"model_name": "m", "streams": True}, "streams"),
        ({"model_name": "m", "pending_bytes": -1}, "pending_bytes"),
        ({"model_name": "m", "after_reset": "maybe"}, "after_reset"),
        ({"model_name": "m", "link": "ipc"}, "link"),
        ({"model_name": "m", "link": "tcp", "address": "unix:///s"}, "link"),
        ({"model_name": "m", "locality": "NEAR"}, "locality"),
        ({"model_name": "m", "token_file": "/does/not/exist"}, "token_file"),
        ({"model_name": "m", "token": "t", "token_file": "/x"}, "token_file"),
    ],
)
def test_wrong_settings_name_their_field(entries, field):
    with pytest.raises(kdn.FieldError) as raised:
        TierSettings.parse(entries)
    assert raised.value.field == field


def test_a_token_may_lie_in_a_file(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    settings = TierSettings.parse({"model_name": "m", "token_file": str(tmp_path / "token")})
    assert settings.token == "secret"


# Lookups


def key(number: int) -> kdn.Key:
    return kdn.Key.opaque(number.to_bytes(4, "big"))


def test_a_key_is_asked_for_once_and_answered_to_all_who_ask():
    table = LookupTable(patience=1.0, keys_max=10)
    assert table.lookup(key(1), "a", now=0.0) is None
    assert table.lookup(key(1), "b", now=0.1) is None
    assert table.take(10) == [key(1)] and table.take(10) == []
    table.settle([key(1)], [True])
    assert table.lookup(key(1), "a", now=0.2) is True
    assert table.lookup(key(1), "b", now=9.9) is True


def test_an_answer_that_is_late_is_a_miss_and_stays_one():
    table = LookupTable(patience=1.0, keys_max=10)
    table.lookup(key(1), "a", now=0.0)
    assert table.lookup(key(1), "a", now=0.99) is None
    assert table.lookup(key(1), "a", now=1.0) is False
    table.settle([key(1)], [True])
    assert table.lookup(key(1), "a", now=1.1) is False
    assert table.counts == {"late": 1}


def test_a_failed_load_is_a_miss_until_the_request_is_over():
    table = LookupTable(patience=1.0, keys_max=10)
    table.lookup(key(1), "a", now=0.0)
    table.settle(table.take(10), [True])
    table.mark_missing([key(1), key(2)])
    assert table.lookup(key(1), "a", now=0.0) is False
    table.forget("a")
    assert table.lookup(key(1), "b", now=0.0) is None


def test_what_no_living_request_asks_for_is_forgotten():
    table = LookupTable(patience=1.0, keys_max=10)
    table.lookup(key(1), "a", now=0.0)
    table.lookup(key(1), "b", now=0.0)
    table.lookup(key(2), "a", now=0.0)
    table.forget("a")
    assert len(table) == 1
    table.forget("b")
    table.forget("never seen")
    assert len(table) == 0 and table.take(10) == []
    table.settle([key(1)], [True])


def test_a_full_table_answers_with_misses():
    table = LookupTable(patience=1.0, keys_max=2)
    assert [table.lookup(key(n), "a", now=0.0) for n in range(3)] == [None, None, False]
    assert table.counts == {"overflow": 1}
    table.forget("a")
    assert table.lookup(key(2), "b", now=0.0) is None


def test_questions_are_asked_in_the_background_in_one_go():
    asked, touched, done = [], [], threading.Event()

    def exists(keys):
        asked.append(keys)
        return [one == key(1) for one in keys]

    def touch(keys):
        touched.append(keys)
        done.set()

    thread = LookupThread(LookupTable(60.0, 10), exists, touch)
    assert [thread.lookup(key(n), "a") for n in (1, 2)] == [None, None]
    thread.touch([key(3), key(3)])
    thread.flush()
    assert done.wait(WAIT)
    assert asked == [[key(1), key(2)]] and touched == [[key(3)]]
    assert [thread.lookup(key(n), "a") for n in (1, 2)] == [True, False]
    thread.close()


@pytest.mark.parametrize("answer", [RuntimeError("broken"), [], None])
def test_a_question_that_fails_is_a_miss(answer):
    done = threading.Event()

    def exists(keys):
        if isinstance(answer, Exception):
            raise answer
        return answer

    thread = LookupThread(LookupTable(60.0, 10), exists, lambda keys: done.set())
    thread.lookup(key(1), "a")
    thread.touch([key(1)])
    thread.flush()
    assert done.wait(WAIT)
    assert thread.lookup(key(1), "a") is False
    thread.close()
