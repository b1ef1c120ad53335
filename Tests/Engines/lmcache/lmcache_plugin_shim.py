"""A pytest plugin that runs LMCache's test of its RESP adapter on KDN's adapter, unchanged.

It stands in for the two classes that the test makes: the adapter around the native client, and the
configuration that the factory turns into an adapter. KDN_ADDRESS says where the daemon is.
"""

from __future__ import annotations

from typing import Any

import lmcache.lmcache_redis as native
from lmcache.v1.distributed.l2_adapters import native_connector_l2_adapter, resp_l2_adapter
from lmcache.v1.distributed.l2_adapters.plugin_l2_adapter import PluginL2AdapterConfig

from kdn.engines.lmcache import KDNL2Adapter


def adapter(_client: Any) -> KDNL2Adapter:
    return KDNL2Adapter({})


def configuration(**_settings: Any) -> PluginL2AdapterConfig:
    return PluginL2AdapterConfig("kdn.engines.lmcache", "KDNL2Adapter")


native.LMCacheRedisClient = lambda host, port, workers: None
native_connector_l2_adapter.NativeConnectorL2Adapter = adapter
resp_l2_adapter.RESPL2AdapterConfig = configuration
