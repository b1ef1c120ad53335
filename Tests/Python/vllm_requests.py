"""vLLM's requests and steps as far as the connector looks at them, and lookups held by the test."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from vllm_engines import engine

from kdn.engines.vllm.hashing import RequestChain, RequestFacts
from kdn.engines.vllm.lookups import Found, Lookup
from kdn.engines.vllm.planes import describe
from kdn.engines.vllm.scheduler import SchedulerSide
from kdn.results import MissCause

CHUNK = 32
BLOCK = 16
FULL = describe(engine(), CHUNK)
HYBRID = describe(engine(windows=(0, 40, 0, 40), groups=(0, 1, 0, 1)), CHUNK)
LONG = 4 * CHUNK + 5


class Request:
    """A request of `tokens` prompt tokens, which may generate more."""

    def __init__(self, name: str, tokens: int, first: int = 1000, **more: Any) -> None:
        self.request_id = name
        self.all_token_ids = list(range(first, first + tokens))
        self.num_prompt_tokens = tokens
        self.num_preemptions = 0
        self.num_computed_tokens = 0
        self.kv_transfer_params = more.pop("transfer", None)
        self.skip_reading_prefix_cache = False
        self.lora_request = None

    @property
    def num_tokens(self) -> int:
        return len(self.all_token_ids)

    def generate(self, count: int) -> None:
        self.all_token_ids += range(1, count + 1)


class HeldLookups:
    """Lookups that the test answers; `asked` are the questions, `released` the leases."""

    def __init__(self, planes: int, clock: Any) -> None:
        self.planes = planes
        self.asked: list[tuple[list[bytes], Future[Found]]] = []
        self.released: list[Any] = []
        self.full = False
        self._clock = clock

    def ask(self, hashes: Sequence[bytes]) -> Lookup | None:
        if self.full:
            return None
        future: Future[Found] = Future()
        self.asked.append((list(hashes), future))
        return Lookup(future, self.planes, len(hashes), self._clock())

    def answer(self, *chunks: int, leases: Sequence[Any] = (), number: int = -1) -> None:
        """The server has so many chunks of each plane, from the start."""
        hashes, future = self.asked[number]
        there = [[c < count for c in range(len(hashes))] for count in chunks]
        cause = MissCause.NONE if all(map(all, there)) else MissCause.NEVER_STORED
        future.set_result(Found(there, [0] * self.planes, list(leases), cause))

    def release(self, lease: Any) -> None:
        self.released.append(lease)

    def close(self) -> None:
        self.full = True


class Stage:
    """A scheduler's side with all around it in the test's hands."""

    def __init__(self, description: Any, **more: Any) -> None:
        self.now = 100.0
        self.description = description
        self.lookups = HeldLookups(len(description.planes), lambda: self.now)
        self.blocks: dict[str, list[list[int]]] = {}
        self.generation = ""
        self.nameless: set[str] = set()
        options = {"block_tokens": BLOCK, "lookup_timeout": 0.5, **more}
        self.side = SchedulerSide(
            description, self.lookups, self._chain, self.blocks.__getitem__,
            clock=lambda: self.now, **options,
        )

    def _chain(self, request: Any) -> RequestChain | None:
        if request.request_id in self.nameless:
            return None
        return RequestChain("m" + self.generation, self.description, RequestFacts())

    def hashes(self, request: Request) -> list[bytes]:
        chain = RequestChain("m" + self.generation, self.description, RequestFacts())
        return chain.extend(request.all_token_ids)

    def give_blocks(self, request: Request, tokens: int, first: int = 1) -> list[list[int]]:
        """Blocks for so many tokens, the same numbers in each group plus 100 times its index."""
        groups = max(g for plane in self.description.planes for g in plane.groups) + 1
        count = -(-tokens // BLOCK)
        ids = [[100 * g + first + i for i in range(count)] for g in range(groups)]
        self.blocks[request.request_id] = ids
        return ids

    def step(self, *scheduled: tuple[Request, int, int]) -> Any:
        """The plan of a step that computes, for each request, so many tokens behind so many."""
        output = SimpleNamespace(
            scheduled_new_reqs=[
                SimpleNamespace(req_id=r.request_id, num_computed_tokens=before)
                for r, before, _ in scheduled[:1]
            ],
            scheduled_cached_reqs=SimpleNamespace(
                req_ids=[r.request_id for r, *_ in scheduled[1:]],
                num_computed_tokens=[before for _, before, _ in scheduled[1:]],
            ),
            num_scheduled_tokens={r.request_id: count for r, _, count in scheduled},
            total_num_scheduled_tokens=sum(count for *_, count in scheduled),
        )
        for request, before, count in scheduled:
            request.num_computed_tokens = before + count
        return self.side.plan(output)


def stage(description: Any = FULL, **more: Any) -> Stage:
    return Stage(description, **more)


def loading(scene: Stage, request: Request, *chunks: int, computed: int = 0) -> int:
    """Brings a request to where its load is planned; returns how many tokens are loaded."""
    scene.side.arrived(request)
    scene.lookups.answer(*chunks)
    tokens, _ = scene.side.matched_tokens(request, computed)
    assert tokens is not None
    scene.side.allocated(request, scene.give_blocks(request, request.num_tokens), tokens)
    return tokens


def saved(plan: Any) -> list[tuple[str, int]]:
    return [(save.request_id, chunk.first_token) for save in plan.saves for chunk in save.chunks]
