"""vLLM's TieringOffloadingSpec on a machine without a GPU: only the copies are replaced.

vLLM's own worker copies between GPU and host memory by CUDA or XPU streams and refuses others.
Here blocks of the CPU's KV cache are copied instead, at once; connector, scheduler, manager,
primary tier and shared memory region are vLLM's.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.v1.kv_offload.base import OffloadingWorker, TransferResult
from vllm.v1.kv_offload.cpu.shared_offload_region import SharedOffloadRegion
from vllm.v1.kv_offload.tiering.spec import TieringOffloadingSpec


class HostWorker(OffloadingWorker):
    """Copies whole blocks between the engine's KV cache and rows of the region."""

    def __init__(self, kv_caches: Any, region: SharedOffloadRegion) -> None:
        self._region = region
        self._blocks = [t.tensor.view(torch.int8) for t in kv_caches.tensors]
        self._rows = [
            region.create_next_worker_view(t.page_size_bytes) for t in kv_caches.tensors
        ]
        self._finished: list[TransferResult] = []

    def submit_store(self, job_id: int, src_spec: Any, dst_spec: Any) -> bool:
        self._copy(job_id, self._blocks, src_spec.block_ids, self._rows, dst_spec.chunk_ids)
        return True

    def submit_load(
        self, job_id: int, src_spec: Any, dst_spec: Any, expedited: bool = False
    ) -> bool:
        self._copy(job_id, self._rows, src_spec.chunk_ids, self._blocks, dst_spec.block_ids)
        return True

    def _copy(self, job_id: int, sources: Any, froms: Any, targets: Any, tos: Any) -> None:
        assert len(froms) == len(tos), "one block a chunk"
        copied = 0
        for source, target in zip(sources, targets, strict=True):
            for first, second in zip(froms, tos, strict=True):
                target[int(second)].copy_(source[int(first)])
                copied += target[int(second)].numel()
        self._finished.append(TransferResult(job_id, True, copied, 0.0))

    def get_finished(self) -> list[TransferResult]:
        finished, self._finished = self._finished, []
        return finished

    def wait(self, job_ids: set[int]) -> None:
        return

    def shutdown(self) -> None:
        self._rows = []
        self._region.cleanup()


class HostTieringSpec(TieringOffloadingSpec):
    """The tiering spec with that worker."""

    def get_worker(self, kv_caches: Any) -> OffloadingWorker:
        if self._worker is None:
            region = SharedOffloadRegion(
                engine_id=self._engine_id, num_chunks=self.num_chunks, rank=0,
                kv_bytes_per_chunk=self.kv_bytes_per_chunk,
                cpu_page_size=self.cpu_page_size_per_worker,
            )
            self._worker = HostWorker(kv_caches, region)
        return self._worker
