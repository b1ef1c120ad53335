"""Memory for tensors in large pieces, which the kernel gives in huge pages: many times quicker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

# From here on numpy asks the kernel for huge pages; torch never does.
PIECE_BYTES = 4 << 20
ALIGNMENT = 64


def empty_bytes(count: int) -> torch.Tensor:
    """`count` bytes on the CPU, aligned as torch aligns its own."""
    memory = torch.from_numpy(np.empty(count + ALIGNMENT, np.uint8))
    start = -memory.data_ptr() % ALIGNMENT
    return memory[start : start + count]


def empty_tensors(
    shapes: Sequence[tuple[tuple[int, ...], torch.dtype, torch.device]],
) -> list[torch.Tensor]:
    """A tensor of each shape; those on the CPU share pieces with their neighbours.

    A piece is freed with the last of its tensors; small ones share one of PIECE_BYTES or so.
    """
    found: list[torch.Tensor] = []
    sizes = [_padded_bytes(shape, dtype) for shape, dtype, _ in shapes]
    piece, left = torch.empty(0, dtype=torch.uint8), 0
    for number, (shape, dtype, device) in enumerate(shapes):
        if device.type != "cpu":
            found.append(torch.empty(shape, dtype=dtype, device=device))
            continue
        size = sizes[number]
        if left < size:
            left = _piece_bytes(sizes[number:])
            piece = empty_bytes(left)
        start = len(piece) - left
        length = torch.Size(shape).numel() * dtype.itemsize
        found.append(piece[start : start + length].view(dtype).view(shape))
        left -= size
    return found


def _padded_bytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return -(-torch.Size(shape).numel() * dtype.itemsize // ALIGNMENT) * ALIGNMENT


def _piece_bytes(sizes: Sequence[int]) -> int:
    """As many of the next tensors as make a piece, the first in any case."""
    total = 0
    for size in sizes:
        total += size
        if total >= PIECE_BYTES:
            break
    return total
