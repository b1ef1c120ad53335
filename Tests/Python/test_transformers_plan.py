"""What is fetched for a prefix: which chunks, and in which requests."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdn.engines import _fetch
from kdn.engines._measure import LayerFacts
from kdn.engines._planes import Plane, longest_prefix


def plane(window: int, head_dims: list[int], kv_heads: int = 2) -> Plane:
    facts = (torch.bfloat16, torch.device("cpu"))
    return Plane(
        tuple(
            LayerFacts(number, kv_heads, dim, window, None, *facts)
            for number, dim in enumerate(head_dims)
        )
    )


def is_usable(there, chunk_tokens: int, tokens: int) -> bool:
    """By definition: each token that the next one attends to lies in a chunk that is there."""
    return all(
        chunks[token // chunk_tokens]
        for plane, chunks in there.items()
        for token in range(tokens)
        if plane.window == 0 or token > tokens - plane.window
    )


@given(
    windows=st.lists(st.sampled_from([0, 2, 16, 17, 33, 48, 1000]), min_size=1, max_size=3),
    chunk_count=st.integers(0, 7),
    limit=st.integers(1, 130),
    data=st.data(),
)
def test_the_longest_prefix_is_the_longest_of_which_every_attended_token_is_there(
    windows, chunk_count, limit, data
):
    there = {
        plane(window, [8]): data.draw(
            st.lists(st.booleans(), min_size=chunk_count, max_size=chunk_count)
        )
        for window in windows
    }
    candidates = {min(end * 16, limit) for end in range(1, chunk_count + 1)}
    usable = [tokens for tokens in candidates if is_usable(there, 16, tokens)]
    assert longest_prefix(there, 16, limit) == max(usable, default=0)


@given(
    head_dims=st.lists(st.sampled_from([8, 16, 64]), min_size=1, max_size=9),
    chunks=st.tuples(st.integers(0, 5), st.integers(0, 40)),
    step_bytes=st.sampled_from([1, 1_000, 10_000, 100_000, 1 << 22]),
)
def test_requests_cover_every_byte_of_every_chunk_once_and_in_order(head_dims, chunks, step_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_fetch, "STEP_BYTES", step_bytes)
        span = range(chunks[0], sum(chunks))
        whole = plane(0, head_dims)
        reached = dict.fromkeys(span, 0)
        layers = {chunk: [] for chunk in span}
        for step in _fetch._steps(whole, span, 16):
            assert step.length == sum(whole.layer_bytes(facts, 16) for facts in step.layers)
            many = len(step.layers) > 1 or len(step.chunks) > 1
            assert not many or step.length * len(step.chunks) <= 4 * step_bytes
            for chunk in step.chunks:
                assert step.offset == reached[chunk]
                reached[chunk] += step.length
                layers[chunk] += [facts.number for facts in step.layers]
    assert all(size == whole.chunk_bytes(16) for size in reached.values())
    assert all(numbers == list(range(len(head_dims))) for numbers in layers.values())
