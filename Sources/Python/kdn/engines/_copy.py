"""Copies between tensors that do not wake torch's thread team."""

from __future__ import annotations

import numpy
import torch


def copy(target: torch.Tensor, source: torch.Tensor) -> None:
    """Copies `source` into `target`, of the same shape and dtype.

    On the CPU by numpy, in this thread: torch spreads even a copy of 100 KB over its OpenMP team,
    whose threads spin against the ones that receive the next bytes (measured: 50 times slower).
    """
    if target.device.type == source.device.type == "cpu" and source.stride(-1) == 1:
        numpy.copyto(target.view(torch.uint8).numpy(), source.view(torch.uint8).numpy())
    else:
        target.copy_(source)
