"""Profiles: what was learned of a model's KV, by which the classes beyond `high` decode."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kdn.codec.container import LAYER, PlaneShape, checksum, padded, planes_of
from kdn.codec.errors import EncodingError, require
from kdn.errors import FieldError
from kdn.keys import Part
from kdn.layouts import AttentionGroup, Layout, OpaqueGroup

PROFILE_BYTES_MAX = 1 << 30
KINDS = {1: "weights", 2: "grouped basis", 3: "whole basis"}

_BOUNDS = {
    "weights": (2.0**-40, 2.0**40),
    "scales": (2.0**-40, 2.0**40),
    "means": (-(2.0**60), 2.0**60),
    "spreads": (0.0, 2.0**60),
}

_HEAD = struct.Struct("<4sHBBQ16s4HQIIII")
_PLANE = struct.Struct("<HBBI")
_BASIS = struct.Struct("<HHBBHIIfI")

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PlaneStatistics:
    """What was learned of the channels of one plane."""

    weights: Floats
    means: Floats
    spreads: Floats


@dataclass(frozen=True, eq=False)
class Basis:
    """The directions in which the channels of a plane vary together, over some layers."""

    layers: tuple[int, ...]
    plane: int
    matrix: npt.NDArray[np.int16]
    scales: Floats
    means: Floats
    spreads: Floats
    residual: float

    @property
    def rank(self) -> int:
        """How many directions there are."""
        return int(self.matrix.shape[0])

    @cached_property
    def matrix_f64(self) -> npt.NDArray[np.float64]:
        """The matrix as float64, `[rank, channels]`: sums of its products stay whole numbers."""
        return self.matrix.astype(np.float64)

    @cached_property
    def column_sums(self) -> npt.NDArray[np.int64]:
        """Sums of absolute values up to each direction, `[rank, channels]`'s running maximum.

        Entry n - 1 is the largest sum of a channel over the first n directions.
        """
        sums = np.zeros(self.matrix.shape[1], np.int64)
        most = np.empty(self.rank, np.int64)
        for number, row in enumerate(self.matrix):
            sums += np.abs(row.astype(np.int64))
            most[number] = sums.max()
        return most


class Profile:
    """A profile's bytes, checked in all they say; named by their SHA-256."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        """Raises EncodingError naming the field at fault."""
        view = memoryview(data).cast("B")
        require("profile.byteCount", len(view), _HEAD.size + 8, PROFILE_BYTES_MAX)
        fields = _HEAD.unpack_from(view)
        if fields[0] != b"KDNF":
            raise EncodingError("profile.magic", fields[0], b"KDNF")
        require("profile.version", fields[1], 1, 1)
        self.kind: int = require("profile.kind", fields[2], 1, 3)
        require("profile.reserved", fields[3] | fields[14], 0, 0)
        require("profile.byteCount", fields[4], len(view), len(view))
        if checksum(view[:-8]) != int.from_bytes(view[-8:], "little"):
            raise EncodingError("profile.checksum", bytes(view[-8:]).hex(), "that of its bytes")
        self.layout, self.part = _layout(view, fields)
        self.token_count: int = fields[10]
        self.byte_count = len(view)
        self.hash = hashlib.sha256(view).digest()
        reader = _Records(view, _HEAD.size + padded(fields[11]))
        self.rows = planes_of(self.layout, self.part, 1)
        self.statistics = dict(self._planes(reader, fields[12]))
        self.bases = list(self._bases(reader, fields[13]))
        self._found_bases: dict[tuple[int, int, int, Part], Basis] = {}
        require("profile.byteCount", len(view), reader.offset + 8, reader.offset + 8)

    def weights_of(self, shape: PlaneShape, part: Part) -> Floats:
        """The weight of each channel of a plane, for the heads of `part`.

        Raises EncodingError if the profile does not hold for them.
        """
        found = self.statistics.get((shape.layer, shape.plane))
        if found is None:
            raise EncodingError("profile.layer", shape.layer, "one that the profile knows")
        start = 0
        if isinstance(shape.group, AttentionGroup):
            first, count = self.part.first_kv_head, self.part.kv_head_count
            start = (part.first_kv_head - first) * shape.head_dim
            if part.first_kv_head < first or part.first_kv_head + shape.heads > first + count:
                raise EncodingError("profile.firstKVHead", first, "holding the object's heads")
        weights = found.weights[start : start + shape.channels]
        require("profile.channels", len(weights), shape.channels, shape.channels)
        return weights

    def basis_of(self, shapes: Sequence[PlaneShape], part: Part) -> Basis:
        """The basis of a transform block's planes.

        Raises EncodingError if the profile has none.
        """
        wanted = (shapes[0].layer, len(shapes), shapes[0].plane, part)
        found = self._found_bases.get(wanted)
        if found is None:
            # There are no more of them than bases, as what is not found is not kept.
            found = self._found_bases[wanted] = self._basis_of(shapes, part)
        return found

    def _basis_of(self, shapes: Sequence[PlaneShape], part: Part) -> Basis:
        layers = tuple(shape.layer for shape in shapes)
        channels = sum(shape.channels for shape in shapes)
        for basis in self.bases:
            if basis.layers == layers and basis.plane == shapes[0].plane:
                same = isinstance(shapes[0].group, AttentionGroup) and (
                    part.first_kv_head != self.part.first_kv_head
                )
                if same or basis.matrix.shape[1] != channels:
                    raise EncodingError("profile.part", self.part, "the heads of the object")
                return basis
        raise EncodingError("profile.bases", layers, "a basis for the block's layers and plane")

    def _planes(
        self, reader: _Records, count: int
    ) -> list[tuple[tuple[int, int], PlaneStatistics]]:
        wanted = [
            (index, shape)
            for index, row in enumerate(self.rows)
            for shape in row
            if not isinstance(shape.group, OpaqueGroup)
        ]
        require("profile.planeCount", count, len(wanted), len(wanted))
        found: list[tuple[tuple[int, int], PlaneStatistics]] = []
        for index, shape in wanted:
            layer, plane, reserved, channels = reader.take(_PLANE)
            require("profile.layerIndex", layer, index, index)
            require("profile.plane", plane, shape.plane, shape.plane)
            require("profile.reserved", reserved, 0, 0)
            require("profile.channels", channels, shape.channels, shape.channels)
            weights = reader.floats(channels, "weights")
            means = reader.floats(channels, "means")
            spreads = reader.floats(channels, "spreads")
            reader.pad()
            found.append(((shape.layer, plane), PlaneStatistics(weights, means, spreads)))
        return found

    def _run(self, first: int, plane: int) -> list[PlaneShape]:
        """The planes from a layer on, of the layers of its group."""
        rows = self.rows[first:]
        return [
            shape
            for row in rows
            for shape in row
            if shape.plane == plane and shape.group_index == rows[0][0].group_index
        ]

    def _bases(self, reader: _Records, count: int) -> list[Basis]:
        require("profile.basisCount", count, 0, 0 if self.kind == 1 else 1 << 16)
        found: list[Basis] = []
        before = (-1, -1)
        for _ in range(count):
            first, layers, plane, zero, zeros, channels, rank, residual, last = reader.take(_BASIS)
            require("profile.reserved", zero | zeros | last, 0, 0)
            require("profile.plane", plane, 0, LAYER)
            if (first, plane) <= before:
                raise EncodingError("profile.firstLayerIndex", first, "in order")
            before = (first, plane)
            shapes = self._run(first, plane)[:layers]
            require("profile.layerCount", layers, 1, len(shapes))
            width = sum(shape.channels for shape in shapes)
            require("profile.channels", channels, width, width)
            require("profile.rank", rank, 1, channels)
            if not 0 <= residual <= 2.0**60:
                raise EncodingError("profile.residual", residual, "0 to 2^60")
            scales = reader.floats(channels, "scales")
            means = reader.floats(channels, "means")
            spreads = reader.floats(rank, "spreads")
            reader.pad()
            matrix = reader.matrix(rank, channels)
            reader.pad()
            names = tuple(shape.layer for shape in shapes)
            found.append(Basis(names, plane, matrix, scales, means, spreads, residual))
        return found


def _layout(view: memoryview, fields: tuple[object, ...]) -> tuple[Layout, Part]:
    length, layout_id = fields[11], fields[5]
    assert isinstance(length, int)
    if _HEAD.size + padded(length) + 8 > len(view):
        raise EncodingError("profile.layoutBytes", length, "inside the profile")
    try:
        layout = Layout.decode(bytes(view[_HEAD.size : _HEAD.size + length]))
        part = Part(*struct.unpack_from("<HHHH", view, 32))
        layout.bytes_per_token(part)
    except FieldError as error:
        raise EncodingError(f"profile.{error.field}", error.value, error.limit) from error
    if layout.id != layout_id:
        raise EncodingError("profile.layoutID", layout_id, layout.id)
    return layout, part


class _Records:
    def __init__(self, view: memoryview, offset: int) -> None:
        self.view = view
        self.offset = offset

    def _claim(self, size: int, field: str) -> int:
        start, end = self.offset, self.offset + size
        if end > len(self.view) - 8:
            raise EncodingError(f"profile.{field}", end, f"inside {len(self.view)} bytes")
        self.offset = end
        return start

    def take(self, shape: struct.Struct) -> tuple[int, ...]:
        return shape.unpack_from(self.view, self._claim(shape.size, "record"))

    def floats(self, count: int, field: str) -> Floats:
        values = np.frombuffer(self.view, "<f4", count, self._claim(4 * count, field))
        least, most = _BOUNDS[field]
        with np.errstate(invalid="ignore"):
            outside = np.flatnonzero(~((values >= least) & (values <= most)))
        if outside.size:
            limit = f"{least} to {most}"
            raise EncodingError(f"profile.{field}", float(values[outside[0]]), limit)
        return values

    def matrix(self, rank: int, channels: int) -> npt.NDArray[np.int16]:
        start = self._claim(2 * rank * channels, "matrix")
        return np.frombuffer(self.view, "<i2", rank * channels, start).reshape(rank, channels)

    def pad(self) -> None:
        """Passes the zeros up to a multiple of 8."""
        size = padded(self.offset) - self.offset
        if any(self.view[self._claim(size, "padding") : self.offset]):
            raise EncodingError("profile.padding", self.offset, "zero")
