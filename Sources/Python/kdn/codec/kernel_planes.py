"""What the kernels in C are told of a block's planes, found out once for all that are alike."""

from __future__ import annotations

import ctypes
import functools
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from kdn.codec.container import PlaneShape
from kdn.codec.jobs import Job, Turn
from kdn.codec.kernel_library import PlaneFacts
from kdn.codec.rooms import Place
from kdn.layouts import DTYPE_BYTES, DTYPES


class BlockPlanes(NamedTuple):
    """Where the facts of planes are, and the bytes of each from its first coded token on.

    `skipped` bytes lie before that one. What is kept holds the memory of the others.
    """

    address: int
    sizes: int
    skipped: int
    kept: object


def planes_of(job: Job, places: Sequence[Place]) -> BlockPlanes:
    """Those of a block: all alike, but their heads may be differently far apart."""
    shape, raw, tokens = job.shapes[0], job.entry.raw_tokens, job.header.token_count
    alike = (shape.heads, shape.head_dim, job.dtype, tokens, raw, job.turn)
    apart = places[0].head_bytes
    if all(place.head_bytes == apart for place in places):
        return _alike(*alike, len(places), apart)
    each = [_alike(*alike, 1, place.head_bytes) for place in places]
    facts = (PlaneFacts * len(each))(*(PlaneFacts.from_address(one.address) for one in each))
    sizes = array("Q", [ctypes.c_uint64.from_address(one.sizes).value for one in each])
    kept = facts, sizes, each
    return BlockPlanes(ctypes.addressof(facts), sizes.buffer_info()[0], each[0].skipped, kept)


def head_tokens(shape: PlaneShape, dtype: str, head_bytes: int) -> int:
    """How many tokens a plane's heads are apart."""
    return head_bytes // (shape.head_dim * DTYPE_BYTES[dtype])


@functools.lru_cache(maxsize=128)
def _alike(
    heads: int,
    head_dim: int,
    dtype: str,
    tokens: int,
    raw_tokens: int,
    turn: Turn | None,
    count: int,
    head_bytes: int,
) -> BlockPlanes:
    """Facts of `count` planes whose coded tokens are those from `raw_tokens` on."""
    token = head_dim * DTYPE_BYTES[dtype]
    one = PlaneFacts(
        DTYPES.index(dtype) + 1, heads, head_dim, 0, 0, 0, tokens - raw_tokens, head_bytes // token
    )
    if turn is not None:
        pairs = turn.cosines.shape[1]
        one.interleaved = int(turn.interleaved)
        one.rotary_first = turn.rotated_from
        one.rotary_dims = 2 * pairs
        one.cosines = turn.cosines.ctypes.data + 4 * pairs * raw_tokens
        one.sines = turn.sines.ctypes.data + 4 * pairs * raw_tokens
    facts = (PlaneFacts * count)(*[one] * count)
    span = (heads - 1) * head_bytes + (tokens - raw_tokens) * token
    sizes = array("Q", [span] * count)
    kept = facts, sizes, turn
    address = ctypes.addressof(facts)
    return BlockPlanes(address, sizes.buffer_info()[0], raw_tokens * token, kept)
