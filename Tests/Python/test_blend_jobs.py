"""What a blend worker's jobs say, and what is refused before anything is done."""

from __future__ import annotations

import json

import pytest

from kdn.blending import jobs
from kdn.blending.jobs import BlendJob, LearnJob
from kdn.errors import FieldError

LEARNING = [
    LearnJob("manual", "a text"),
    LearnJob("manual", (1, 2, 0xFFFFFFFF), metadata="m", salt="s"),
]
BLENDING = [
    BlendJob((("a", 0),)),
    BlendJob((("a", 3), ("b", 0)), "and?", 0, ("secret*",), "s", "c"),
    BlendJob((("a", 0), ("a", 0)), (5, 6), 1000),
]


@pytest.mark.parametrize("job", LEARNING)
def test_a_learn_job_comes_back_as_it_was(job):
    assert jobs.decode_learn(jobs.encode(job)) == job


@pytest.mark.parametrize("job", BLENDING)
def test_a_blend_job_comes_back_as_it_was(job):
    assert jobs.decode_blend(jobs.encode(job)) == job


@pytest.mark.parametrize(
    "fields, field",
    [
        ([], "payload"),
        ({"name": "a"}, "text"),
        ({"name": "a", "text": "b", "tokens": [1]}, "text"),
        ({"name": "a", "text": ""}, "text"),
        ({"name": 1, "text": "b"}, "name"),
        ({"name": "a", "tokens": []}, "tokens"),
        ({"name": "a", "tokens": [-1]}, "tokens"),
        ({"name": "a", "tokens": [True]}, "tokens"),
        ({"name": "a", "tokens": [1 << 32]}, "tokens"),
        ({"name": "a", "text": "b", "metadata": None}, "metadata"),
        ({"name": "a", "text": "b", "more": 1}, "payload"),
    ],
)
def test_a_learn_job_is_refused_by_the_field_at_fault(fields, field):
    with pytest.raises(FieldError) as caught:
        jobs.decode_learn(json.dumps(fields).encode())
    assert caught.value.field == field


@pytest.mark.parametrize(
    "fields, field",
    [
        ({}, "pieces"),
        ({"pieces": []}, "pieces"),
        ({"pieces": ["a"] * 65}, "pieces"),
        ({"pieces": [1]}, "pieces"),
        ({"pieces": [{"name": "a", "slot": 9}]}, "pieces"),
        ({"pieces": [{"name": "a", "epoch": -1}]}, "epoch"),
        ({"pieces": ["a"], "recompute": 1001}, "recompute"),
        ({"pieces": ["a"], "recompute": True}, "recompute"),
        ({"pieces": ["a"], "recompute": 0.1}, "recompute"),
        ({"pieces": ["a"], "without": "b"}, "without"),
        ({"pieces": ["a"], "without": [1]}, "without"),
        ({"pieces": ["a"], "question": "x", "tokens": [1]}, "question"),
        ({"pieces": ["a"], "chain_salt": 1}, "chain_salt"),
        ({"pieces": ["a"], "model": "m"}, "payload"),
    ],
)
def test_a_blend_job_is_refused_by_the_field_at_fault(fields, field):
    with pytest.raises(FieldError) as caught:
        jobs.decode_blend(json.dumps(fields).encode())
    assert caught.value.field == field


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(payload):
    with pytest.raises(FieldError, match="payload"):
        jobs.decode_blend(payload)


@pytest.mark.parametrize(
    "kind, verb", [("learn", "learn"), ("blend", "blend"), ("blend.mistral", "blend")]
)
def test_a_kind_may_name_a_queue(kind, verb):
    assert jobs.verb_of(kind) == verb


@pytest.mark.parametrize("kind", ["", "learning", ".blend", "edit"])
def test_other_kinds_are_refused(kind):
    with pytest.raises(FieldError, match="kind"):
        jobs.verb_of(kind)
