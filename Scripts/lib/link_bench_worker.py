"""One target of link_bench.py in a process of its own: gets objects, times that, compares bytes.

usage: link_bench_worker.py TARGET ADDRESS
TARGET: tcp, unix, shm (copied into a buffer), place (shared memory, read in place) or openlake.
Takes a JSON object a line, {"op": "store" | "get", "size", "verify", "gets"}, and answers each with
one. `first` are the seconds from the request to the first byte that may be read, `whole` those of a
get with all that belongs to it: its lease given back, too.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from typing import Any, Protocol

import numpy
import xxhash

OBJECTS_BYTES = 128 << 20
OBJECTS_MAX = 16
SEED = 20_261_122


def objects(size: int) -> list[numpy.ndarray]:
    """The same bytes in each process."""
    count = max(2, min(OBJECTS_MAX, OBJECTS_BYTES // size))
    random = numpy.random.default_rng([SEED, size])
    return [random.integers(0, 256, size, numpy.uint8) for _ in range(count)]


class Target(Protocol):
    """Stores objects, and gets one of them at a time."""

    def store(self, datas: list[numpy.ndarray]) -> None: ...

    def ask(self, index: int) -> None:
        """Whether an object is there; untimed."""

    def get(self, index: int, expected: numpy.ndarray, verify: bool) -> tuple[float, float]:
        """`first` and `whole`, in seconds; raises if the bytes are not those expected."""


class KDN:
    """kdnd over one of its links."""

    def __init__(self, way: str, address: str) -> None:
        import kdn

        self._kdn = kdn
        self._in_place = way == "place"
        link = "shm" if self._in_place else way
        self._clients = {
            verify: kdn.Client(address, link=link, streams=1, verify=verify)
            for verify in (False, True)
        }
        for client in self._clients.values():
            client.ping()
        self._keys: list[Any] = []
        self._buffer = numpy.zeros(0, numpy.uint8)

    def store(self, datas: list[numpy.ndarray]) -> None:
        size = len(datas[0])
        self._buffer = numpy.zeros(size, numpy.uint8)
        self._keys = [self._kdn.Key.opaque(b"%d/%d" % (size, i)) for i in range(len(datas))]
        for key, data in zip(self._keys, datas, strict=True):
            self._clients[True].put(key, data)

    def ask(self, index: int) -> None:
        for client in self._clients.values():
            check(client.exists([self._keys[index]]) == [True])

    def get(self, index: int, expected: numpy.ndarray, verify: bool) -> tuple[float, float]:
        if self._in_place:
            return self._lease(index, expected, verify)
        buffer = self._buffer
        buffer[0] = expected[0] ^ 0xFF
        item = self._kdn.Get(self._keys[index], buffer)
        began = time.perf_counter()
        result = self._clients[verify].get_into([item])[0]
        first = buffer[0]
        seconds = time.perf_counter() - began
        check(result.hit and first == expected[0] and numpy.array_equal(buffer, expected))
        return seconds, seconds

    def _lease(
        self, index: int, expected: numpy.ndarray, verify: bool
    ) -> tuple[float, float]:
        client = self._clients[verify]
        item = self._kdn.Get(self._keys[index])
        began = time.perf_counter()
        leased = client.lease([item], verify=verify)
        pieces = leased.pieces(0)
        check(bool(pieces))
        first = pieces[0][0]
        seconds = time.perf_counter() - began
        check(first == expected[0] and same_bytes(pieces, expected))
        del pieces
        ended = time.perf_counter()
        leased.release()
        return seconds, seconds + time.perf_counter() - ended


class OpenLake:
    """openlake's local mode: a buffer that it fills from POSIX shared memory."""

    CLIENT = 2049
    # Of each slot; its key comes first.
    KEY_BYTES = 54

    def __init__(self, address: str) -> None:
        from openlake_client import Client

        self._address = address
        self._client = Client("local", self.CLIENT)
        self._keys: list[bytes] = []
        self._sums: list[int] = []
        self._buffer = numpy.zeros(0, numpy.uint8)

    def store(self, datas: list[numpy.ndarray]) -> None:
        size = len(datas[0])
        self._client.attach(self._address, 0, size + self.KEY_BYTES)
        self._buffer = numpy.zeros(size, numpy.uint8)
        self._client.register_memory(self._buffer.ctypes.data, size)
        for index, data in enumerate(datas):
            key = hashlib.sha512(b"%d/%d" % (size, index)).digest()[: self.KEY_BYTES]
            self._client.register_memory(data.ctypes.data, size)
            check(self._client.put_batch([key], [[data.ctypes.data]], [[size]]) == [0])
            self._keys.append(key)
            self._sums.append(xxhash.xxh3_64_intdigest(data))

    def ask(self, index: int) -> None:
        check(self._client.batch_is_exist([self._keys[index]]) == [True])

    def get(self, index: int, expected: numpy.ndarray, verify: bool) -> tuple[float, float]:
        buffer, keys = self._buffer, [self._keys[index]]
        places, sizes = [[buffer.ctypes.data]], [[len(buffer)]]
        buffer[0] = expected[0] ^ 0xFF
        began = time.perf_counter()
        codes = self._client.get_batch(keys, places, sizes)
        good = not verify or xxhash.xxh3_64_intdigest(buffer) == self._sums[index]
        first = buffer[0]
        seconds = time.perf_counter() - began
        check(codes == [0] and good and first == expected[0])
        check(bool(numpy.array_equal(buffer, expected)))
        return seconds, seconds


def same_bytes(pieces: list[memoryview], expected: numpy.ndarray) -> bool:
    """Whether the pieces, in order, are what is expected."""
    start = 0
    for piece in pieces:
        end = start + len(piece)
        if not numpy.array_equal(numpy.frombuffer(piece, numpy.uint8), expected[start:end]):
            return False
        start = end
    return start == len(expected)


def check(holds: bool) -> None:
    """Ends the worker, and with it the run, if what was got is not what was stored."""
    if not holds:
        sys.exit("link_bench_worker: missed, or got other bytes than were stored")


def main() -> None:
    way, address = sys.argv[1:]
    target: Target = OpenLake(address) if way == "openlake" else KDN(way, address)
    datas: list[numpy.ndarray] = []
    for line in sys.stdin:
        order = json.loads(line)
        if order["op"] == "store":
            datas = objects(order["size"])
            target.store(datas)
            answer: dict[str, Any] = {"objects": len(datas)}
        else:
            times = []
            for turn in range(order["gets"]):
                index = turn % len(datas)
                # The comparison before has driven the programs out of the processor's caches.
                target.ask(index)
                times.append(target.get(index, datas[index], order["verify"]))
            firsts, wholes = zip(*times, strict=True)
            answer = {"first": firsts, "whole": wholes}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
