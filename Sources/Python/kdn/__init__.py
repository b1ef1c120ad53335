"""Client of KDN, the Knowledge Delivery Network: KV caches of LLMs, stored and delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdn.aio import AsyncClient, AsyncLease
from kdn.client import Client, Lease
from kdn.documents import Document, DocumentListing, Resolved
from kdn.errors import (
    ConnectionLost,
    CorruptPayload,
    DeadlineExceeded,
    FieldError,
    KDNError,
    ProtocolError,
    ServerError,
    Status,
)
from kdn.keys import Key, Part, chain_root, chunk_hashes, document_root
from kdn.layouts import AttentionGroup, LatentGroup, Layout, OpaqueGroup
from kdn.results import (
    Counters,
    Get,
    GetResult,
    Match,
    MissCause,
    ObjectVerifier,
    Prefetch,
    Purged,
    Put,
    PutResult,
    Tiers,
)
from kdn.rope import RoPE

if TYPE_CHECKING:
    from kdn.engines.transformers import learn as learn
    from kdn.engines.transformers import retrieve as retrieve

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AsyncLease",
    "AttentionGroup",
    "Client",
    "ConnectionLost",
    "CorruptPayload",
    "Counters",
    "DeadlineExceeded",
    "Document",
    "DocumentListing",
    "FieldError",
    "Get",
    "GetResult",
    "KDNError",
    "Key",
    "LatentGroup",
    "Layout",
    "Lease",
    "Match",
    "MissCause",
    "ObjectVerifier",
    "OpaqueGroup",
    "Part",
    "Prefetch",
    "ProtocolError",
    "Purged",
    "Put",
    "PutResult",
    "Resolved",
    "RoPE",
    "ServerError",
    "Status",
    "Tiers",
    "chain_root",
    "chunk_hashes",
    "document_root",
]


def __getattr__(name: str) -> Any:
    """Imports the engine verbs on first use: they need torch, which the client does not."""
    if name in ("learn", "retrieve"):
        from kdn.engines import transformers

        return getattr(transformers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
