"""KDN as SGLang's HiCache storage: `--hicache-storage-backend dynamic`, class KDNHiCacheStorage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdn.engines.sglang.storage import KDNHiCacheStorage as KDNHiCacheStorage

__all__ = ["KDNHiCacheStorage"]


def __getattr__(name: str) -> Any:
    """Imports the backend on first use: it needs SGLang, which the settings do not."""
    if name == "KDNHiCacheStorage":
        from kdn.engines.sglang.storage import KDNHiCacheStorage

        return KDNHiCacheStorage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
