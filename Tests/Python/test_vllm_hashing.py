"""From requests to chunk hashes: whatever KV depends on changes them, nothing else does."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm_engines import engine

from kdn.engines.vllm.hashing import (
    MediaItem,
    RequestChain,
    RequestFacts,
    request_facts,
    root_salt,
)
from kdn.engines.vllm.planes import describe
from kdn.keys import chain_root, chunk_hashes

CHUNK = 32
PLAIN = describe(engine(), CHUNK)
TEXT = RequestFacts()
IMAGE, PICTURE = "0123456789abcdef" * 4, "fedcba9876543210" * 4
TOKENS = list(range(1000, 1000 + 5 * CHUNK))


def chain(facts: RequestFacts | None = TEXT, model: str = "m") -> RequestChain:
    return RequestChain(model, PLAIN, facts)


def request(**changes: Any) -> Any:
    """A request as vLLM has them."""
    facts = {
        "prompt_token_ids": [1, 2, 3],
        "prompt_embeds": None,
        "prompt_is_token_ids": None,
        "resumable": False,
        "mm_features": [],
        "lora_request": None,
        "cache_salt": None,
        **changes,
    }
    return SimpleNamespace(**facts)


def feature(identifier: str, offset: int, length: int) -> Any:
    where = SimpleNamespace(offset=offset, length=length)
    return SimpleNamespace(identifier=identifier, mm_position=where)


class Adapters:
    """Digests of adapters, by name."""

    def __init__(self, **digests: bytes) -> None:
        self.digests = digests

    def digest(self, lora_request: str) -> bytes | None:
        return self.digests.get(lora_request)


def test_plain_text_has_the_chain_of_the_transformers_adapter() -> None:
    wanted = chunk_hashes(chain_root("m"), TOKENS, CHUNK)
    assert chain().extend(TOKENS) == wanted
    salted = request_facts(request(cache_salt="tenant"))
    wanted = chunk_hashes(chain_root("m", b"tenant"), TOKENS, CHUNK)
    assert chain(salted).extend(TOKENS) == wanted


@given(st.lists(st.integers(0, 3 * CHUNK), max_size=6))
def test_a_chain_that_grows_is_the_chain_of_all_tokens(steps: list[int]) -> None:
    grown = chain()
    length = 0
    for step in steps:
        length = min(len(TOKENS), length + step)
        hashes = list(grown.extend(TOKENS[:length]))
        assert hashes == chunk_hashes(chain_root("m"), TOKENS[:length], CHUNK)
    assert [grown.parent(n) for n in range(len(grown.hashes))] == [None, *grown.hashes][
        : len(grown.hashes)
    ]


def test_a_chunk_with_a_token_that_is_not_known_yet_waits() -> None:
    grown = chain()
    unknown = [*TOKENS[: CHUNK + 3], -1, *TOKENS[CHUNK + 4 :]]
    assert len(grown.extend(unknown)) == 1
    assert grown.extend(TOKENS) == chunk_hashes(chain_root("m"), TOKENS, CHUNK)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt_token_ids": None},
        {"prompt_embeds": object()},
        {"prompt_is_token_ids": [True, False]},
        {"resumable": True},
        {"lora_request": "unknown"},
        {"mm_features": [feature("", 0, 4)]},
        {"mm_features": [feature("holiday.png", 0, 4)]},
        {"mm_features": [feature(IMAGE[:63], 0, 4)]},
        {"mm_features": [feature(IMAGE, 0, 4), feature("request-7-image-1", 4, 4)]},
    ],
)
def test_requests_that_cannot_be_named_have_no_hashes(changes: dict[str, Any]) -> None:
    facts = request_facts(request(**changes), Adapters())
    assert facts is None
    assert chain(facts).extend(TOKENS) == []


def test_requests_with_an_adapter_have_no_hashes_where_adapters_are_not_read() -> None:
    assert request_facts(request(lora_request="a")) is None


def test_salt_model_adapter_and_media_each_make_a_chain_of_its_own() -> None:
    adapters = Adapters(a=b"A" * 32, b=b"B" * 32)
    requests = [
        request(),
        request(cache_salt="x"),
        request(lora_request="a"),
        request(lora_request="b"),
        request(lora_request="a", cache_salt="x"),
        request(mm_features=[feature(IMAGE, 0, 8)]),
        request(mm_features=[feature(PICTURE, 0, 8)]),
        request(mm_features=[feature(f"lora:{IMAGE}", 0, 8)]),
        request(mm_features=[feature(IMAGE, 1, 8)]),
        request(mm_features=[feature(IMAGE, 0, 9)]),
        request(mm_features=[feature(IMAGE, 0, 4), feature(IMAGE, 4, 4)]),
    ]
    firsts = [chain(request_facts(r, adapters)).extend(TOKENS)[0] for r in requests]
    firsts.append(chain(model="n").extend(TOKENS)[0])
    firsts.append(RequestChain("m", describe(engine(plain=False), CHUNK), RequestFacts()).extend(
        TOKENS
    )[0])
    assert len(set(firsts)) == len(firsts)


@given(*[st.binary(max_size=size) for size in (600, 40, 600, 40)])
def test_two_pairs_of_salt_and_adapter_never_share_a_root(
    salt: bytes, lora: bytes, other_salt: bytes, other_lora: bytes
) -> None:
    same = (salt, lora) == (other_salt, other_lora)
    assert (root_salt(salt, lora) == root_salt(other_salt, other_lora)) == same
    assert len(root_salt(salt, lora)) <= 512


def test_a_salt_that_looks_like_an_adapters_is_not_taken_for_it() -> None:
    made = root_salt(b"x", b"A" * 32)
    assert root_salt(made) != made
    assert root_salt(b"bc", b"a") != root_salt(b"c", b"ab")
    assert root_salt(b"y" * 513) != root_salt(b"y" * 514)


def test_media_change_the_chunks_that_they_lie_under_and_all_that_follow() -> None:
    plain = chain().extend(TOKENS)
    item = MediaItem("image", CHUNK + 10, CHUNK)
    pictured = chain(RequestFacts(media=(item,))).extend(TOKENS)
    assert pictured[0] == plain[0]
    assert not set(pictured[1:]) & set(plain)


def test_media_that_only_touch_a_chunk_do_not_change_it() -> None:
    before = chain(RequestFacts(media=(MediaItem("image", CHUNK - 8, 8),))).extend(TOKENS)
    assert before[1] == chunk_hashes(before[0], TOKENS[CHUNK : 2 * CHUNK], CHUNK)[0]
    behind = chain(RequestFacts(media=(MediaItem("image", CHUNK, 8),))).extend(TOKENS)
    assert behind[0] == chain().extend(TOKENS)[0]
    assert behind[1] != chain().extend(TOKENS)[1]


def test_media_across_two_chunks_are_in_both() -> None:
    def third(*items: MediaItem) -> tuple[bytes, bytes]:
        hashes = chain(RequestFacts(media=items)).extend(TOKENS)
        return hashes[0], hashes[1]

    first, second = third(MediaItem("image", CHUNK - 4, 8))
    other, other_second = third(MediaItem("image", CHUNK - 4, 4))
    assert first != other and second != other_second


@given(st.integers(1, 2 * CHUNK), st.integers(1, CHUNK))
def test_media_chains_grow_as_they_are_whole(length: int, step: int) -> None:
    facts = RequestFacts(b"s", (MediaItem("image", 7, length),))
    whole = list(chain(facts).extend(TOKENS))
    grown = chain(facts)
    for end in range(0, len(TOKENS) + step, step):
        grown.extend(TOKENS[:end])
    assert grown.hashes == whole
