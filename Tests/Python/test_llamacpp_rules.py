"""llama.cpp's states: what is understood, fetched, stored and trusted. No server, no daemon."""

from __future__ import annotations

import json
import struct
from array import array

import pytest

from kdn import FieldError
from kdn.engines.llamacpp.identity import fingerprint, model_digest, model_files, name_of
from kdn.engines.llamacpp.prompts import pinned, read_prompt
from kdn.engines.llamacpp.records import Manifest, PrefixEntry, state_hash
from kdn.engines.llamacpp.rules import (
    Timings,
    common_prefix,
    computed_as_told,
    holds_all,
    replaces,
    timings_of,
    worth_restoring,
    worth_saving,
)
from kdn.engines.llamacpp.settings import StateSettings
from kdn.engines.llamacpp.slots import Slot, SlotPool, best_slot
from kdn.engines.llamacpp.state_file import MAGIC, head_bytes_needed, parse_head

SETTINGS = StateSettings(chunk_tokens=16, min_tokens=16)


def words(*values: int, magic: int = MAGIC, version: int = 2) -> bytes:
    return struct.pack(f"<III{len(values)}i", magic, version, len(values), *values)


def packed(*tokens: int, media: tuple[int, ...] = ()) -> bytes:
    return words(-1, 1, len(tokens), *tokens, len(media), *media)


# The head of a state


@pytest.mark.parametrize("encode", [words, packed])
def test_the_tokens_of_both_forms_of_a_head_are_read(encode):
    data = encode(5, 7, 9)
    head = parse_head(data + b"the engine's own bytes")
    assert list(head.tokens) == [5, 7, 9]
    assert head.head_bytes == len(data) == head_bytes_needed(data[:12])


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"", "length"),
        (words(1, 2)[:-1], "length"),
        (words(1, magic=MAGIC + 1), "magic"),
        (words(1, version=0), "version"),
        (words(1, version=4000), "version"),
        (struct.pack("<III", MAGIC, 2, 1 << 30), "count"),
        (words(1, -2, 3), "token"),
        (words(-1, 1), "count"),
        (words(-1, 2, 1, 5, 0), "packedVersion"),
        (words(-1, 1, 4, 5, 0), "tokenCount"),
        (words(-1, 1, -3, 5, 0), "tokenCount"),
        (packed(5, 6, media=(1,)), "mediaCount"),
        (packed(5, 6)[:8] + struct.pack("<I", 7) + packed(5, 6)[12:] + bytes(4), "mediaCount"),
    ],
)
def test_a_head_that_is_not_understood_for_sure_is_refused(data, field):
    with pytest.raises(FieldError) as caught:
        parse_head(data)
    assert caught.value.field == field


# Records


def test_records_come_back_as_they_were_and_any_changed_byte_is_noticed():
    entry = PrefixEntry(bytes(range(32)), 700, 1 << 40)
    manifest = Manifest(bytes(16), 700, ((64 << 20, 1), (5, (1 << 64) - 1)))
    assert PrefixEntry.decode(entry.encode()) == entry
    assert Manifest.decode(manifest.encode()) == manifest
    for kind, data in ((PrefixEntry, entry.encode()), (Manifest, manifest.encode())):
        for place in range(len(data)):
            damaged = bytearray(data)
            damaged[place] ^= 0x40
            with pytest.raises(FieldError):
                kind.decode(bytes(damaged))
        for end in (0, 7, len(data) - 1):
            with pytest.raises(FieldError):
                kind.decode(data[:end])


def test_one_record_is_not_taken_for_the_other():
    with pytest.raises(FieldError):
        Manifest.decode(PrefixEntry(bytes(32), 1, 1).encode())
    with pytest.raises(FieldError):
        PrefixEntry.decode(Manifest(bytes(16), 1, ((1, 1),)).encode())


def test_a_state_is_named_by_all_of_its_tokens():
    root = bytes(32)
    names = {state_hash(root, range(count), 16) for count in range(1, 50)}
    assert len(names) == 49


# What is worth it


@pytest.mark.parametrize(
    ("tokens", "shared", "in_slot", "context", "expected"),
    [
        (100, 96, 0, 2048, True),
        (100, 96, 80, 2048, True),
        (100, 96, 81, 2048, False),  # 15 tokens are less than a transfer is worth
        (64, 16, 0, 2048, True),
        (65, 16, 0, 2048, False),  # more than four times what is shared
        (100, 96, 0, 99, False),  # the slot cannot hold it
        (90, 96, 0, 2048, False),  # shorter than what it is said to share
    ],
)
def test_a_state_is_fetched_if_it_saves_more_than_it_costs(
    tokens, shared, in_slot, context, expected
):
    entry = PrefixEntry(bytes(32), tokens, 1000)
    assert worth_restoring(entry, shared, in_slot, context, SETTINGS) is expected


def test_a_state_over_the_limit_is_not_fetched():
    entry = PrefixEntry(bytes(32), 100, SETTINGS.state_bytes_max + 1)
    assert not worth_restoring(entry, 96, 0, 2048, SETTINGS)


def test_all_states_of_a_growing_conversation_are_a_few_times_its_last():
    covered, total = 0, 0
    for prompt in range(40, 40_000, 40):
        if worth_saving(prompt, covered, SETTINGS):
            total += prompt
            covered = prompt // 16 * 16
    assert covered > 40_000 * 0.85
    assert total < 40_000 * 9


def test_less_than_one_chunk_is_never_stored():
    assert not worth_saving(15, 0, StateSettings(chunk_tokens=16, min_tokens=1))


def test_a_much_shorter_state_takes_over_a_prefix():
    old = PrefixEntry(bytes(32), 4000, 1)
    assert replaces(PrefixEntry(bytes(32), 1000, 1), old, SETTINGS)
    assert not replaces(PrefixEntry(bytes(32), 1001, 1), old, SETTINGS)


# What is trusted


def answer(cached: int, computed: int, generated: int) -> bytes:
    facts = {
        "cache_n": cached, "prompt_n": computed, "predicted_n": generated, "prompt_ms": 1.5
    }
    return json.dumps({"content": "x", "timings": facts}).encode()


def test_the_last_timings_of_an_answer_or_a_stream_are_read():
    assert timings_of(answer(3, 4, 5)) == Timings(3, 4, 5, 1500)
    stream = b"data: " + answer(1, 1, 1) + b"\n\ndata: " + answer(3, 4, 5) + b"\n\ndata: [DONE]\n\n"
    assert timings_of(stream) == Timings(3, 4, 5, 1500)


@pytest.mark.parametrize(
    "tail",
    [b"", b"[DONE]", b'"timings":{"cache_n":1}', b'"timings":{"cache_n":', b'"timings":{cache_n}'],
)
def test_an_answer_without_timings_tells_nothing(tail):
    assert timings_of(tail) is None


@pytest.mark.parametrize(
    ("timings", "possible", "expected"),
    [
        (Timings(60, 40, 5, 0), 60, True),
        (Timings(61, 39, 5, 0), 60, False),  # KV from elsewhere was moved into place
        (Timings(0, 99, 5, 0), 60, False),  # another prompt than the one that was tokenised
        (None, 60, False),
    ],
)
def test_a_slot_is_stored_only_if_its_kv_is_known_to_be_of_its_tokens(timings, possible, expected):
    assert computed_as_told(100, timings, possible) is expected


def test_a_saved_slot_must_hold_the_prompt_and_the_answer_and_nothing_else():
    prompt, timings = array("i", range(100)), Timings(0, 100, 5, 0)
    whole = array("i", [*range(100), 7, 7, 7, 7])
    assert holds_all(whole, prompt, timings)
    assert holds_all(whole + array("i", [7]), prompt, timings)
    assert not holds_all(whole + array("i", [7, 7]), prompt, timings)
    assert not holds_all(whole[:-1], prompt, timings)  # some were dropped by a shift
    assert not holds_all(whole[1:] + array("i", [7]), prompt, timings)


@pytest.mark.parametrize(
    ("a", "b", "shared"),
    [((), (), 0), ((1, 2), (1, 2, 3), 2), ((1, 5), (1, 6), 1), ((4,), (5,), 0)],
)
def test_common_prefixes_are_counted(a, b, shared):
    assert common_prefix(array("i", a), array("i", b)) == shared


# Which requests


TEXT = "x" * 100


def read(path: str, **body: object) -> object:
    return read_prompt(path, json.dumps(body).encode(), 16)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/completion", {"prompt": TEXT}),
        ("/v1/completions", {"prompt": list(range(30)), "n": 1}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": TEXT}]}),
        ("/chat/completions", {"messages": [
            {"role": "user", "content": [{"type": "text", "text": TEXT}]},
            {"role": "assistant", "content": None, "tool_calls": []},
        ]}),
        ("/completion", {"prompt": TEXT, "id_slot": -1, "cache_prompt": True, "lora": []}),
    ],
)
def test_requests_of_one_sequence_of_text_are_served(path, body):
    prompt = read(path, **body)
    assert prompt is not None
    assert prompt.is_chat == ("messages" in body)
    again = json.loads(pinned(prompt.body, 3))
    assert again == {**body, "id_slot": 3, "cache_prompt": True}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/infill", {"prompt": TEXT}),
        ("/completion", {"prompt": [TEXT, TEXT]}),
        ("/completion", {"prompt": [1, TEXT]}),
        ("/completion", {"prompt": [True] * 30}),
        ("/completion", {"prompt": {"prompt_string": TEXT, "multimodal_data": ["x"]}}),
        ("/completion", {"prompt": TEXT, "id_slot": 1}),
        ("/completion", {"prompt": TEXT, "cache_prompt": False}),
        ("/completion", {"prompt": TEXT, "lora": [{"id": 0, "scale": 1}]}),
        ("/v1/completions", {"prompt": TEXT, "n": 2}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": TEXT}}]}]}),
        ("/v1/chat/completions", {"messages": TEXT}),
        ("/v1/chat/completions", {"messages": [TEXT]}),
    ],
)
def test_other_requests_pass_as_they_are(path, body):
    assert read(path, **body) is None


@pytest.mark.parametrize("data", [b"", b"[1]" * 9, b"{" * 5000, b"\xff" * 40, b'{"prompt":1}     '])
def test_what_is_no_request_passes_as_it_is(data):
    assert read_prompt("/completion", data, 1) is None


# Slots


def test_the_slot_that_holds_most_is_chosen_else_the_one_longest_unused():
    prompt = array("i", range(100))
    slots = [
        Slot(0, array("i", range(50)), used=9),
        Slot(1, array("i", range(80)), used=8),
        Slot(2, array("i", [0, 1, 2, 99]), used=1),
    ]
    assert best_slot(slots, prompt, 16).number == 1
    slots[1].busy = True
    assert best_slot(slots, prompt, 16).number == 0
    # Three tokens in common are no reason to displace what was used last.
    assert best_slot(slots, array("i", [0, 1, 2, 7, 7]), 16).number == 2
    slots[0].busy = slots[2].busy = True
    assert best_slot(slots, prompt, 16) is None


def test_a_slot_can_hold_more_than_is_known_only_behind_what_is_known():
    slot = Slot(0, array("i", range(50)), extra=10)
    assert slot.possible(array("i", range(100))) == 60
    assert slot.possible(array("i", [*range(40), 999])) == 40


def test_a_pool_lends_each_slot_once_and_does_not_wait_longer_than_told():
    pool = SlotPool(2)
    first, second = pool.borrow([1], 16, 0), pool.borrow([1], 16, 0)
    assert {first.number, second.number} == {0, 1}
    assert pool.borrow([1], 16, 0.01) is None
    pool.give_back(second)
    assert pool.borrow([1], 16, 0) is second


# Identity


PROPS = {"build_info": "b1", "default_generation_settings": {"n_ctx": 2048}, "model_path": "a"}


def test_states_are_shared_only_between_servers_that_compute_the_same():
    def name(digest="d", long_rope=False, props=PROPS, probed=(2, 16, 100), variant=""):
        return name_of(digest, long_rope, props, probed, StateSettings(variant=variant))

    longer = {**PROPS, "default_generation_settings": {"n_ctx": 4096}}
    assert name() == name(props=longer) == name(props={**PROPS, "model_path": "elsewhere"})
    others = [
        name(digest="e"),
        name(probed=(2, 16, 101)),
        name(props={**PROPS, "build_info": "b2"}),
        name(variant="yarn"),
        name(long_rope=True),
        name(long_rope=True, props=longer),
    ]
    assert len({name(), *others}) == 7


def test_a_restarted_server_has_another_fingerprint_and_a_sleeping_one_has_not():
    marked = {**PROPS, "media_marker": "abc"}
    assert fingerprint(marked) != fingerprint({**PROPS, "media_marker": "abd"})
    assert fingerprint(marked) == fingerprint({**marked, "is_sleeping": True})


def test_a_digest_is_of_every_byte_of_every_part(tmp_path):
    parts = [tmp_path / f"m-0000{i}-of-00002.gguf" for i in (1, 2)]
    parts[0].write_bytes(b"GGUF" + bytes(1000))
    parts[1].write_bytes(bytes(20 << 20) + b"rope_factors_long")
    assert model_files(parts[0]) == parts
    assert model_files(tmp_path / "m.gguf") == [tmp_path / "m.gguf"]
    first, long_rope = model_digest(parts[0])
    assert long_rope
    assert model_digest(parts[0]) == (first, True)
    parts[1].write_bytes(bytes(20 << 20) + b"rope_factors_lonG")
    assert model_digest(parts[0])[0] != first
    assert model_digest(parts[0])[1] is False
    parts[1].unlink()
    with pytest.raises(OSError):
        model_digest(parts[0])


@pytest.mark.parametrize(
    "settings",
    [{"chunk_tokens": 15}, {"waste": 0.5}, {"piece_bytes": 1}, {"salt": bytes(513)},
     {"variant": "x" * 201}, {"restore_timeout": 0}],
)
def test_settings_out_of_range_are_errors(settings):
    with pytest.raises(FieldError):
        StateSettings(**settings)
