"""Host pools: where a page's bytes lie, and the facts that decide what they are."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from kdn.buffers import readable_view
from kdn.engines.sglang.naming import PageNames, Shard
from kdn.errors import FieldError

Pieces = list[memoryview]
STAGED_BYTES_MAX = 64 << 20

_POOLS = "sglang.srt.mem_cache.pool_host."
# Pools whose pieces, in order, are the flat page that they themselves give and take.
_FLAT_LAYOUTS = {
    _POOLS + "mha.MHATokenToKVPoolHost": (
        "layer_first", "page_first", "page_first_direct", "page_head",
    ),
    _POOLS + "mla.MLATokenToKVPoolHost": ("layer_first", "page_first", "page_first_direct"),
    _POOLS + "mamba.MambaPoolHost": ("page_first", "page_first_direct"),
}
_SHAPE_FIELDS = (
    "layout", "dtype", "page_size", "size_per_token", "layer_num", "target_layer_num",
    "start_layer", "end_layer", "head_num", "head_dim", "v_head_dim", "head_group_num",
    "kv_cache_dim", "kv_lora_rank", "qk_rope_head_dim", "dsa_kv_cache_store_fp8",
    "num_mamba_layers", "temporal_state_shape", "temporal_dtype", "conv_state_shapes",
    "conv_dtype", "indexer_page_stride_size", "indexer_dtype", "storage_format_tag",
)  # fmt: skip


class PagePort(Protocol):
    """How the pages of one pool are read and written by this rank.

    A page is `len(names)` objects; the objects of a batch follow each other page by page.
    """

    names: tuple[PageNames, ...]
    page_tokens: int
    page_bytes: int
    window_pages: int

    def outgoing(self, host_indices: Any) -> list[Pieces]:
        """The bytes of each object, to be sent; they must not change meanwhile."""

    def incoming(self, host_indices: Any) -> tuple[list[Pieces], Callable[[int], None]]:
        """Where each object's bytes go, and what to call with each page that is there."""


class DirectPages:
    """Pages that are sent from, and received into, the pool's own memory.

    `split` is into how many objects of neighbouring heads a page is cut, one for each of `names`.
    """

    def __init__(self, pool: Any, names: Sequence[PageNames], split: int = 1) -> None:
        self.names = tuple(names)
        self.page_tokens = page_tokens(pool)
        self.page_bytes = int(getattr(pool, "size_per_token", 0)) * self.page_tokens
        self.window_pages = 1 << 30
        self._pool = pool
        self._split = split
        self._keys_and_values = _qualified(pool) == _POOLS + "mha.MHATokenToKVPoolHost"

    def outgoing(self, host_indices: Any) -> list[Pieces]:
        if self._split > 1:
            places, sizes = self._pool.get_split_heads_page_buffer_meta(host_indices, self._split)
        else:
            places, sizes = self._pool.get_page_buffer_meta(host_indices)
        objects = len(host_indices) // self.page_tokens * len(self.names)
        if len(places) != len(sizes) or len(places) % objects:
            raise FieldError("page buffers", len(places), f"a multiple of {objects}")
        views = [memory_at(*place, self._pool) for place in zip(places, sizes)]
        count = len(views) // objects
        return [self._ordered(views[at : at + count]) for at in range(0, len(views), count)]

    def incoming(self, host_indices: Any) -> tuple[list[Pieces], Callable[[int], None]]:
        return self.outgoing(host_indices), _nothing_to_place

    def _ordered(self, pieces: Pieces) -> Pieces:
        """All keys, then all values, as in the pool's flat page; told as pairs for each layer."""
        return pieces[0::2] + pieces[1::2] if self._keys_and_values else pieces


class StagedPages:
    """Pages of a pool that only gives and takes flat copies of them."""

    def __init__(self, pool: Any, names: PageNames) -> None:
        self.names: tuple[PageNames, ...] = (names,)
        self.page_tokens = page_tokens(pool)
        self.page_bytes = readable_view(pool.get_dummy_flat_data_page()).nbytes
        self.window_pages = max(1, STAGED_BYTES_MAX // max(1, self.page_bytes))
        self._pool = pool

    def outgoing(self, host_indices: Any) -> list[Pieces]:
        pages = [self._pool.get_data_page(index, flat=True) for index in self._firsts(host_indices)]
        return [[readable_view(page.contiguous())] for page in pages]

    def incoming(self, host_indices: Any) -> tuple[list[Pieces], Callable[[int], None]]:
        firsts = self._firsts(host_indices)
        staging = [self._pool.get_dummy_flat_data_page() for _ in firsts]

        def place(page: int) -> None:
            self._pool.set_from_flat_data_page(firsts[page], staging[page])

        return [[readable_view(page)] for page in staging], place

    def _firsts(self, host_indices: Any) -> list[int]:
        return [int(index) for index in host_indices[:: self.page_tokens]]


def page_tokens(pool: Any) -> int:
    """How many of a pool's indices make a page, in the controller's counting."""
    return int(getattr(pool, "logical_page_size", None) or getattr(pool, "page_size", 0) or 1)


def is_materialised(pool: Any) -> bool:
    """Whether the pool has memory: some only hand out indices, and other pools hold the bytes."""
    return getattr(pool, "kv_buffer", None) is not None


def is_direct(pool: Any, sample_indices: Any) -> bool:
    """Whether the pool tells where in memory its pages lie; some layouts have no such place."""
    try:
        places, sizes = pool.get_page_buffer_meta(sample_indices)
    except (AttributeError, AssertionError, NotImplementedError, TypeError, ValueError):
        return False
    return len(places) > 0 and len(places) == len(sizes)


def is_flat(pool: Any) -> bool:
    """Whether a page's pieces in order are the flat page that the pool itself gives."""
    if getattr(pool, "slot_state_device_tensors", None):
        return False
    return getattr(pool, "layout", None) in _FLAT_LAYOUTS.get(_qualified(pool), ())


def is_latent(pool: Any) -> bool:
    """Whether the pool holds latent vectors (MLA), which all tensor-parallel ranks have in full."""
    return any(base.__name__ == "MLATokenToKVPoolHost" for base in type(pool).__mro__)


def pool_facts(pool: Any, name: str, form: str, split: int = 1) -> Mapping[str, Any]:
    """What decides the bytes of the pool's pages; `form` is the order that they are stored in."""
    facts: dict[str, Any] = {"pool": name, "form": form, "kind": _qualified(pool)}
    facts["tokens"] = page_tokens(pool)
    for field in _SHAPE_FIELDS:
        value = getattr(pool, field, None)
        facts[field] = None if value is None else str(value)
    if split > 1:
        # A reader at another tensor-parallel size has this slice as its whole page.
        facts["head_num"] = str(pool.head_num // split)
        facts["size_per_token"] = str(pool.size_per_token // split)
    return facts


def rank_shard(index: int, count: int, replicated: bool) -> Shard | None:
    """This rank's slice, None where every rank holds the page in full."""
    return None if replicated else Shard(index, count)


def _qualified(pool: Any) -> str:
    return f"{type(pool).__module__}.{type(pool).__qualname__}"


def memory_at(address: int, count: int, owner: Any) -> memoryview:
    """`count` bytes of memory, which `owner` keeps alive; FieldError unless both are above 0."""
    if address <= 0 or count <= 0:
        raise FieldError("page buffer", (address, count), "an address and a length above 0")
    raw = (ctypes.c_char * count).from_address(address)
    # The view keeps `raw` alive, and `raw` the pool that owns the memory.
    raw._kdn_owner = owner  # type: ignore[attr-defined]
    return memoryview(raw).cast("B")


def _nothing_to_place(page: int) -> None:
    """What is received into the pool's own memory is in its place."""
