"""What the scheduler's side tells the workers' for one step, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass, field

# vLLM's null block. In a load it stands for a block that is not to be written: its tokens are
# there already, or outside of a window.
NULL_BLOCK = 0

# The block ids of one chunk in one plane: a tuple for each KV cache group that the plane spans.
Blocks = tuple[tuple[int, ...], ...]


def real_blocks(blocks: Blocks) -> set[int]:
    """The ids that are not the null block."""
    return {block for ids in blocks for block in ids if block != NULL_BLOCK}


@dataclass(frozen=True)
class ChunkLoad:
    """One chunk to load. `blocks[p]` are its blocks in plane p: targets, or the null block.

    A plane without any needs nothing of this chunk.
    """

    hash: bytes
    blocks: tuple[Blocks, ...]


@dataclass(frozen=True)
class RequestLoad:
    """What one request loads; `grids[p]` says which writers' split of plane p is there.

    `wait_ms` above 0: the chunks may still be on their way, and are waited for that long.
    `layerwise`: this step's forward needs them; otherwise the request waits for the load's end.
    """

    request_id: str
    grids: tuple[int, ...]
    chunks: tuple[ChunkLoad, ...]
    wait_ms: int = 0
    layerwise: bool = False

    def block_ids(self) -> set[int]:
        """Every block that is to be written."""
        return {id for c in self.chunks for blocks in c.blocks for id in real_blocks(blocks)}


@dataclass(frozen=True)
class ChunkSave:
    """One chunk to store; a plane without blocks cannot be stored, its pages are gone."""

    hash: bytes
    parent: bytes | None
    first_token: int
    blocks: tuple[Blocks, ...]


@dataclass(frozen=True)
class RequestSave:
    """Chunks of one request that are complete after this step.

    `report`: the request is over, and its pages are held until the worker says they are copied.
    """

    request_id: str
    chunks: tuple[ChunkSave, ...]
    report: bool = False


@dataclass
class StepPlan:
    """All that the workers do in one step; `idle`: there is no forward in it."""

    step: int = 0
    idle: bool = False
    loads: list[RequestLoad] = field(default_factory=list)
    saves: list[RequestSave] = field(default_factory=list)

    @property
    def layerwise(self) -> list[RequestLoad]:
        """The loads that the step's forward needs."""
        return [load for load in self.loads if load.layerwise]


@dataclass
class StepReport:
    """What workers tell the scheduler beside the engine's own fields.

    `steps` had loads that their forward needed and are over; `stored` are chunk hashes that the
    server now has, of every rank that reported.
    """

    ranks: int = 1
    steps: dict[int, int] = field(default_factory=dict)
    stored: dict[bytes, int] = field(default_factory=dict)

    def merged(self, other: StepReport) -> StepReport:
        """Both reports as one, with how many ranks said the same."""
        merged = StepReport(self.ranks + other.ranks, dict(self.steps), dict(self.stored))
        for step, count in other.steps.items():
            merged.steps[step] = merged.steps.get(step, 0) + count
        for chunk, count in other.stored.items():
            merged.stored[chunk] = merged.stored.get(chunk, 0) + count
        return merged
