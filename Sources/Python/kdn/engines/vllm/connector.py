"""KDNConnector: vLLM's connector interface, handed on to the scheduler's and the worker's side."""

from __future__ import annotations

import functools
import logging
import math
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorMetadata,
    KVConnectorRole,
    KVConnectorTransferResults,
    KVConnectorWorkerMetadata,
    SupportsHMA,
)

from kdn.engines._rope import UnsupportedModel
from kdn.engines.vllm.events import StoredEvents
from kdn.engines.vllm.facts import read_facts
from kdn.engines.vllm.hashing import RequestChain, request_facts
from kdn.engines.vllm.identity import LoraDigests, model_name
from kdn.engines.vllm.loads import Source
from kdn.engines.vllm.lookups import Lookups
from kdn.engines.vllm.metadata import StepPlan, StepReport
from kdn.engines.vllm.metrics import KDNPromMetrics, KDNStats
from kdn.engines.vllm.pages import Pages
from kdn.engines.vllm.planes import describe
from kdn.engines.vllm.saves import SaveQueue
from kdn.engines.vllm.scheduler import SchedulerSide
from kdn.engines.vllm.settings import Settings
from kdn.engines.vllm.stats import Counts
from kdn.engines.vllm.worker import WAITERS, RefusingWorker, WorkerSide, close_quietly

if TYPE_CHECKING:
    import torch
    from vllm.config import VllmConfig
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.kv_cache_interface import KVCacheConfig

logger = logging.getLogger("vllm.kdn")
Value = TypeVar("Value")


class KDNMetadata(StepPlan, KVConnectorMetadata):
    """A step's plan, as vLLM carries it to the workers."""


class KDNWorkerReport(StepReport, KVConnectorWorkerMetadata):
    """A worker's report, as vLLM carries it to the scheduler."""

    def aggregate(self, other: KVConnectorWorkerMetadata) -> KDNWorkerReport:
        """Both ranks' reports as one."""
        assert isinstance(other, KDNWorkerReport)
        merged = self.merged(other)
        return KDNWorkerReport(merged.ranks, merged.steps, merged.stored)


def _miss(value: Callable[[], Value]) -> Callable[[Callable[..., Value]], Callable[..., Value]]:
    """Turns trouble in a call of vLLM's into `value()`, which means a miss, and one log line."""

    def decorate(call: Callable[..., Value]) -> Callable[..., Value]:
        @functools.wraps(call)
        def guarded(*arguments: Any, **named: Any) -> Value:
            try:
                return call(*arguments, **named)
            except Exception:
                logger.exception("KDN: %s failed; it counts as a miss", call.__name__)
                return value()

        return guarded

    return decorate


def _nothing() -> None:
    return None


class KDNConnector(KVConnectorBase_V1, SupportsHMA):
    """Keeps vLLM's KV cache in KDN: stores chunks of prompts, loads those that others stored.

    Wrong settings raise FieldError when the engine starts. A model whose KV cannot be described
    turns the connector off with one warning. After that nothing raises: trouble is a miss.
    """

    def __init__(
        self, vllm_config: VllmConfig, role: KVConnectorRole, kv_cache_config: KVCacheConfig
    ) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        transfer = self._kv_transfer_config
        self._settings = Settings.of(transfer.kv_connector_extra_config)
        self._counts = Counts()
        self._generation = ""
        self._bad_blocks: set[int] = set()
        self._scheduler: SchedulerSide | None = None
        self._worker: WorkerSide | RefusingWorker | None = None
        if role == KVConnectorRole.WORKER:
            self._worker = RefusingWorker()
        self._events = StoredEvents(_wants_events(vllm_config))
        self._clients = [self._settings.client()]
        # A load that fails must be computed, whatever the default of this vLLM is.
        transfer.kv_load_failure_policy = "recompute"
        try:
            self._facts = read_facts(vllm_config, kv_cache_config, *self._ranks())
            self._description = describe(
                self._facts, self._settings.chunk_tokens, self._settings.mode
            )
            if role == KVConnectorRole.SCHEDULER:
                self._scheduler = self._scheduler_side()
        except UnsupportedModel as error:
            self._turn_off(error)

    def _turn_off(self, error: Exception) -> None:
        self._scheduler = None
        logger.warning("KDN is off for this model, nothing is stored or loaded: %s", error)

    def _ranks(self) -> tuple[int, int]:
        """This worker's tensor and pipeline parallel rank; the scheduler speaks for the first."""
        if self._role == KVConnectorRole.SCHEDULER:
            return 0, 0
        from vllm.distributed import parallel_state

        tensor = parallel_state.get_tensor_model_parallel_rank()
        return tensor, parallel_state.get_pp_group().rank_in_group

    @property
    def _by_blocks(self) -> bool:
        """Whether a failed load can be told by blocks: what is before them must all be there."""
        return len(self._kv_cache_config.kv_cache_groups) == 1 and not self._description.sliding

    @property
    def requires_kv_delivery(self) -> bool:
        """A chunk that is not stored is a later miss, nothing more."""
        return False

    @classmethod
    def requires_piecewise_for_cudagraph(cls, extra_config: dict[str, Any]) -> bool:
        """Whether the connector's calls between layers must not be captured."""
        return extra_config.get("kdn_load") == "layerwise"

    # The scheduler's side

    def _scheduler_side(self) -> SchedulerSide:
        settings, transfer = self._settings, self._kv_transfer_config
        name = model_name(self._vllm_config, settings.model_name)
        self._loras = LoraDigests()
        description = self._description
        logger.info(
            "KDN at %s, namespace %s: %s layout%s, chunks of %d tokens, model %s",
            settings.address, settings.namespace, description.mode,
            f" ({description.reason})" if description.reason else "",
            description.chunk_tokens, name,
        )

        def new_chain(request: Any) -> RequestChain | None:
            facts = request_facts(request, self._loras)
            if facts is None or getattr(request, "resumable", False):
                return None
            return RequestChain(name + self._generation, description, facts)

        def block_ids(request_id: str) -> Any:
            return self._kv_cache_manager.get_block_ids(request_id)

        parallel = self._vllm_config.parallel_config
        block = self._vllm_config.cache_config.block_size
        return SchedulerSide(
            description,
            Lookups(self._clients[0], description, settings.lookup_timeout),
            new_chain,
            block_ids,
            block_tokens=math.lcm(block, *(plane.block_tokens for plane in description.planes)),
            lookup_timeout=settings.lookup_timeout,
            loads=transfer.is_kv_consumer,
            saves=transfer.is_kv_producer,
            layerwise=(
                settings.load == "layerwise" and self._by_blocks and settings.takes_layers
            ),
            prompt_only=settings.save == "prompt",
            ranks=parallel.tensor_parallel_size * parallel.pipeline_parallel_size,
            counts=self._counts,
            events=self._events,
        )

    @_miss(_nothing)
    def on_new_request(self, request: Any) -> None:
        if self._scheduler is not None:
            self._scheduler.arrived(request)

    @_miss(lambda: (0, False))
    def get_num_new_matched_tokens(
        self, request: Any, num_computed_tokens: int
    ) -> tuple[int | None, bool]:
        if self._scheduler is None:
            return 0, False
        return self._scheduler.matched_tokens(request, num_computed_tokens)

    @_miss(_nothing)
    def update_state_after_alloc(
        self, request: Any, blocks: Any, num_external_tokens: int
    ) -> None:
        if self._scheduler is not None:
            self._scheduler.allocated(request, blocks.get_block_ids(), num_external_tokens)

    def build_connector_meta(self, scheduler_output: SchedulerOutput) -> KVConnectorMetadata:
        plan = self._plan(scheduler_output)
        return KDNMetadata(**vars(plan))

    @_miss(StepPlan)
    def _plan(self, scheduler_output: SchedulerOutput) -> StepPlan:
        return StepPlan() if self._scheduler is None else self._scheduler.plan(scheduler_output)

    @_miss(_nothing)
    def update_connector_output(self, connector_output: Any) -> None:
        if self._scheduler is not None:
            report = connector_output.kv_connector_worker_meta
            self._scheduler.reported(
                connector_output.invalid_block_ids or (),
                connector_output.failed_recving or (),
                connector_output.finished_recving or (),
                report if isinstance(report, StepReport) else None,
            )

    def request_finished(
        self, request: Any, block_ids: list[int]
    ) -> tuple[bool, dict[str, Any] | None]:
        return self.request_finished_all_groups(request, (block_ids,))

    @_miss(lambda: (False, None))
    def request_finished_all_groups(
        self, request: Any, block_ids: tuple[list[int], ...]
    ) -> tuple[bool, dict[str, Any] | None]:
        held = self._scheduler is not None and self._scheduler.finished(request, block_ids)
        return held, None

    @_miss(tuple)
    def take_events(self) -> Iterable[Any]:
        return self._events.take()

    def reset_cache(self) -> bool | None:
        """Nothing stored before is loaded again by this engine: its weights may have changed.

        Other engines' chunks are not touched; what this one stores from now on is its own. With
        `kdn_after_reset` keep nothing changes: whoever says so answers for the weights.
        """
        if self._settings.after_reset == "keep":
            return True
        self._generation = f"/{uuid.uuid4().hex}"
        if self._scheduler is not None:
            self._scheduler.reset()
        return True

    # The worker's side

    def register_kv_caches(self, kv_caches: dict[str, torch.Tensor]) -> None:
        if not hasattr(self, "_description"):
            return
        try:
            layers = self._vllm_config.compilation_config.static_forward_context
            pages = Pages(self._description, self._facts, kv_caches, layers)
        except UnsupportedModel as error:
            self._turn_off(error)
            return
        settings = self._settings
        # Loads, loads that wait, and stores must not wait for each other's connections.
        patient, storing = replace(settings, streams=WAITERS).client(), settings.client()
        self._clients += [patient, storing]
        client = self._clients[0]
        source = Source(
            client, self._description, pages, self._counts, settings.timeout, settings.deadline,
            settings.prefill_rate,
        )
        noted = self._events.wanted
        queue = SaveQueue(
            storing, self._counts, settings.save_queue_bytes, settings.timeout, noted
        )
        self._worker = WorkerSide(
            source, replace(source, client=patient), queue, settings.streams,
            by_blocks=self._by_blocks, note_stored=noted,
        )

    @_miss(_nothing)
    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        if self._worker is not None:
            self._worker.start_loads(self._metadata())

    @_miss(_nothing)
    def wait_for_layer_load(self, layer_name: str) -> None:
        if self._worker is not None:
            self._worker.wait_layer(layer_name)

    @_miss(_nothing)
    def save_kv_layer(
        self, layer_name: str, kv_layer: torch.Tensor, attn_metadata: Any, **kwargs: Any
    ) -> None:
        # On an accelerator the kernels are still under way here: pages are copied at the end.
        on_cpu = kv_layer.device.type == "cpu"
        if self._worker is not None and on_cpu and self._settings.load == "layerwise":
            self._worker.save_layer(self._metadata(), layer_name)

    @_miss(_nothing)
    def wait_for_save(self) -> None:
        if self._worker is not None:
            self._worker.finish(self._metadata())

    def _metadata(self) -> StepPlan:
        metadata = self._get_connector_metadata()
        assert isinstance(metadata, KDNMetadata)
        return metadata

    @_miss(KVConnectorTransferResults)
    def get_transfer_results(self, finished_req_ids: set[str]) -> KVConnectorTransferResults:
        if self._worker is None:
            return KVConnectorTransferResults()
        results = self._worker.results()
        self._bad_blocks = results.bad_blocks
        return KVConnectorTransferResults(results.sent, results.received, results.failed)

    def get_finished(self, finished_req_ids: set[str]) -> tuple[set[str] | None, set[str] | None]:
        results = self.get_transfer_results(finished_req_ids)
        return results.finished_sending or None, results.finished_recving or None

    def get_block_ids_with_load_errors(self) -> set[int]:
        bad, self._bad_blocks = self._bad_blocks, set()
        return bad

    @_miss(_nothing)
    def build_connector_worker_meta(self) -> KVConnectorWorkerMetadata | None:
        report = self._worker.report() if self._worker is not None else None
        return None if report is None else KDNWorkerReport(**vars(report))

    # Both sides

    def get_kv_connector_stats(self) -> KDNStats | None:
        counted = self._counts.take()
        return KDNStats(data=counted) if counted else None

    @classmethod
    def build_kv_connector_stats(cls, data: dict[str, Any] | None = None) -> KDNStats:
        return KDNStats(data=dict(data or {}))

    @classmethod
    def build_prom_metrics(
        cls,
        vllm_config: VllmConfig,
        metric_types: dict[Any, Any],
        labelnames: list[str],
        per_engine_labelvalues: dict[int, list[object]],
    ) -> KDNPromMetrics:
        return KDNPromMetrics(vllm_config, metric_types, labelnames, per_engine_labelvalues)

    @_miss(_nothing)
    def shutdown(self) -> None:
        """Stores what was copied, within the time of `kdn_timeout`, and closes."""
        scheduler, self._scheduler = self._scheduler, None
        worker, self._worker = self._worker, None
        if scheduler is not None:
            scheduler.close()
            self._loras.close()
        if worker is not None:
            worker.close(self._settings.timeout)
        for client in self._clients:
            close_quietly(client)


def _wants_events(vllm_config: VllmConfig) -> bool:
    config = getattr(vllm_config, "kv_events_config", None)
    return bool(config is not None and config.enable_kv_cache_events)
