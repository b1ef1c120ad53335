"""Memory in huge pages, for what is read or written all over: fewer addresses to look up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

HUGE_PAGE_BYTES = 2 << 20
# From here on numpy asks the kernel for huge pages.
ADVISED_BYTES = 4 << 20


def from_page(memory: Bytes, count: int) -> Bytes:
    """`count` bytes of the memory, from its first huge page on; it is longer by one."""
    start = -int(memory.__array_interface__["data"][0]) % HUGE_PAGE_BYTES
    return memory[start : start + count]


def kept_in_pages(data: bytes | bytearray | memoryview) -> Union[bytes, memoryview]:
    """A copy that nobody can write to; in huge pages if it is large."""
    if len(data) < ADVISED_BYTES:
        return bytes(data)
    copy = from_page(np.empty(len(data) + HUGE_PAGE_BYTES, np.uint8), len(data))
    copy[:] = np.frombuffer(data, np.uint8)
    copy.flags.writeable = False
    return copy.data
