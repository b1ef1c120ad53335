"""Names of LMCache's objects in KDN: fixed for ever, and never shared by two different objects."""

from __future__ import annotations

import itertools

import pytest
import torch
from lmcache.v1.distributed.api import ObjectKey
from lmcache_parts import memory, object_key

from kdn import Key
from kdn.engines.lmcache import known
from kdn.engines.lmcache.known import KnownObjects
from kdn.engines.lmcache.naming import Facts, layout_of, name_of

LLAMA = Facts((("bfloat16", (2, 30, 256, 192)),))
CHUNK = bytes(range(32))
KEY = ObjectKey(CHUNK, "org/model", 0x02010201, 0, "tenant")
VECTOR = (
    "0100000000000000a7bdb54b0a405ba32909243102651d90d07b0e4330b7235b"
    "28fd8402e651fac2eaeea7b21d95924866212a8aebb0172a00003c0000000100"
)
OPAQUE_VECTOR = (
    "02000000000000002c45a1cee94444af153ca2ebf1840afb7602d5bf635be7de"
    "e3fe0abdb266daf2000000000000000000000000000000000000000000000000"
)


def test_the_key_of_an_object_never_changes():
    named = name_of(KEY, LLAMA)
    assert bytes(named.key).hex() == VECTOR
    assert named.token_count == 256
    assert bytes(name_of(KEY, Facts((("bfloat16", (96,)),))).key).hex() == OPAQUE_VECTOR


def test_a_layout_has_a_layer_for_each_plane_and_the_bytes_of_the_object():
    layout, tokens = layout_of(LLAMA)
    assert (layout.dtype, layout.layer_count, tokens) == ("bf16", 60, 256)
    assert layout.bytes_per_token(layout.whole()) * tokens == 2 * 30 * 256 * 192 * 2


@pytest.mark.parametrize("facts", [
    Facts((("bfloat16", (96,)),)),
    Facts((("bfloat16", (256, 192)),)),
    Facts((("float64", (2, 30, 256, 192)),)),
    Facts((("bfloat16", (2, 30, 8192, 192)),)),
    Facts((("bfloat16", (2, 3000, 256, 192)),)),
    Facts((("bfloat16", (2, 0, 256, 192)),)),
    Facts((("bfloat16", (2, 30, 256, 192)), ("bfloat16", (2, 30, 128, 192)))),
    Facts((("bfloat16", (2, 30, 256, 192)), ("uint8", (77,)))),
])
def test_axes_that_are_not_certain_make_an_opaque_object(facts):
    assert layout_of(facts) is None
    assert name_of(KEY, facts).key.is_opaque


def test_no_two_objects_share_a_key():
    keys = [
        ObjectKey(chunk, model, rank, group, salt)
        for chunk, model, rank, group, salt in itertools.product(
            (CHUNK, CHUNK[:4], b""), ("m", "mm"), (0, 1), (0, 1, 0x10), ("", "m", "s")
        )
    ]
    facts = [LLAMA, Facts((("float16", (2, 30, 256, 192)),)), Facts((("uint8", (4, 9)),))]
    names = [name_of(key, fact).key for key in keys for fact in facts]
    names += [name_of(key, LLAMA, tag).key for key in keys for tag in ("fp8", "bfloat16[2, 30]")]
    assert len(set(names)) == len(keys) * 5


def test_the_facts_of_a_memory_object_are_those_of_its_layout():
    shape, dtype = (2, 3, 16, 8), torch.bfloat16
    assert Facts.of_object(memory(shape, dtype)) == Facts.of([torch.Size(shape)], [dtype])
    plain = memory(shape, dtype)
    plain.meta.shapes = plain.meta.dtypes = None
    assert Facts.of_object(plain) == Facts.of([torch.Size(shape)], [dtype])
    assert Facts.of([], []) is None
    assert Facts.of([torch.Size(shape)], []) is None


def test_what_is_known_is_bounded_and_counted_once(monkeypatch):
    monkeypatch.setattr(known, "KEYS_MAX", 3)
    monkeypatch.setattr(known, "GROUPS_MAX", 2)
    objects = KnownObjects()
    keys = [object_key(number, salt="a", group=number) for number in range(5)]
    named = name_of(keys[0], LLAMA)
    assert [objects.add(key, named, 10, is_stored=True) for key in keys] == [10] * 5
    assert objects.add(keys[4], named, 10, is_stored=True) == 0
    assert (len(objects), objects.bytes_by_salt()) == (3, {"a": 30})
    assert objects.add(keys[4], named, 10, is_stored=False) == 0
    assert objects.remove(keys[4]).nbytes == 10
    assert objects.remove(keys[4]) is None
    assert objects.bytes_by_salt() == {"a": 20}
    for key in keys:
        objects.learn(key, LLAMA)
    assert [objects.facts_of(key) for key in keys] == [None] * 3 + [LLAMA] * 2


def test_the_name_of_the_resp_facade_is_another_object():
    resp_name = f"org/model@02010201@0@{CHUNK.hex()}@tenant".encode()
    assert Key.opaque(resp_name) != name_of(KEY, LLAMA).key
