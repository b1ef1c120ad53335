"""The entropy coder's static tables, one for each class of spread; the kernels have the same."""

from __future__ import annotations

import functools
import pathlib
import re

import numpy as np
import numpy.typing as npt

from kdn.codec.blocks import CLASSES
from kdn.codec.rans import Tables

TABLE_BITS = 11
SYMBOLS = range(-128, 128)


@functools.cache
def frequencies() -> npt.NDArray[np.uint16]:
    """Of each class from 1 on, the frequency of each symbol from -128 on: `[class, symbol]`."""
    text = pathlib.Path(__file__).with_name("shape_tables.inc").read_text("ascii")
    rows = [
        [int(number) for number in re.findall(r"\d+", row)]
        for row in re.findall(r"\{([^}]*)\}", text)
    ]
    found = np.array(rows, np.uint16)
    if found.shape != (CLASSES, len(SYMBOLS)):
        raise RuntimeError(f"shape_tables.inc holds {found.shape}, not {CLASSES} classes")
    return found


@functools.cache
def tables() -> Tables:
    """The static classes' slots."""
    rows = [list(zip(SYMBOLS, row.tolist(), strict=True)) for row in frequencies()]
    return Tables.of(TABLE_BITS, rows)
