"""Decodes encoded objects, whole or as their bytes arrive, and checks all that can be checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Union

import numpy as np

from kdn.codec.back_ends import device_back_end, host_back_end
from kdn.codec.container import HEADER_BYTES_MAX, Header
from kdn.codec.errors import EncodingError, ProfileMissing
from kdn.codec.header import read_header
from kdn.codec.jobs import DeviceBackEnd, HostBackEnd
from kdn.codec.profile import Profile
from kdn.codec.profiles import Profiles
from kdn.codec.stream import DecodedPlane, DecodeStream, Encoded
from kdn.errors import FieldError

ProfileSource = Union[Mapping[bytes, Profile], Callable[[bytes], Profile], Profiles]

OBJECT_BYTES_MAX = 1 << 32


class Decoder:
    """Decodes any number of objects, one after the other; cheap to make.

    `profiles` maps a profile's hash to it. `back_end` is `auto`, `kernels` or `numpy`; with
    `device`, a torch device, planes are tensors there. Without `verify` what was decoded is not
    compared with its checksum; what is to be decoded always is. Nothing larger than `bytes_max`
    is decoded.
    """

    def __init__(
        self,
        profiles: ProfileSource | None = None,
        back_end: str = "auto",
        *,
        device: Any = None,
        verify: bool = True,
        bytes_max: int = OBJECT_BYTES_MAX,
    ) -> None:
        self.verify = verify
        self.bytes_max = bytes_max
        self.host: HostBackEnd = host_back_end(back_end)
        self.device: DeviceBackEnd | None = None if device is None else device_back_end(device)
        self._profiles = profiles

    @property
    def name(self) -> str:
        """The name of the back end."""
        return self.host.name if self.device is None else self.device.name

    def profile(self, name: bytes) -> Profile:
        """The profile of this hash; raises ProfileMissing."""
        source = self._profiles
        if source is None:
            raise ProfileMissing(name)
        if isinstance(source, Profiles):
            return source.get(name)
        if callable(source):
            return source(name)
        found = source.get(name)
        if found is None:
            raise ProfileMissing(name)
        return found

    def header(self, encoded: Encoded) -> Header:
        """The header of an encoded object; raises EncodingError for one that cannot be."""
        return read_header(encoded)

    def decode(self, encoded: Encoded) -> bytearray:
        """The object's bytes as they were stored, or as near as its class keeps them.

        Raises EncodingError, CorruptPayload or ProfileMissing: then nothing of it may be used.
        """
        header = self.header(encoded)
        self.limit(header)
        room = bytearray(header.raw_bytes)
        self._into(encoded, memoryview(room), header)
        return room

    def decode_into(self, encoded: Encoded, buffer: Any) -> int:
        """Decodes into writable memory and returns how many bytes it took.

        Raises as `decode` does; the memory then holds anything.
        """
        view = memoryview(buffer).cast("B")
        header = self.header(encoded)
        if len(view) < header.raw_bytes:
            raise EncodingError("buffer", len(view), f"at least {header.raw_bytes} bytes")
        self._into(encoded, view[: header.raw_bytes], header)
        return header.raw_bytes

    def decode_layer(self, encoded: Encoded, layer_index: int) -> list[DecodedPlane]:
        """The planes of one layer of the part, from blocks that may hold other layers too."""
        header = self.header(encoded)
        count = len(header.planes)
        if not 0 <= layer_index < count:
            raise FieldError("layer_index", layer_index, f"below {count}")
        stream = DecodeStream(self, layers={layer_index})
        planes = stream.feed_whole(encoded, header)
        found = [plane for plane in planes if plane.layer_index == layer_index]
        return sorted(found, key=lambda plane: plane.shape.plane)

    def planes(self, encoded: Encoded) -> Iterator[DecodedPlane]:
        """All planes, in the order of their blocks; all of them count only once it has ended."""
        stream = self.stream()
        yield from stream.feed_whole(encoded)
        stream.finish()

    def planes_of_each(self, objects: Sequence[Encoded]) -> list[list[DecodedPlane]]:
        """All planes of several objects; a device decodes them in one go, all lanes at once."""
        if self.device is None:
            return [list(self.planes(encoded)) for encoded in objects]
        streams = [self.stream() for _ in objects]
        jobs = [stream.whole_jobs(encoded) for stream, encoded in zip(streams, objects)]
        tensors = iter(self.device.tensors([job for some in jobs for job in some]))
        found = [
            stream.placed(some, [next(tensors) for _ in some])
            for stream, some in zip(streams, jobs)
        ]
        for stream in streams:
            stream.finish()
        return found

    def stream(
        self,
        *,
        length: int | None = None,
        room: memoryview | None = None,
        gives_planes: bool = True,
    ) -> DecodeStream:
        """Decodes as bytes arrive; `length` is that of the encoded object, where it is known."""
        return DecodeStream(self, length=length, room=room, gives_planes=gives_planes)

    def limit(self, header: Header) -> None:
        """Raises EncodingError for an object that is too large for this decoder."""
        if header.raw_bytes > self.bytes_max:
            raise EncodingError("rawByteCount", header.raw_bytes, f"at most {self.bytes_max}")
        most = self.bytes_max + HEADER_BYTES_MAX
        if header.object_bytes > most:
            raise EncodingError("length", header.object_bytes, f"at most {most}")

    def _into(self, encoded: Encoded, room: memoryview, header: Header) -> None:
        stream = DecodeStream(self, room=room)
        place = np.frombuffer(room, np.uint8)
        for plane in stream.feed_whole(encoded, header):
            if self.device is not None and plane.tensor is not None:
                offset = plane.shape.offset
                place[offset : offset + plane.shape.byte_count] = plane.bytes()
        stream.finish()
