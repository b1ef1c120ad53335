"""Memory for tensors in large pieces: the kernel gives it in huge pages, and once for many uses."""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import torch

from kdn.pages import HUGE_PAGE_BYTES, from_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

# numpy asks the kernel for huge pages from 4 MiB on; torch never does.
PIECE_BYTES = 16 << 20
ALIGNMENT = 64
# What is kept of pieces that nobody uses any more: fresh memory costs about a tenth of the time
# that decoding takes to fill it.
SPARE_BYTES_MAX = 64 << 20


class Pieces:
    """Memory that is given out, and taken back once the last tensor in it is gone."""

    def __init__(self, spare_bytes_max: int = SPARE_BYTES_MAX) -> None:
        self.spare_bytes_max = spare_bytes_max
        # Pieces come back whenever memory is freed, even within a call of this thread: no lock,
        # single steps of a deque only.
        self._spare: deque[Bytes] = deque()

    @property
    def spare_bytes(self) -> int:
        """How much of it nobody uses."""
        return sum(piece.size for piece in list(self._spare))

    def take(self, count: int) -> torch.Tensor:
        """`count` bytes, aligned to huge pages, of memory that is twice as long at most."""
        size = -(-count // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES + HUGE_PAGE_BYTES
        piece = self._found(size)
        if piece is None:
            piece = np.empty(size, np.uint8)
        # This very array is what the tensor holds on to, and every view of the tensor with it. A
        # slice of it would not do: numpy has slices hold on to the piece, past all that is between.
        given = from_page(piece, count)
        weakref.finalize(given, self._give_back, piece).atexit = False
        return torch.from_numpy(given)

    def _found(self, size: int) -> Bytes | None:
        for _ in range(len(self._spare)):
            try:
                piece = self._spare.popleft()
            except IndexError:
                return None
            if size <= piece.size <= 2 * size:
                return piece
            self._spare.append(piece)
        return None

    def _give_back(self, piece: Bytes) -> None:
        if piece.size < HUGE_PAGE_BYTES or piece.size > self.spare_bytes_max:
            return
        self._spare.append(piece)
        while self.spare_bytes > self.spare_bytes_max:
            try:
                self._spare.popleft()
            except IndexError:
                return


_pieces = Pieces()


def empty_bytes(count: int) -> torch.Tensor:
    """`count` bytes on the CPU, aligned as torch aligns its own; a large piece to huge pages."""
    if count >= HUGE_PAGE_BYTES:
        return _pieces.take(count)
    memory = torch.from_numpy(np.empty(count + ALIGNMENT, np.uint8))
    start = -memory.data_ptr() % ALIGNMENT
    return memory[start : start + count]


def empty_tensors(
    shapes: Sequence[tuple[tuple[int, ...], torch.dtype, torch.device]],
) -> list[torch.Tensor]:
    """A tensor of each shape; those on the CPU share pieces with their neighbours.

    A piece is given back with the last of its tensors; small ones share one of PIECE_BYTES or so.
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
