"""Decoding as bytes arrive: a layer is there as soon as its blocks are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt

from kdn.codec.container import (
    FIXED,
    TRANSFORM,
    UNIFORM,
    Entry,
    Header,
    PlaneShape,
    checksum,
)
from kdn.codec.errors import EncodingError
from kdn.codec.header import header_length, read_header
from kdn.codec.jobs import Job, Turn, turn_of
from kdn.codec.lossy import is_weighted
from kdn.codec.profile import Profile
from kdn.codec.rooms import OneRoom, Rooms, checksum_of
from kdn.errors import CorruptPayload

if TYPE_CHECKING:
    from kdn.codec.decoder import Decoder

Bytes = npt.NDArray[np.uint8]
Encoded = Union[bytes, bytearray, memoryview]


@dataclass(frozen=True)
class DecodedPlane:
    """A plane of one layer: bytes of this host, or a tensor `[head, token, dim]`.

    Bytes are in one row, `[head, byte]` where heads lie apart.
    """

    layer_index: int
    shape: PlaneShape
    data: Bytes | None
    tensor: Any = None

    @property
    def layer(self) -> int:
        """The layer's number in the model."""
        return self.shape.layer

    def bytes(self) -> Bytes:
        """The plane's bytes, brought to this host if they are elsewhere."""
        if self.data is not None:
            return self.data.reshape(-1)
        import torch

        host = self.tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        found: Bytes = host.numpy()
        return found


class DecodeStream:
    """Decodes one object whose bytes are fed in pieces; any error spoils all of it.

    Bytes are gathered in one buffer, of `length` if that is known. Decoded bytes go to `room`,
    else to memory of its own; only blocks that hold one of `layers` are decoded, if given. Without
    `gives_planes` they are for who takes them from there once it has finished.
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        length: int | None = None,
        room: memoryview | None = None,
        layers: set[int] | None = None,
        gives_planes: bool = True,
    ) -> None:
        self.header: Header | None = None
        self._decoder = decoder
        self._length = length
        self._room_bytes = None if room is None else len(room)
        self._rooms: Rooms | None = None
        if room is not None:
            self._rooms = OneRoom(np.frombuffer(room, np.uint8))
        self._layers = layers
        self._gives_planes = gives_planes
        self._head: Any = bytearray()
        self._data = memoryview(b"")
        self._address = 0
        self._received = 0
        self._done = 0
        self._profile: Profile | None = None

    @property
    def complete(self) -> bool:
        """Whether every block has come, or was taken."""
        return self.header is not None and self._done == len(self.header.entries)

    def feed(self, piece: Encoded) -> list[DecodedPlane]:
        """Adds bytes; returns the planes that are complete by now.

        Raises EncodingError, CorruptPayload or ProfileMissing.
        """
        view = memoryview(piece).cast("B")
        if self.header is None:
            self._head += view
            self.header = self._read_header()
            if self.header is None:
                return []
            view = memoryview(self._head)
            self._hold(memoryview(bytearray(self.header.object_bytes)))
        end = self._received + len(view)
        if end > len(self._data):
            raise EncodingError("length", end, len(self._data))
        self._data[self._received : end] = view
        self._received = end
        return self._decode_complete(self.header)

    def feed_whole(self, encoded: Encoded, header: Header | None = None) -> list[DecodedPlane]:
        """Takes a whole object at once, without copying it; instead of `feed`.

        `header` is the object's own, if it has been read already.
        """
        self.attach(encoded)
        self.header = None if header is None else self._accepted(header)
        return self.arrived(len(self._data))

    def whole_jobs(self, encoded: Encoded) -> list[Job]:
        """What is to be done for all blocks of a whole object; see Decoder.planes_of_each."""
        self.attach(encoded)
        self._head = self._data
        self.header = self._read_header()
        self._received = len(self._data)
        jobs = [] if self.header is None else self._complete_jobs(self.header)
        # Objects without a layout have no planes.
        return [job for job in jobs if job.shapes]

    def attach(self, memory: Encoded) -> None:
        """Decodes from memory that someone fills with the whole object; instead of `feed`."""
        self._hold(memoryview(memory).cast("B"))
        self._length = len(self._data)

    def _hold(self, memory: memoryview) -> None:
        self._data = memory
        self._address = int(np.frombuffer(memory, np.uint8).__array_interface__["data"][0])

    def decode_to(self, rooms: Rooms) -> None:
        """Decodes to this memory, which is as the header says; before the first block comes."""
        self._rooms = rooms

    def open(self, count: int) -> tuple[Header | None, int]:
        """Reads the header once the attached memory's first `count` bytes hold it.

        None otherwise, and how many bytes it takes as far as is known. Raises EncodingError.
        """
        self._head = self._data[:count]
        self.header = self._read_header()
        return self.header, header_length(self._head) or FIXED.size

    def has(self, count: int) -> bool:
        """Whether the first `count` bytes hold a block that was not taken yet."""
        entries = () if self.header is None else self.header.entries
        return self._done < len(entries) and entries[self._done].end <= count

    def take(self, count: int, step_bytes: int) -> range:
        """The next blocks in the first `count` bytes, until they have `step_bytes`: to `decode`."""
        start, size = self._done, 0
        while size < step_bytes and self.has(count):
            assert self.header is not None
            size += self.header.entries[self._done].byte_count
            self._done += 1
        return range(start, self._done)

    def coded_bytes(self, blocks: range) -> int:
        """How many bytes blocks take that were taken."""
        assert self.header is not None
        return sum(self.header.entries[number].byte_count for number in blocks)

    def decode(self, blocks: range) -> list[DecodedPlane]:
        """Decodes blocks that were taken; as `feed` else. Any number of threads may do so at once.

        Then it is known where to: from the beginning, or by `decode_to`.
        """
        assert self.header is not None
        return self._decoded(self._jobs(self.header, blocks))

    def arrived(self, count: int) -> list[DecodedPlane]:
        """Says that the attached memory's first `count` bytes are there; as `feed` else."""
        if self.header is None:
            self._head = self._data[:count]
            self.header = self._read_header()
            if self.header is None:
                return []
        self._received = count
        return self._decode_complete(self.header)

    def finish(self) -> None:
        """Says that nothing follows; raises unless the object is complete and as it was encoded."""
        if self.header is None or not self.complete:
            raise EncodingError("length", self._received, "a whole object")
        if not self._decoder.verify or self._layers is not None:
            return
        if self._rooms is not None:
            found = self._rooms.checksum()
            if found is not None and found != self.header.decoded_checksum:
                raise CorruptPayload(f"decoded bytes have checksum {found:#x}")

    def _read_header(self) -> Header | None:
        length = header_length(self._head)
        if length is None or len(self._head) < length:
            if self._length is not None and self._length < (length or FIXED.size):
                raise EncodingError("length", self._length, f"at least {length or FIXED.size}")
            return None
        return self._accepted(read_header(memoryview(self._head)[:length]))

    def _accepted(self, header: Header) -> Header:
        """The header, if the object fits what is known of it and where it goes."""
        if self._length is not None and self._length != header.object_bytes:
            raise EncodingError("length", self._length, header.object_bytes)
        self._decoder.limit(header)
        if self._room_bytes not in (None, header.raw_bytes):
            raise EncodingError("rawByteCount", header.raw_bytes, self._room_bytes)
        return header

    def _decode_complete(self, header: Header) -> list[DecodedPlane]:
        return self._decoded(self._complete_jobs(header))

    def _complete_jobs(self, header: Header) -> list[Job]:
        """What is to be done for the blocks that have come since the last time."""
        start = self._done
        while self.has(self._received):
            self._done += 1
        return self._jobs(header, range(start, self._done))

    def _jobs(self, header: Header, blocks: range) -> list[Job]:
        """What is to be done for blocks that are there."""
        jobs: list[Job] = []
        for number in blocks:
            entry = header.entries[number]
            before = header.entries[number - 1].end if number else header.header_bytes
            if before != entry.offset and any(self._data[before : entry.offset]):
                raise EncodingError("padding", before, "zeros between blocks")
            if self._layers is None or self._layers.intersection(header.layers_of(entry)):
                jobs.append(self._job(header, entry))
        return jobs

    def _decoded(self, jobs: Sequence[Job]) -> list[DecodedPlane]:
        device = self._decoder.device
        if not jobs:
            return []
        if device is None or jobs[0].header.layout is None:
            return self._on_host(jobs)
        return self.placed(jobs, device.tensors(jobs))

    def _job(self, header: Header, entry: Entry) -> Job:
        data = self._data[entry.offset : entry.end]
        if checksum(data) != entry.encoded_checksum:
            raise CorruptPayload(f"block at {entry.offset} does not have its checksum")
        shapes = header.covered(entry)
        job = Job(header, entry, shapes, data, self._address + entry.offset)
        if entry.kind not in (UNIFORM, TRANSFORM):
            return job
        weights = basis = None
        # A block that fell back to steps of its own needs nothing of the profile that is named.
        if header.part is not None and any(header.profile):
            if entry.kind == TRANSFORM:
                basis = self._profile_of(header).basis_of(shapes, header.part)
            elif is_weighted(data):
                weights = self._profile_of(header).weights_of(shapes[0], header.part)
        return job._replace(weights=weights, basis=basis, turn=self._turn(header, shapes[0]))

    def _profile_of(self, header: Header) -> Profile:
        if self._profile is None:
            found = self._decoder.profile(header.profile)
            if header.layout is None or found.layout.id != header.layout.id:
                raise EncodingError("profile.layoutID", found.layout.id.hex(), "the object's")
            self._profile = found
        return self._profile

    def _turn(self, header: Header, shape: PlaneShape) -> Turn | None:
        rope = shape.group.rope
        if rope is None or not shape.rotated:
            return None
        return turn_of(
            header.frequencies[shape.group_index], header.first_token, header.token_count,
            rope.pairing == "interleaved", shape.rotated_from,
        )  # fmt: skip

    def _on_host(self, jobs: Sequence[Job]) -> list[DecodedPlane]:
        if self._rooms is None:
            self._rooms = OneRoom(np.empty(jobs[0].header.raw_bytes, np.uint8))
        rooms = self._rooms
        for job, checksum_found in zip(jobs, self._decoder.host.decode(jobs, rooms)):
            if self._decoder.verify:
                if checksum_found is None:
                    checksum_found = checksum_of(rooms.of(job.shapes))
                _check(job, checksum_found)
        return self._given_out(jobs, rooms) if self._gives_planes else []

    def _given_out(self, jobs: Sequence[Job], rooms: Rooms) -> list[DecodedPlane]:
        found: list[DecodedPlane] = []
        for job in jobs:
            layers = job.header.layers_of(job.entry)
            for index, shape, place in zip(layers, job.shapes, rooms.of(job.shapes)):
                whole = place.reshape(-1) if place.flags.c_contiguous else place
                found.append(DecodedPlane(index, shape, whole))
        return found

    def placed(self, jobs: Sequence[Job], decoded: Sequence[list[Any]]) -> list[DecodedPlane]:
        """The planes of jobs whose tensors are there; raises CorruptPayload for wrong ones."""
        found: list[DecodedPlane] = []
        for job, tensors in zip(jobs, decoded):
            layers = job.header.layers_of(job.entry)
            planes = [
                DecodedPlane(index, shape, None, tensor)
                for index, shape, tensor in zip(layers, job.shapes, tensors)
            ]
            if self._decoder.verify:
                _check(job, checksum_of([plane.bytes() for plane in planes]))
            found.extend(planes)
        return found


def _check(job: Job, found: int) -> None:
    """Raises CorruptPayload for planes that are not those that were encoded."""
    if found != job.entry.decoded_checksum:
        raise CorruptPayload(f"block at {job.entry.offset} does not decode to its checksum")
