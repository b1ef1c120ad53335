"""KV moves between tensor parallel sizes: two ranks store, one loads, and the other way round."""

from __future__ import annotations

from typing import Any

import numpy
import peer_engine
import pytest
import torch
from peer_engine import PeerEngine
from transformers import AutoModelForCausalLM

import kdn
from kdn.engines import _planes
from kdn.engines import transformers as adapter
from kdn.keys import Key, Part, chain_root, chunk_hashes

CHUNK = 64
PROMPT_TOKENS = 500
WHOLE = PROMPT_TOKENS // CHUNK * CHUNK
MODEL_NAME = "tiny llama of the tensor parallel tests"
HEADS = 2
WAIT_SECONDS = 60.0
HITS = "vllm:external_prefix_cache_hits"


def prompt(seed: int) -> list[int]:
    return [3 + (seed * 173 + 11 * i * i + 5 * i) % 1000 for i in range(PROMPT_TOKENS)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return peer_engine.make_tiny_llama(tmp_path_factory.mktemp("tiny"), seed=4)


@pytest.fixture(scope="module")
def model(tiny):
    """The same weights in transformers."""
    return AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def start(tiny, kdnd):
    made: list[PeerEngine] = []

    def engine(ranks: int) -> PeerEngine:
        transfer = {
            "kv_connector": "KDNConnector",
            "kv_connector_module_path": "kdn.engines.vllm",
            "kv_role": "kv_both",
            "kv_connector_extra_config": {
                "kdn_address": kdnd.tcp,
                "kdn_chunk_tokens": CHUNK,
                "kdn_model_name": MODEL_NAME,
                "kdn_timeout": WAIT_SECONDS,
                "kdn_lookup_timeout": WAIT_SECONDS,
            },
        }
        more = {"distributed_executor_backend": "mp"} if ranks > 1 else {}
        made.append(PeerEngine(tiny, transfer, tensor_parallel_size=ranks, **more))
        return made[-1]

    yield engine
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def engines(start) -> dict[int, PeerEngine]:
    """An engine of one rank and one of two."""
    found = {ranks: start(ranks) for ranks in (2, 1)}
    return {ranks: engine.ready() for ranks, engine in found.items()}


@pytest.fixture(scope="module")
def client(kdnd):
    with kdn.Client(kdnd.tcp) as found:
        yield found


def part_keys(model: Any, ids: list[int], ranks: int) -> list[Key]:
    """The keys of each chunk's objects, one for each rank."""
    (plane,) = _planes.describe(model).planes
    parts = [Part(0, 2, r * HEADS // ranks, HEADS // ranks) for r in range(ranks)]
    hashes = chunk_hashes(chain_root(MODEL_NAME), ids, CHUNK)
    return [Key.layout(h, plane.layout_id, part) for h in hashes for part in parts]


def stored_parts(client: Any, model: Any, ids: list[int], ranks: int) -> list[list[bytes]]:
    """Each chunk's objects; waits until they are stored."""
    keys = part_keys(model, ids, ranks)
    client.register_layout(_planes.describe(model).planes[0].layout)
    found = client.get_into([kdn.Get(key) for key in keys], wait=True, timeout=WAIT_SECONDS)
    assert all(result.hit for result in found)
    data = [bytes(result.data) for result in found]
    return [data[i : i + ranks] for i in range(0, len(data), ranks)]


def joined(parts: list[bytes]) -> numpy.ndarray:
    """`[layer, K and V, head, token, dim]` out of the ranks' shares of heads."""
    shape = (2, 2, HEADS // len(parts), CHUNK, 32)
    return numpy.concatenate([numpy.frombuffer(p, "<f4").reshape(shape) for p in parts], axis=2)


def computed(model: Any, ids: list[int], chunk: int) -> numpy.ndarray:
    """The same of the same tokens, as transformers computes it."""
    cache = adapter.prefill(model, ids)
    span = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
    rows = [(layer.keys[0, :, span], layer.values[0, :, span]) for layer in cache.layers]
    return torch.stack([torch.stack(pair) for pair in rows]).numpy()


@pytest.mark.parametrize(("writer", "reader"), [(2, 1), (1, 2)])
def test_what_one_number_of_ranks_stored_another_loads(engines, client, model, writer, reader):
    ids = prompt(writer)
    before = engines[reader].generate(prompt(90 + reader), tokens=1)
    made = engines[writer].generate(ids)
    assert made["cached"] == 0
    chunks = stored_parts(client, model, ids, writer)
    assert len(chunks) == WHOLE // CHUNK
    for number, parts in enumerate(chunks):
        wanted = computed(model, ids, number)
        assert numpy.abs(joined(parts) - wanted).max() < 1e-5 * numpy.abs(wanted).max()
    read = engines[reader].generate(ids)
    assert read["cached"] == WHOLE
    assert read["counters"][HITS] - before["counters"].get(HITS, 0) == WHOLE
    assert read["tokens"] == made["tokens"]
    # What is there in others' parts is not stored again; stores are made in the order of requests.
    engines[reader].generate(prompt(80 + reader))
    stored_parts(client, model, prompt(80 + reader), reader)
    keys = part_keys(model, ids, reader)
    assert client.exists(keys) == [False] * len(keys)
