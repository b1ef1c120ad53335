"""llama.cpp's slot states in KDN: a proxy in front of an unchanged server, or a helper.

    python -m kdn.engines.llamacpp --server http://127.0.0.1:8080 --slots-dir /dev/shm/slots

Without a proxy: `SlotCache.restore_slot` before a request with `id_slot`, `save_slot` after it.
"""

from kdn.engines.llamacpp.cache import Restored, SlotCache
from kdn.engines.llamacpp.identity import UnsupportedServer
from kdn.engines.llamacpp.rules import Timings
from kdn.engines.llamacpp.server import LlamaServer, ServerTrouble
from kdn.engines.llamacpp.settings import ProxySettings, StateSettings
from kdn.engines.llamacpp.store import StoredState

__all__ = [
    "LlamaServer",
    "ProxySettings",
    "Restored",
    "ServerTrouble",
    "SlotCache",
    "StateSettings",
    "StoredState",
    "Timings",
    "UnsupportedServer",
]
