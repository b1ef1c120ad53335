"""Imports SGLang's storage and host pools on a machine without a GPU.

SGLang imports triton, torchvision and IPython for work that storage has no part in. Stand-ins
take their places for as long as the imports last, and are gone afterwards, so that nothing else
in the process meets them.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Transformers must see the truth about torchvision, by which it decides what else to import.
_EARLY = ("triton", "IPython")
_LATE = ("torchvision",)
_MODULES = (
    "sglang.srt.mem_cache.storage",
    "sglang.srt.mem_cache.device_pool_info",
    "sglang.srt.mem_cache.pool_host.base",
    "sglang.srt.mem_cache.pool_host.mha",
    "sglang.srt.mem_cache.pool_host.mla",
    "sglang.srt.mem_cache.pool_host.mamba",
    "sglang.srt.mem_cache.memory_pool_host",
    "sglang.srt.mem_cache.radix_cache",
    "sglang.srt.mem_cache.utils",
    "sglang.srt.managers.cache_controller",
    "sglang.srt.mem_cache.deepseek_v4_memory_pool",
    "sglang.srt.observability.metrics_collector",
)


class _Anything:
    """An object that takes whatever it is made of."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.options = options


class _StandIn(types.ModuleType):
    """A module of which every attribute exists; decorators leave what they decorate as it is."""

    __version__ = "3.5.0"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name[0].isupper():
            return type(name, (_Anything,), {})
        return importlib.import_module(f"{self.__name__}.{name}")

    def __call__(self, *args: Any, **options: Any) -> Any:
        if len(args) == 1 and callable(args[0]) and not options:
            return args[0]
        return lambda decorated: decorated


class StandInFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a stand-in for every module of some packages."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.split(".")[0] in self._names:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """There is nothing in it."""


@contextmanager
def _stand_ins(names: tuple[str, ...]) -> Iterator[None]:
    missing = tuple(name for name in names if importlib.util.find_spec(name) is None)
    finder = StandInFinder(missing)
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in list(sys.modules):
            if name.split(".")[0] in missing:
                del sys.modules[name]


def import_sglang() -> None:
    """Imports every module of SGLang that the tests use."""
    with warnings.catch_warnings(), _stand_ins(_EARLY):
        warnings.simplefilter("ignore")
        importlib.import_module("sglang.srt.mem_cache.hicache_storage")
        importlib.import_module("transformers.image_utils")
        with _stand_ins(_LATE):
            for name in _MODULES:
                importlib.import_module(name)
