"""An adapter on a real daemon, in a namespace of each test's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

# Before LMCache is loaded: nothing is to be reported to anyone.
os.environ.setdefault("LMCACHE_TRACK_USAGE", "false")

import pytest
from lmcache_parts import Driver

from kdn import Client
from kdn.engines.lmcache import KDNL2Adapter


@pytest.fixture
def adapters(kdnd: Any) -> Iterator[Callable[..., Driver]]:
    """Makes adapters on the shared daemon, whose objects are forgotten before and after."""
    made: list[KDNL2Adapter] = []

    def make(l1_memory_desc: Any = None, **settings: Any) -> Driver:
        adapter = KDNL2Adapter({"address": kdnd.tcp, **settings}, l1_memory_desc=l1_memory_desc)
        made.append(adapter)
        return Driver(adapter)

    with Client(kdnd.tcp) as client:
        client.purge(namespace=True)
        yield make
        for adapter in made:
            adapter.close()
        client.purge(namespace=True)


@pytest.fixture
def driver(adapters: Callable[..., Driver]) -> Driver:
    return adapters()
