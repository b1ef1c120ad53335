"""Names of pages: which bytes a page of SGLang's is, so that different bytes never share a key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdn.keys import Key

_DOMAIN = b"kdn.sglang/1\0"


@dataclass(frozen=True)
class Shard:
    """Which of the ranks' slices of a page an object holds; `count` slices make the page.

    Pages that every rank holds in full have no shard (None), so that any rank finds them.
    """

    index: int
    count: int


@dataclass(frozen=True)
class PageNames:
    """Keys of one pool's pages, of one slice of them.

    `facts` say everything that decides the bytes of a page but its tokens: the model's weights,
    how the engine computes, which pool, its layout, dtype, page size and layers, and the slice.
    SGLang's page hash says the tokens before and in it, and the salt.
    """

    digest: bytes

    @staticmethod
    def of(facts: Mapping[str, Any], shard: Shard | None) -> PageNames:
        """The names under these facts; equal facts give equal names in every process."""
        sliced = None if shard is None else [shard.index, shard.count]
        encoded = json.dumps({**facts, "shard": sliced}, sort_keys=True)
        return PageNames(hashlib.sha256(encoded.encode()).digest())

    def key(self, page: str, weights: str = "") -> Key:
        """The key of the page with this hash, computed by this version of the weights."""
        version = weights.encode()
        length = len(version).to_bytes(4, "little")
        return Key.opaque(b"".join((_DOMAIN, self.digest, length, version, page.encode())))
