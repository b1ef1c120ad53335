"""Batches of pages: which keys their objects have, and how they move to and from a pool."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from kdn.engines.sglang.metrics import Metrics
from kdn.engines.sglang.naming import PageNames
from kdn.engines.sglang.pools import PagePort
from kdn.engines.sglang.runtime import weights_version
from kdn.engines.sglang.targets import outgoing_view, receiving
from kdn.engines.sglang.transfers import Transfers
from kdn.keys import Key


class Pages:
    """Moves pages by SGLang's hashes. Raises FieldError for batches that are not consistent."""

    def __init__(self, transfers: Transfers, metrics: Metrics) -> None:
        self._transfers = transfers
        self._metrics = metrics

    def there(self, names: Sequence[PageNames], keys: Sequence[str]) -> list[bool]:
        """Which pages are there, each with all of its objects."""
        return _by_page(self._transfers.exist(_object_keys(names, keys)), len(names))

    def load(self, port: PagePort | None, keys: Sequence[str], indices: Any) -> list[bool]:
        """Receives pages to their host indices; ends behind the first step that lacks one.

        What lies behind a gap is of no use to SGLang. The contents of pages that are False are
        undefined.
        """
        started = time.perf_counter()
        loaded: list[bool] = []
        for some, places in self._steps(port, keys, indices):
            assert port is not None
            pieces, place = port.incoming(places)
            objects = self._transfers.load(_object_keys(port.names, some), pieces)
            outcome = _by_page(objects, len(port.names))
            for page, ok in enumerate(outcome):
                if ok:
                    place(page)
            loaded += outcome
            if not all(outcome):
                break
        self._metrics.loaded(loaded.count(True), _page_bytes(port), started)
        return loaded + [False] * (len(keys) - len(loaded))

    def save(self, port: PagePort | None, keys: Sequence[str], indices: Any) -> list[bool]:
        """Stores pages from their host indices; ends behind the first step that lacks one."""
        started = time.perf_counter()
        saved: list[bool] = []
        for some, places in self._steps(port, keys, indices):
            assert port is not None
            object_keys = _object_keys(port.names, some)
            objects = self._transfers.save(object_keys, port.outgoing(places))
            saved += _by_page(objects, len(port.names))
            if not all(saved):
                break
        self._metrics.saved(saved.count(True), _page_bytes(port), started)
        return saved + [False] * (len(keys) - len(saved))

    def fetch_flat(self, names: PageNames, key: str) -> Any:
        """A page as a new tensor of bytes, None if it is a miss."""
        data = self._transfers.fetch(names.key(key, weights_version()))
        return None if data is None else receiving(None, data)[1]()

    def load_flat(
        self, names: PageNames, keys: Sequence[str], targets: Any, sizes: Any
    ) -> list[Any]:
        """Receives pages into tensors or to addresses; None for each that is a miss."""
        prepared = [receiving(target, size) for target, size in zip(targets, sizes, strict=True)]
        object_keys = _object_keys((names,), keys)
        loaded = self._transfers.load(object_keys, [[view] for view, _ in prepared])
        return [finish() if ok else None for ok, (_, finish) in zip(loaded, prepared)]

    def save_flat(self, names: PageNames, keys: Sequence[str], sources: Any, sizes: Any) -> bool:
        """Stores pages out of tensors or from addresses; True if all are there afterwards."""
        views = [outgoing_view(source, size) for source, size in zip(sources, sizes, strict=True)]
        saved = self._transfers.save(_object_keys((names,), keys), [[view] for view in views])
        return bool(saved) and all(saved)

    def _steps(
        self, port: PagePort | None, keys: Sequence[str], indices: Any
    ) -> list[tuple[Sequence[str], Any]]:
        """The batch in steps that the port can hold in memory; none if they do not fit it."""
        if port is None or indices is None or len(indices) != len(keys) * port.page_tokens:
            self._transfers.counters.add(errors=1)
            return []
        step, tokens = port.window_pages, port.page_tokens
        return [
            (keys[at : at + step], indices[at * tokens : (at + step) * tokens])
            for at in range(0, len(keys), step)
        ]


def _object_keys(names: Sequence[PageNames], keys: Sequence[str]) -> list[Key]:
    version = weights_version()
    return [name.key(key, version) for key in keys for name in names]


def _by_page(objects: Sequence[bool], count: int) -> list[bool]:
    return [all(objects[at : at + count]) for at in range(0, len(objects), count)]


def _page_bytes(port: PagePort | None) -> int:
    return 0 if port is None else port.page_bytes
