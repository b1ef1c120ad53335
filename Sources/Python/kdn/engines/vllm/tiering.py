"""vLLM's tiered offloading with KDN as a tier behind host memory.

`--kv-transfer-config` of vLLM 0.32 and 0.33:

    {"kv_connector": "OffloadingConnector", "kv_role": "kv_both", "kv_connector_extra_config": {
      "spec_name": "TieringOffloadingSpec", "cpu_bytes_to_use": 10737418240, "secondary_tiers": [
        {"type": "KDNTier", "module_path": "kdn.engines.vllm.tiering",
         "address": "127.0.0.1:9440", "model_name": "Qwen3-8B@9c925d64"}]}}

All methods run in the scheduler: none blocks but drain_jobs and shutdown, and none raises but the
constructor, for wrong settings.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar

import vllm
from vllm.logger import init_logger
from vllm.platforms import current_platform
from vllm.v1.kv_offload.base import (
    Locality,
    LookupResult,
    Medium,
    OffloadingCounterMetadata,
    OffloadingEvent,
    RequestOffloadingContext,
)
from vllm.v1.kv_offload.tiering.base import JobResult, SecondaryTierManager

from kdn.engines.vllm.tiering_keys import engine_facts, fingerprint, object_key
from kdn.engines.vllm.tiering_lookup import LookupTable, LookupThread
from kdn.engines.vllm.tiering_settings import TierSettings
from kdn.engines.vllm.tiering_transfers import Done, Job, Transfers

if TYPE_CHECKING:
    from vllm.distributed.kv_transfer.kv_connector.v1.offloading.metrics import (
        OffloadingConnectorStats,
    )

    from kdn.keys import Key

LOOKUPS = "vllm:kv_offload_kdn_lookups"
LOADS = "vllm:kv_offload_kdn_loads"
STORES = "vllm:kv_offload_kdn_stores"
NAMES_KEPT = 65_536

logger = init_logger(__name__)


class KDNTier(SecondaryTierManager):
    """Keeps chunks of the primary tier in KDN, one opaque object each."""

    medium: ClassVar[Medium] = Medium.STORAGE
    tolerates_off_thread_polling: ClassVar[bool] = False

    def __init__(
        self,
        offloading_spec: Any,
        primary_kv_view: memoryview,
        tier_type: str,
        backpressure_detector: Any = None,
        **entries: Any,
    ) -> None:
        """`primary_kv_view` has a row of bytes a chunk; `entries` are those of TierSettings.

        Raises FieldError for wrong settings.
        """
        super().__init__(offloading_spec, primary_kv_view, tier_type, backpressure_detector)
        self._settings = settings = TierSettings.parse(entries)
        self.locality = Locality(settings.locality) if settings.locality else None
        rows, self._row_bytes = primary_kv_view.shape
        self._rows = int(rows)
        self._bytes = primary_kv_view.cast("B")
        self._facts = engine_facts(offloading_spec.config, self._row_bytes)
        self._facts |= {"vllm": vllm.__version__, "device": _device(self._facts)}
        self._name_engine(_doubtful_epoch(self._facts))
        self._events: list[OffloadingEvent] | None = [] if self._wants_events() else None
        self._start()

    def _start(self) -> None:
        settings = self._settings
        self._asker = settings.make_client(1, settings.lookup_timeout)
        self._mover = settings.make_client(settings.streams, settings.timeout)
        table = LookupTable(settings.lookup_timeout, settings.lookup_keys)
        self._lookups = LookupThread(table, self._asker.exists, self._asker.touch)
        pending = settings.pending_bytes or max(1, self._bytes.nbytes // 4)
        self._transfers = Transfers(self._mover, settings.streams, pending, settings.timeout)

    def _wants_events(self) -> bool:
        if not self._settings.enable_kv_events:
            return False
        enabled = bool(self._offloading_spec.kv_events_config.enable_kv_cache_events)
        if not enabled:
            logger.warning("enable_kv_events of the KDN tier is idle: vLLM's KV events are off")
        return enabled

    def _name_engine(self, epoch: bytes) -> None:
        engine = fingerprint(self._settings.model_name, self._facts, epoch)
        # A chunk is looked up again in each step until it is known.
        self.object_key = lru_cache(NAMES_KEPT)(partial(object_key, engine))

    # What vLLM calls

    def lookup(self, key: bytes, req_context: Any) -> LookupResult:
        """RETRY until KDN has said whether it has the chunk, at most for the lookup timeout."""
        name = self.object_key(key)
        found = False if name is None else self._lookups.lookup(name, req_context.req_id)
        if found is None:
            return LookupResult.RETRY
        return LookupResult.HIT if found else LookupResult.MISS

    def submit_store(self, job_metadata: Any) -> None:
        """Queues a store of rows of the primary tier."""
        self._submit(job_metadata, is_load=False)

    def submit_load(self, job_metadata: Any) -> None:
        """Queues a load straight into rows of the primary tier."""
        self._submit(job_metadata, is_load=True)

    def get_finished_jobs(self) -> list[JobResult]:
        """Jobs that ended; a failed part of a load is a failed key, and a miss from now on."""
        return [self._result(done) for done in self._transfers.finished()]

    def on_new_request(self, req_context: Any) -> RequestOffloadingContext:
        """Chunks are stored as they come."""
        return RequestOffloadingContext()

    def on_request_finished(self, req_context: Any) -> None:
        """Forgets what only this request asked for."""
        self._lookups.forget(req_context.req_id)

    def on_schedule_end(self, context: Any) -> None:
        """Sends off the questions of this step."""
        self._lookups.flush()

    def touch(self, keys: Collection[bytes], req_context: Any) -> None:
        """Counts as a use of the chunks in KDN, in the background."""
        names = (self.object_key(key) for key in keys)
        self._lookups.touch(name for name in names if name is not None)

    def drain_jobs(self) -> None:
        """Returns when nothing of this tier touches the primary one.

        vLLM drains to reset its cache, which may be for new weights: unless told to keep them,
        the objects of before are not used again by this engine.
        """
        self._transfers.drain()
        if self._settings.after_reset == "forget":
            self._name_engine(secrets.token_bytes(16))

    def take_events(self) -> Iterable[OffloadingEvent]:
        """Chunks stored since the last call, if events were asked for."""
        events = self._events or []
        if self._events:
            self._events = []
        return events

    def get_stats(self) -> OffloadingConnectorStats | None:
        """Objects by outcome since the last call."""
        from vllm.distributed.kv_transfer.kv_connector.v1.offloading.metrics import (
            OffloadingConnectorStats,
        )

        stats = OffloadingConnectorStats()
        moved = self._transfers.take_counts()
        looked_up = self._lookups.take_counts()
        for name, counts in ((LOOKUPS, looked_up), (LOADS, moved.loads), (STORES, moved.stores)):
            for outcome, count in counts.items():
                if count:
                    stats.increase_counter(name, count, (outcome,))
        return None if stats.is_empty() else stats

    @classmethod
    def build_metric_definitions(cls, extra_config: dict[str, Any]) -> dict[str, Any]:
        """The counters of get_stats."""
        texts = {
            LOOKUPS: "Chunks looked up in KDN, by result: hit, miss, late, overflow.",
            LOADS: "Chunks asked of KDN for loading, by result: loaded, or why not.",
            STORES: "Chunks given to KDN, by result.",
        }
        return {
            name: OffloadingCounterMetadata(documentation=text, labelnames=("result",))
            for name, text in texts.items()
        }

    @classmethod
    def config_info_keys(cls, tier_config: dict[str, Any]) -> tuple[str, ...]:
        """Labels of vLLM 0.33's info metric."""
        return ("kdn_address", "kdn_namespace", "kdn_model_name")

    def config_info(self) -> dict[str, str]:
        """Values of those labels."""
        settings = self._settings
        return {
            "kdn_address": settings.address,
            "kdn_namespace": settings.namespace,
            "kdn_model_name": settings.model_name,
        }

    def shutdown(self) -> None:
        """Ends the threads; waits for calls in flight, at most for their deadlines."""
        self._lookups.close()
        self._transfers.close()
        self._asker.close()
        self._mover.close()
        self._transfers.finished()  # their rows are views of memory that is about to go
        self._bytes.release()

    # Jobs

    def _submit(self, metadata: Any, is_load: bool) -> None:
        ids = getattr(metadata, "chunk_ids", None)
        if ids is None:
            ids = metadata.block_ids
        keys = list(metadata.keys)
        pairs: list[tuple[Key, memoryview]] = []
        for key, chunk in zip(keys, map(int, ids)):
            name = self.object_key(key)
            if name is None or not 0 <= chunk < self._rows:
                break
            first = chunk * self._row_bytes
            pairs.append((name, self._bytes[first : first + self._row_bytes]))
        job = Job(
            metadata.job_id, is_load, [name for name, _ in pairs], [row for _, row in pairs], keys
        )
        self._transfers.submit(job)

    def _result(self, done: Done) -> JobResult:
        job, keys = done.job, done.job.tag
        good = [key for key, is_good in zip(keys, done.good) if is_good]
        succeeded = len(good) == len(keys)
        if job.is_load:
            failed = (name for name, is_good in zip(job.keys, done.good) if not is_good)
            self._lookups.mark_missing(failed)
        elif good and self._events is not None:
            self._events.append(
                OffloadingEvent(
                    keys=good, medium=self.medium, removed=False, locality=self.locality
                )
            )
        return JobResult(
            job_id=job.job_id, success=succeeded,
            successful_keys=tuple(good) if good and not succeeded and job.is_load else None,
            transfer_time=done.seconds, transfer_bytes=done.nbytes,
        )


def _device(facts: dict[str, Any]) -> str:
    """The direct layout is a backend's own, and backends are chosen by the device."""
    if facts["canonical"]:
        return "any"
    try:
        name = current_platform.get_device_name()
    except Exception:
        name = "unknown"
    return f"{current_platform.device_type} {name}"


def _doubtful_epoch(facts: dict[str, Any]) -> bytes:
    """Without a layout's name, or a device's, nobody else's bytes can be trusted."""
    if facts["layout"] is not None and not facts["device"].endswith("unknown"):
        return b""
    logger.warning("the layout of the KV cache is unknown: the KDN tier shares with no one")
    return secrets.token_bytes(16)
