"""KDN for vLLM: `--kv-transfer-config '{"kv_connector":"KDNConnector",…}'`, and a tier.

Importing the package imports neither vLLM nor torch: both come with the class that is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdn.engines.vllm.connector import KDNConnector as KDNConnector
    from kdn.engines.vllm.tiering import KDNTier as KDNTier

__all__ = ["KDNConnector", "KDNTier"]


def __getattr__(name: str) -> Any:
    if name == "KDNConnector":
        from kdn.engines.vllm.connector import KDNConnector

        return KDNConnector
    if name == "KDNTier":
        from kdn.engines.vllm.tiering import KDNTier

        return KDNTier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
