"""Which back end decodes: the C kernels where there are any, else numpy; torch where asked for."""

from __future__ import annotations

from typing import Any, Union

from kdn.codec.errors import BackEndMissing
from kdn.codec.jobs import DeviceBackEnd, HostBackEnd
from kdn.errors import FieldError

NAMES = ("auto", "kernels", "numpy", "torch")

BackEnd = Union[HostBackEnd, DeviceBackEnd]


def host_back_end(name: str = "auto") -> HostBackEnd:
    """The back end `kernels` or `numpy`; `auto` takes the kernels where they can be loaded.

    Raises BackEndMissing for kernels that cannot be loaded.
    """
    from kdn.codec.kernel_library import load
    from kdn.codec.kernels import Kernels
    from kdn.codec.reference import Reference

    if name not in ("auto", "kernels", "numpy"):
        raise FieldError("back_end", name, f"one of {', '.join(NAMES)}")
    if name == "numpy":
        return Reference()
    library = load()
    if isinstance(library, str):
        if name == "kernels":
            raise BackEndMissing(library)
        return Reference()
    return Kernels(library)


def device_back_end(device: Any) -> DeviceBackEnd:
    """The torch back end on a device; raises BackEndMissing without torch."""
    try:
        from kdn.codec.tensors import Tensors
    except ImportError as error:
        raise BackEndMissing(f"torch cannot be imported: {error}") from error
    return Tensors(device)
