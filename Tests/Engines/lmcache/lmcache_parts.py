"""LMCache's real classes, put together for tests: keys, memory objects, and awaited tasks."""

from __future__ import annotations

import hashlib
import select
from typing import Any

import torch
from lmcache.v1.distributed.api import MemoryLayoutDesc, ObjectKey
from lmcache.v1.distributed.internal_api import L1MemoryDesc
from lmcache.v1.memory_management import MemoryFormat, MemoryObjMetadata, TensorMemoryObj
from lmcache.v1.platform import consume_fd

from kdn.engines.lmcache import KDNL2Adapter

SHAPE = (2, 3, 16, 8)
WAIT_SECONDS = 60.0


def object_key(
    number: int, *, model: str = "model", rank: int = 0x01000100, group: int = 0, salt: str = ""
) -> ObjectKey:
    digest = hashlib.sha256(b"chunk %d" % number).digest()
    return ObjectKey(digest, model, rank, group, salt)


def object_keys(count: int, first: int = 0, **facts: Any) -> list[ObjectKey]:
    return [object_key(first + number, **facts) for number in range(count)]


def layout(
    shape: tuple[int, ...] = SHAPE, dtype: torch.dtype = torch.float32
) -> dict[int, MemoryLayoutDesc]:
    return {0: MemoryLayoutDesc([torch.Size(shape)], [dtype])}


def memory(
    shape: tuple[int, ...] = SHAPE,
    dtype: torch.dtype = torch.float32,
    seed: int | None = None,
    raw: torch.Tensor | None = None,
) -> TensorMemoryObj:
    """A memory object over `raw`, or over fresh bytes: of a seed, or zero."""
    size = torch.Size(shape).numel() * dtype.itemsize
    if raw is None:
        raw = torch.zeros(size, dtype=torch.uint8)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        raw.copy_(torch.randint(0, 256, (size,), dtype=torch.uint8, generator=generator))
    metadata = MemoryObjMetadata(
        shape=torch.Size(shape),
        dtype=dtype,
        address=0,
        phy_size=size,
        ref_count=1,
        fmt=MemoryFormat.KV_2LTD,
        shapes=[torch.Size(shape)],
        dtypes=[dtype],
    )
    return TensorMemoryObj(raw, metadata, parent_allocator=None)


def memories(count: int, *, seeded: bool = False, **facts: Any) -> list[TensorMemoryObj]:
    return [memory(seed=number if seeded else None, **facts) for number in range(count)]


def bytes_of(item: TensorMemoryObj) -> bytes:
    return bytes(item.byte_array)


class L1:
    """One slab of memory that objects are cut from, as LMCache's L1 is."""

    def __init__(self, size: int) -> None:
        self.slab = torch.zeros(size, dtype=torch.uint8)
        self.description = L1MemoryDesc(self.slab.data_ptr(), size, 1)
        self._used = 0

    def memory(self, seed: int | None = None) -> TensorMemoryObj:
        size = torch.Size(SHAPE).numel() * 4
        raw = self.slab[self._used : self._used + size]
        self._used += size
        return memory(seed=seed, raw=raw)


class Driver:
    """Calls an adapter as LMCache's controllers do: submit, poll the descriptor, query."""

    def __init__(self, adapter: KDNL2Adapter) -> None:
        self.adapter = adapter

    def store(self, keys: list[ObjectKey], objects: list[Any]) -> Any:
        task = self.adapter.submit_store_task(keys, objects)
        done: dict[int, Any] = {}
        while task not in done:
            wait_for(self.adapter.get_store_event_fd())
            done.update(self.adapter.pop_completed_store_tasks())
        return done[task]

    def look_up(self, keys: list[ObjectKey], layouts: Any = None) -> list[bool]:
        layouts = layout() if layouts is None else layouts
        task = self.adapter.submit_lookup_and_lock_task(keys, layouts)
        query = self.adapter.query_lookup_and_lock_result
        return self._bits(task, query, self.adapter.get_lookup_and_lock_event_fd(), len(keys))

    def load(self, keys: list[ObjectKey], objects: list[Any]) -> list[bool]:
        task = self.adapter.submit_load_task(keys, objects)
        query = self.adapter.query_load_result
        return self._bits(task, query, self.adapter.get_load_event_fd(), len(keys))

    def _bits(self, task: int, query: Any, descriptor: int, count: int) -> list[bool]:
        while (bitmap := query(task)) is None:
            wait_for(descriptor)
        assert query(task) is None, "a result is given once"
        assert len(bitmap) == count
        return [bool(bitmap.test(place)) for place in range(count)]


def wait_for(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    assert poll.poll(WAIT_SECONDS * 1000), "no task ended"
    consume_fd(descriptor)
