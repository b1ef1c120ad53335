"""Which KDN object an LMCache object is: its key, and its layout where the axes are certain.

An LMCache key names model, rank, object group, chunk and salt, but not the numbers' type or shape:
those go into the KDN key too, so that servers with different dtypes never read each other's bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kdn.errors import FieldError
from kdn.keys import Key
from kdn.layouts import Layout, OpaqueGroup

PREFIX = b"kdn-lmcache/1\0"
TOKENS_MAX = 4096
LAYOUTS_CACHED = 1024

# Names of torch's dtypes, and what a KDN layout calls numbers of that size.
_DTYPES = {
    "bfloat16": ("bf16", 2),
    "float16": ("f16", 2),
    "float32": ("f32", 4),
    "float8_e4m3fn": ("f8e4m3", 1),
    "float8_e5m2": ("f8e5m2", 1),
    "int8": ("i8", 1),
    "uint8": ("i8", 1),
}


@dataclass(frozen=True)
class Facts:
    """The tensors that one object holds, one after the other: (dtype, shape) of each."""

    tensors: tuple[tuple[str, tuple[int, ...]], ...]

    @staticmethod
    def of(shapes: Sequence[Any], dtypes: Sequence[Any]) -> Facts | None:
        """From torch's sizes and dtypes; None if nothing is said about any tensor."""
        if not shapes or len(shapes) != len(dtypes):
            return None
        names = [str(dtype).removeprefix("torch.") for dtype in dtypes]
        sizes = [tuple(map(int, shape)) for shape in shapes]
        return Facts(tuple(zip(names, sizes, strict=True)))

    @staticmethod
    def of_object(memory: Any) -> Facts | None:
        """From the metadata of an LMCache MemoryObj; None if it does not say."""
        meta = memory.metadata
        if meta.shapes and meta.dtypes:
            return Facts.of(meta.shapes, meta.dtypes)
        if meta.shape is None or meta.dtype is None:
            return None
        return Facts.of([meta.shape], [meta.dtype])

    def encode(self) -> bytes:
        """The facts as they stand in the name of an object, such as `bfloat16[2,30,256,192]`."""
        return ";".join(f"{dtype}{list(shape)}" for dtype, shape in self.tensors).encode()


@dataclass(frozen=True)
class Named:
    """A KDN key, and for a layout object its layout and number of tokens."""

    key: Key
    layout: Layout | None = None
    token_count: int = 0

    @property
    def hash(self) -> bytes:
        """The 32 bytes that stand for the chunk in a MATCH."""
        return self.key.data[8:40]


def name_of(key: Any, facts: Facts, tag: str = "") -> Named:
    """The KDN object that an LMCache ObjectKey stands for.

    With a `tag` the bytes are encoded in a way that only the tag names: `facts` then say nothing
    about them, and are left out.
    """
    identity = tag.encode() if tag else facts.encode()
    name = b"".join((PREFIX, *map(_measured, (*_fields(key), identity, b"tag" if tag else b""))))
    described = None if tag else layout_of(facts)
    if described is None:
        return Named(Key.opaque(name))
    layout, tokens = described
    digest = hashlib.sha256(name).digest()
    return Named(Key.layout(digest, layout.id, layout.whole()), layout, tokens)


def _fields(key: Any) -> tuple[bytes, ...]:
    numbers = f"{key.kv_rank:08x}@{key.object_group_id:x}".encode()
    return (key.model_name.encode(), numbers, key.cache_salt.encode(), bytes(key.chunk_hash))


def _measured(field: bytes) -> bytes:
    return len(field).to_bytes(4, "little") + field


@lru_cache(maxsize=LAYOUTS_CACHED)
def layout_of(facts: Facts) -> tuple[Layout, int] | None:
    """The layout of an object and its tokens, or None where the axes are not certain.

    LMCache's MP objects are `[planes…, token, hidden]`, one tensor per kernel group: K of all
    layers, then V of all layers (one of both for MLA). Each plane becomes a layer of which KDN
    knows the bytes per token; it is not told where heads are, since LMCache does not say.
    """
    tokens = {shape[-2] for _, shape in facts.tensors if len(shape) in (3, 4)}
    if any(len(shape) not in (3, 4) for _, shape in facts.tensors) or len(tokens) != 1:
        return None
    token_count = tokens.pop()
    if not 1 <= token_count <= TOKENS_MAX or any(d not in _DTYPES for d, _ in facts.tensors):
        return None
    groups: list[OpaqueGroup] = []
    first = 0
    try:
        for dtype, shape in facts.tensors:
            planes = shape[0] * (shape[1] if len(shape) == 4 else 1)
            bytes_per_token = shape[-1] * _DTYPES[dtype][1]
            groups.append(OpaqueGroup(tuple(range(first, first + planes)), bytes_per_token))
            first += planes
        layout = Layout(_DTYPES[facts.tensors[0][0]][0], tuple(groups))
        layout.whole()
    except FieldError:
        return None
    return layout, token_count
