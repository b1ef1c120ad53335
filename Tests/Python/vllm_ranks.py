"""Ranks of an engine whose caches are plain tensors, with the connector's worker side on them."""

from __future__ import annotations

import threading
from typing import Any

import numpy
import torch
from vllm_engines import empty_caches, engine

import kdn
from kdn.engines.vllm.loads import Source
from kdn.engines.vllm.metadata import (
    ChunkLoad,
    ChunkSave,
    RequestLoad,
    RequestSave,
    StepPlan,
)
from kdn.engines.vllm.pages import Pages
from kdn.engines.vllm.planes import describe
from kdn.engines.vllm.saves import SaveQueue
from kdn.engines.vllm.stats import Counts
from kdn.engines.vllm.worker import Results, WorkerSide

CHUNK = 32
CHUNKS = 3
SECONDS = 20.0
BLOCKS = [(2 * i + 1, 2 * i + 2) for i in range(CHUNKS)]
ELSEWHERE = [(21, 20), (23, 22), (25, 24)]


def chunk_hash(number: int, name: str = "") -> bytes:
    return kdn.chunk_hashes(kdn.chain_root(f"worker {name}"), list(range(96)), CHUNK)[number]


class Rank:
    """One rank with caches full of noise, a client, and a queue."""

    def __init__(
        self,
        address: str,
        limit: int = 1 << 30,
        link: str = "auto",
        deadline: float | None = None,
        prefill_rate: float | None = None,
        **facts: Any,
    ) -> None:
        self.facts = engine(**{"block": 16, **facts})
        self.description = describe(self.facts, CHUNK)
        self.caches = empty_caches(self.facts)
        self.counts = Counts()
        self.seen = Results()
        self.client = kdn.Client(address, on_error="miss", timeout=SECONDS, link=link)
        pages = Pages(self.description, self.facts, self.caches)
        source = Source(
            self.client, self.description, pages, self.counts, SECONDS, deadline, prefill_rate
        )
        self.queue = SaveQueue(self.client, self.counts, limit, SECONDS, note_stored=True)
        by_blocks = not self.description.sliding
        self.side = WorkerSide(
            source, source, self.queue, 2, by_blocks=by_blocks, note_stored=True
        )

    def step(self, *, saves: Any = (), loads: Any = (), number: int = 1) -> Any:
        plan = StepPlan(number, False, list(loads), list(saves))
        self.side.start_loads(plan)
        for plane in self.description.planes:
            for layer in plane.layer_names:
                self.side.wait_layer(layer)
        self.side.finish(plan)
        results = self.side.results()
        self.seen.received |= results.received
        self.seen.failed |= results.failed
        self.seen.bad_blocks |= results.bad_blocks
        return results

    def ended(self, *requests: str) -> Any:
        """All that was reported, once the loads of these requests were; asks as steps do."""
        pause = threading.Event()
        while not set(requests) <= self.seen.received:
            pause.wait(0.002)
            self.step()
        return self.seen

    def store(self, name: str = "", **save: Any) -> None:
        self.step(saves=[request_save(self, name, **save)])
        assert self.queue.flush(SECONDS)

    def block(self, number: int) -> list[numpy.ndarray]:
        return [c[number].contiguous().view(torch.uint8).numpy() for c in self.caches.values()]

    def close(self) -> None:
        self.side.close(SECONDS)
        self.client.close()


def same(a: Rank, block_a: int, b: Rank, block_b: int) -> bool:
    pairs = zip(a.block(block_a), b.block(block_b), strict=True)
    return all(numpy.array_equal(x, y) for x, y in pairs)


def request_save(rank: Rank, name: str = "", report: bool = False) -> RequestSave:
    planes = len(rank.description.planes)
    chunks = tuple(
        ChunkSave(
            chunk_hash(i, name), chunk_hash(i - 1, name) if i else None, i * CHUNK,
            ((BLOCKS[i],),) * planes,
        )
        for i in range(CHUNKS)
    )
    return RequestSave("saver", chunks, report)


def request_load(
    rank: Rank, name: str = "", request: str = "loader", blocks: Any = ELSEWHERE, **more: Any
) -> RequestLoad:
    planes = len(rank.description.planes)
    chunks = tuple(
        ChunkLoad(chunk_hash(i, name), ((tuple(ids),),) * planes) for i, ids in enumerate(blocks)
    )
    return RequestLoad(request, (0,) * planes, chunks, **more)


def load_all(rank: Rank, load: RequestLoad) -> Any:
    rank.seen = Results()
    results = rank.step(loads=[load])
    return results if load.layerwise else rank.ended(load.request_id)


def make_ranks(address: str) -> Any:
    """Makes ranks that talk to an emptied daemon, and closes them at the end."""
    with kdn.Client(address) as client:
        client.purge(namespace=True)
    made: list[Rank] = []

    def make(**facts: Any) -> Rank:
        made.append(Rank(address, **facts))
        return made[-1]

    yield make
    for rank in made:
        rank.close()
