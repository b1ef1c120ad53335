"""Every way to decode: numpy, torch on the CPU, and the C kernels on each path."""

from __future__ import annotations

import ctypes
import os
import pathlib
import subprocess

import torch
from conftest import ROOT

from kdn.codec import Decoder, kernel_library
from kdn.codec.kernels import AUTO, AVX2, AVX512, SCALAR, Kernels

PATHS = {"kernels": AUTO, "scalar": SCALAR, "avx2": AVX2, "avx512": AVX512}
BACK_ENDS = ("numpy", "torch", *PATHS)


_built: list[ctypes.CDLL] = []


def build_kernels(folder: pathlib.Path) -> ctypes.CDLL:
    """The kernels as they are shipped, built from this checkout, once in a run of tests."""
    if not _built:
        _built.append(_build(folder))
    return _built[0]


def _build(folder: pathlib.Path) -> ctypes.CDLL:
    script = ROOT / "Scripts" / "lib" / "kernels"
    subprocess.run([script, folder], check=True, capture_output=True, timeout=300)
    before = os.environ.get(kernel_library.VARIABLE)
    os.environ[kernel_library.VARIABLE] = str(folder / kernel_library.FILE_NAME)
    try:
        found = kernel_library.load()
    finally:
        if before is None:
            del os.environ[kernel_library.VARIABLE]
        else:
            os.environ[kernel_library.VARIABLE] = before
    assert not isinstance(found, str), found
    return found


def make_decoder(name: str, library: ctypes.CDLL) -> Decoder:
    """A decoder with one of BACK_ENDS."""
    torch.set_num_threads(1)
    if name == "torch":
        return Decoder(back_end="numpy", device="cpu")
    made = Decoder(back_end="numpy")
    path = PATHS.get(name)
    # A path that this processor lacks is told so by the library; the best it has then stands in.
    if path is not None:
        made.host = Kernels(library, path if library.kdn_path_available(path) else AUTO)
    return made
