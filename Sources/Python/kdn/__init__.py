"""Client of KDN, the Knowledge Delivery Network: KV caches of LLMs, stored and delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdn.aio import AsyncClient, AsyncLease
from kdn.client import Client, Lease
from kdn.compose import BlendPiece, Composed, PiecePlace
from kdn.documents import Document, DocumentListing, Resolved
from kdn.edits import Edit, ListedEdit, Materialised, MaterialState
from kdn.errors import (
    ConnectionLost,
    CorruptPayload,
    DeadlineExceeded,
    FieldError,
    KDNError,
    LeaseExpired,
    LinkUnavailable,
    ProtocolError,
    ServerError,
    Status,
)
from kdn.keys import Key, Part, chain_root, chunk_hashes, document_root
from kdn.layouts import AttentionGroup, LatentGroup, Layout, OpaqueGroup
from kdn.leased import Leased
from kdn.link import Link
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
from kdn.token_texts import FoundText, TokenTexts
from kdn.work import JobFacts, JobHold, JobState, JobStatus, TakenJob

if TYPE_CHECKING:
    from kdn.calibration import calibrate as calibrate
    from kdn.engines.transformers import learn as learn
    from kdn.engines.transformers import retrieve as retrieve
    from kdn.engines.transformers_blend import blend as blend
    from kdn.engines.transformers_blend import forget_document as forget
    from kdn.engines.transformers_blend import learn_document as learn_document

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AsyncLease",
    "AttentionGroup",
    "BlendPiece",
    "Client",
    "Composed",
    "ConnectionLost",
    "CorruptPayload",
    "Counters",
    "DeadlineExceeded",
    "Document",
    "DocumentListing",
    "Edit",
    "FieldError",
    "FoundText",
    "Get",
    "GetResult",
    "JobFacts",
    "JobHold",
    "JobState",
    "JobStatus",
    "KDNError",
    "Key",
    "LatentGroup",
    "Layout",
    "Lease",
    "LeaseExpired",
    "Leased",
    "Link",
    "LinkUnavailable",
    "ListedEdit",
    "Match",
    "MaterialState",
    "Materialised",
    "MissCause",
    "ObjectVerifier",
    "OpaqueGroup",
    "Part",
    "PiecePlace",
    "Prefetch",
    "ProtocolError",
    "Purged",
    "Put",
    "PutResult",
    "Resolved",
    "RoPE",
    "ServerError",
    "Status",
    "TakenJob",
    "Tiers",
    "TokenTexts",
    "chain_root",
    "chunk_hashes",
    "document_root",
]


_BLENDING = {"blend": "blend", "forget": "forget_document", "learn_document": "learn_document"}


def __getattr__(name: str) -> Any:
    """Imports what works with models on first use: it needs torch, which the client does not."""
    if name in ("learn", "retrieve"):
        from kdn.engines import transformers

        return getattr(transformers, name)
    if name in _BLENDING:
        from kdn.engines import transformers_blend

        return getattr(transformers_blend, _BLENDING[name])
    if name == "calibrate":
        from kdn.calibration import calibrate

        return calibrate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
