"""What libkdn does with its arguments, in Python: a store behind the functions of kdn.h."""

from __future__ import annotations

import ctypes
import struct

from framing import xxh3

from kdn import _library


class FakeLibrary:
    """Objects by key, over no link at all; `fail` makes the next call of a function fail."""

    def __init__(self) -> None:
        self.objects: dict[bytes, bytes] = {}
        self.fail: dict[str, int] = {}
        self.text = b"by the script"
        self.status = self.retry = 0
        self.open = True
        self.closed = 0
        self.options: dict[str, object] = {}
        self.grow_between = False
        self.flags: list[int] = []

    def _failing(self, name: str) -> int:
        return self.fail.pop(name, _library.OK)

    def kdn_abi_version(self) -> int:
        return _library.ABI_VERSION

    def kdn_error_text(self) -> bytes:
        return self.text

    def kdn_error_server_status(self) -> int:
        return self.status

    def kdn_error_retry_after_ms(self) -> int:
        return self.retry

    def kdn_error_field(self) -> bytes:
        return b"a field"

    def kdn_error_message(self) -> bytes:
        return self.text

    def kdn_error_value(self) -> int:
        return 7

    def kdn_error_limit(self) -> int:
        return 9

    def kdn_connect(self, options, handle) -> int:
        given = options._obj
        assert given.size == ctypes.sizeof(_library.Options)
        self.options = {name: getattr(given, name) for name, _ in _library.Options._fields_}
        code = self._failing("kdn_connect")
        handle._obj.value = None if code else 77
        self.open = True
        return code

    def kdn_close(self, handle) -> None:
        self.closed += 1
        self.open = False

    def kdn_is_open(self, handle) -> int:
        return int(self.open)

    def kdn_link(self, handle) -> bytes:
        return b"rdma"

    def kdn_link_reason(self, handle) -> bytes:
        return b"a route exists"

    def kdn_request(self, handle, op, body, size, deadline_ms, room, room_bytes, length) -> int:
        assert deadline_ms > 0 and len(body) == size
        code = self._failing("kdn_request")
        if code == _library.OK:
            reply = self.answer(op, body)
            length._obj.value = len(reply)
            ctypes.memmove(room, reply, len(reply))
        return code

    def answer(self, op: int, body: bytes) -> bytes:
        if op == 1:
            limits = struct.pack(
                "<HHIIIQIIQIIIIQ", 1, 0, 9, 1 << 20, 1 << 20, 1 << 28, 512, 64, 1 << 26, 10000,
                60000, 60000, 60000, 1,
            )
            return limits + bytes(16) + struct.pack("<H", 0)
        assert op == 4, op
        keys = [body[8 + 64 * index :][:64] for index in range(struct.unpack_from("<I", body)[0])]
        bits = sum((key in self.objects) << index for index, key in enumerate(keys))
        return struct.pack("<II", len(keys), 0) + bits.to_bytes(-(-len(keys) // 8), "little")

    def kdn_get_into(self, handle, items, size, count, buffers, flags, deadline_ms, results) -> int:
        self.flags.append(flags)
        code = self._failing("kdn_get_into")
        assert size == 72 * count, "whole objects only"
        for index in range(count):
            data = self.objects.get(items[72 * index :][:64])
            result, place = results[index], buffers[index]
            if data is None:
                result.outcome, result.miss_cause = _library.MISS, 1
            elif place.length < len(data):
                result.outcome, result.bytes = _library.GET_NO_ROOM, len(data)
            else:
                ctypes.memmove(place.pointer, data, len(data))
                result.outcome, result.bytes = _library.HIT, len(data)
                result.object_checksum, result.object_bytes = xxh3(data), len(data)
        if self.grow_between:
            self.objects = {key: data * 2 for key, data in self.objects.items()}
        return code

    def kdn_put_from(self, handle, puts, count, deadline_ms, results) -> int:
        for index in range(count):
            put, result = puts[index], results[index]
            facts = ctypes.string_at(put.facts, 128)
            data = b"".join(
                ctypes.string_at(put.pieces[number].pointer, put.pieces[number].length)
                for number in range(put.piece_count)
            )
            assert struct.unpack_from("<Q", facts, 96)[0] == len(data)
            result.checksum = xxh3(data)
            if data == b"unwanted":
                result.outcome, result.server_status = _library.PUT_REFUSED, self.status
                result.retry_after_ms = self.retry
            elif self.objects.get(facts[:64]) == data:
                result.outcome = _library.PRESENT
            else:
                self.objects[facts[:64]] = data
        return self._failing("kdn_put_from")
