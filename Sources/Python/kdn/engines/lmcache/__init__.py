"""KDN as an L2 cache of LMCache: the adapter that `lmcache server` loads as a plugin.

    lmcache server ... --l2-adapter '{"type": "plugin", "module_path": "kdn.engines.lmcache",
      "class_name": "KDNL2Adapter", "adapter_params": {"address": "127.0.0.1:9440"}}'
"""

from kdn.engines.lmcache.adapter import KDNL2Adapter
from kdn.engines.lmcache.settings import KDNL2AdapterConfig

__all__ = ["KDNL2Adapter", "KDNL2AdapterConfig"]
