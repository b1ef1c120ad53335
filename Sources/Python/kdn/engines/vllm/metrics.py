"""The connector's counters in the classes that vLLM logs and exports them by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm.distributed.kv_transfer.kv_connector.v1.metrics import (
    KVConnectorPromMetrics,
    KVConnectorStats,
)

from kdn.engines.vllm.stats import MEANINGS, summed

if TYPE_CHECKING:
    from vllm.config import VllmConfig


class KDNStats(KVConnectorStats):
    """Counts of one interval: `data` maps a counter's name to its increase."""

    def reset(self) -> None:
        """Forgets what was counted."""
        self.data = {}

    def aggregate(self, other: KVConnectorStats) -> KDNStats:
        """Adds another rank's or interval's counts to these."""
        self.data = summed(self.data, other.data)
        return self

    def reduce(self) -> dict[str, int | float]:
        """What the log's line says."""
        return dict(self.data)

    def is_empty(self) -> bool:
        """Whether nothing was counted."""
        return not any(self.data.values())


class KDNPromMetrics(KVConnectorPromMetrics):
    """One Prometheus counter for each of the connector's, by engine."""

    def __init__(
        self,
        vllm_config: VllmConfig,
        metric_types: dict[Any, Any],
        labelnames: list[str],
        per_engine_labelvalues: dict[int, list[object]],
    ) -> None:
        super().__init__(vllm_config, metric_types, labelnames, per_engine_labelvalues)
        self._counters: dict[str, dict[int, Any]] = {}
        for name, meaning in MEANINGS.items():
            metric = self._counter_cls(f"vllm:kdn_{name}", meaning, labelnames=labelnames)
            self._counters[name] = {
                engine: metric.labels(*values) for engine, values in per_engine_labelvalues.items()
            }

    def observe(self, transfer_stats_data: dict[str, Any], engine_idx: int = 0) -> None:
        """Adds an interval's counts; names that are not known, of other versions, are left."""
        for name, count in transfer_stats_data.items():
            if name in self._counters and count:
                self._counters[name][engine_idx].inc(count)
