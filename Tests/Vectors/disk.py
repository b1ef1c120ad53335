"""Structures of the disk tier, as Formats.md spells them, section Disk."""

import struct

import xxhash

from hashing import chunk_of, layout_key, opaque_key, sha256
from layouts import LAYOUTS, encode_layout

BLOCK = 4096
DIRECTORY = bytes(range(0x10, 0x20))
NONCE = 0xFEDCBA9876543210
LARGEST = 2**64 - 1


def xxh3(data):
    return xxhash.xxh3_64_intdigest(data)


def sealed(magic, fields):
    """One block: magic, version, fields, zeros, checksum."""
    data = (magic + struct.pack("<HH", 1, 0) + fields).ljust(BLOCK - 8, b"\0")
    return data + struct.pack("<Q", xxh3(data))


def row(name, fields, data):
    """What is not zero, in pieces [offset, hex]; a gap of 16 zeros ends a piece."""
    pieces, start = [], None
    for offset in range(0, len(data) + 16, 16):
        used = any(data[offset:offset + 16])
        if used and start is None:
            start = offset
        if not used and start is not None:
            pieces.append([start, data[start:offset].hex()])
            start = None
    return {"name": name, "fields": fields, "byteCount": len(data), "pieces": pieces}


def superblock_row(name, directory, segment_bytes, journal_bytes, created):
    data = sealed(b"KDND", directory + struct.pack("<QQQ", segment_bytes, journal_bytes, created))
    return row(name, {"directoryID": directory.hex(), "segmentBytes": segment_bytes,
                      "journalBytes": journal_bytes, "createdAtMilliseconds": created}, data)


def journal_header_row(name, epoch, directory):
    data = sealed(b"KDNJ", struct.pack("<Q", epoch) + directory)
    return row(name, {"epoch": epoch, "directoryID": directory.hex()}, data)


def segment_header_row(name, incarnation, nonce, segment_bytes, directory, opened):
    data = sealed(b"KDNS", struct.pack("<QQQ", incarnation, nonce, segment_bytes) + directory
                  + struct.pack("<Q", opened))
    return row(name, {"incarnation": incarnation, "nonce": nonce, "segmentBytes": segment_bytes,
                      "directoryID": directory.hex(), "openedAtMilliseconds": opened}, data)


def record(fields, nonce):
    """The 512 bytes of a record header."""
    name = fields["namespace"].encode("ascii")
    form = fields["form"]
    data = b"KDNR" + struct.pack("<HHQQIIQ", 1, form["codec"] if form else 0,
                                 fields["incarnation"], fields["sequence"],
                                 fields["blockIndex"], fields["payloadOffset"],
                                 form["byteCount"] if form else fields["byteCount"])
    data += struct.pack("<H6x", len(name)) + name.ljust(128, b"\0")
    data += struct.pack("<Q", fields["generation"]) + bytes.fromhex(fields["key"])
    data += bytes.fromhex(fields["parent"])
    data += struct.pack("<QQQI4xQQQ", fields["byteCount"], fields["checksum"],
                        fields["firstToken"], fields["tokenCount"],
                        fields["recomputeMicroseconds"], fields["storedAtMilliseconds"],
                        fields["ttlMilliseconds"])
    if form:
        assert len(data) == 336
        data += struct.pack("<QQ", form["checksum"], form["decodedChecksum"])
        data += bytes.fromhex(form["profile"])
    data = data.ljust(504, b"\0")
    assert len(data) == 504
    return data + struct.pack("<Q", xxh3(data + struct.pack("<Q", nonce)))


def record_fields(namespace, generation, key, parent, content, **others):
    """Of an object with these bytes, or of a length alone where nobody needs the bytes."""
    count, checksum = content if isinstance(content, tuple) else (len(content), xxh3(content))
    return {"namespace": namespace, "generation": generation, "key": key.hex(),
            "parent": parent.hex(), "byteCount": count, "checksum": checksum,
            "firstToken": 0, "tokenCount": 0, "recomputeMicroseconds": 0,
            "storedAtMilliseconds": 0, "ttlMilliseconds": 0, "incarnation": 1, "sequence": 1,
            "blockIndex": 1, "payloadOffset": 512, "form": None} | others


def records():
    chunk = chunk_of(sha256(b"root"), range(256))
    layout_id = sha256(encode_layout(LAYOUTS["llama 3.1 8B, GQA bf16"]))[:16]
    return {
        "small opaque object": record_fields(
            "default", 0, opaque_key(b"user:42/page/7"), bytes(32), b"hello, disk",
            storedAtMilliseconds=1_790_000_000_000),
        "large layout object": record_fields(
            "tenant-7.prod_eu", 3, layout_key(chunk, layout_id, (16, 16, 4, 4), 9),
            sha256(b"parent"), bytes(range(256)) * 2048, firstToken=4096, tokenCount=256,
            recomputeMicroseconds=81_234, storedAtMilliseconds=1_790_000_123_456,
            ttlMilliseconds=3_600_000, incarnation=77, sequence=123_456_789, blockIndex=40_961,
            payloadOffset=4096),
        "exactly encoded object": record_fields(
            "default", 0, opaque_key(b"zstd"), bytes(32), b"aaaaaaaaaaaaaaaaaaaaaaaa",
            form={"codec": 16, "byteCount": 3, "checksum": xxh3(b"24a"),
                  "decodedChecksum": xxh3(b"aaaaaaaaaaaaaaaaaaaaaaaa"),
                  "profile": bytes(32).hex()}),
        "lossily encoded object": record_fields(
            "default", 1, layout_key(chunk, layout_id, (0, 16, 0, 4), 0), bytes(32),
            bytes(range(256)) * 512, tokenCount=256, payloadOffset=4096,
            form={"codec": 4, "byteCount": 70_001, "checksum": LARGEST, "decodedChecksum": 1,
                  "profile": sha256(b"a profile").hex()}),
        "largest numbers": record_fields(
            "n" * 128, LARGEST, layout_key(bytes([255]) * 32, bytes([255]) * 16,
                                           (65535, 65535, 65535, 65535), 2**32 - 1),
            bytes([255]) * 32, (2**40, LARGEST), firstToken=2**63 - 1, tokenCount=2**32 - 1,
            recomputeMicroseconds=LARGEST, storedAtMilliseconds=LARGEST, ttlMilliseconds=LARGEST,
            incarnation=LARGEST, sequence=LARGEST, blockIndex=2**32 - 1, payloadOffset=4096),
    }


def record_row(name, fields, nonce):
    return row(name, fields | {"nonce": nonce}, record(fields, nonce))


def trailer_row(name, incarnation, nonce, footer_block, lines):
    footer = b"".join(record(fields, nonce) for fields in lines)
    sequences = [fields["sequence"] for fields in lines] or [0]
    values = (incarnation, nonce, footer_block, len(lines), min(sequences), max(sequences),
              xxh3(footer))
    names = ("incarnation", "nonce", "footerBlock", "recordCount", "firstSequence",
             "lastSequence", "footerChecksum")
    return row(name, dict(zip(names, values)), sealed(b"KDNT", struct.pack("<QQIIQQQ", *values)))


def entry(fields):
    """The bytes of one journal entry."""
    kinds = ("generation", "purgedKeys", "purgedLayouts", "purgedChunks", "layout", "pinned",
             "unpinned", "sequenceReserved")
    kind = kinds.index(fields["kind"]) + 1
    if kind == 8:
        return struct.pack("<BQ", kind, fields["number"])
    name = fields["namespace"].encode("ascii")
    data = struct.pack("<BH", kind, len(name)) + name
    names = [bytes.fromhex(text) for text in fields["names"]]
    if kind == 1:
        return data + struct.pack("<Q", fields["number"])
    if kind in (2, 3, 4):
        return data + struct.pack("<QH", fields["number"], len(names)) + b"".join(names)
    if kind == 5:
        return data + struct.pack("<I", len(names[0])) + names[0]
    return data + names[0] + (struct.pack("<Q", fields["number"]) if kind == 6 else b"")


def frame_row(name, epoch, index, entries):
    body = b"".join(map(entry, entries))
    blocks = 1
    while blocks * BLOCK - 32 - 8 * (blocks - 1) - 8 < len(body):
        blocks += 1
    data = b"KDNE" + struct.pack("<HHIIQQ", 1, len(entries), blocks, len(body), epoch, index)
    position = 0
    for block in range(blocks):
        if block:
            data += b"KDNF" + struct.pack("<I", block)
        end = position + (block + 1) * BLOCK - len(data)
        data = (data + body[position:end]).ljust((block + 1) * BLOCK, b"\0")
        position = end
    data = data[:-8]
    data += struct.pack("<Q", xxh3(data))
    return row(name, {"epoch": epoch, "index": index, "entries": entries}, data)


def entries():
    keys = [opaque_key(b"a"), layout_key(sha256(b"c"), sha256(b"l")[:16], (0, 32, 0, 8), 2)]
    layout = encode_layout(LAYOUTS["MLA latent"])

    def one(kind, number, names=(), namespace="default"):
        return {"kind": kind, "namespace": namespace, "number": number,
                "names": [name.hex() for name in names]}

    return [
        one("sequenceReserved", 1 << 40, namespace=""),
        one("generation", 5, namespace="tenant-7.prod_eu"),
        one("layout", 0, [layout]),
        one("purgedKeys", LARGEST, keys),
        one("purgedLayouts", 9, [sha256(b"l")[:16]], namespace="n" * 128),
        one("purgedChunks", 10, [sha256(bytes([number])) for number in range(5)]),
        one("pinned", 1_790_000_000_000, keys[1:]),
        one("unpinned", 0, keys[:1]),
        one("purgedKeys", 0),
    ]


def checkpoint_row(name, directory, lines):
    content = b"".join(struct.pack("<QIIQ", *line) for line in lines)
    content = content.ljust((len(content) + BLOCK - 1) // BLOCK * BLOCK, b"\0")
    data = sealed(b"KDNC", directory + struct.pack("<QQ", len(lines), xxh3(content))) + content
    names = ("incarnation", "block", "uses", "sequence")
    return row(name, {"directoryID": directory.hex(),
                      "entries": [dict(zip(names, line)) for line in lines]}, data)


def disk_sections():
    every = records()
    hashes = [sha256(struct.pack("<I", number)).hex() for number in range(300)]
    many = {"kind": "purgedChunks", "namespace": "default", "number": 4, "names": hashes}
    return {
        "superblocks": [
            superblock_row("default sizes", DIRECTORY, 256 << 20, 8 << 20, 1_790_000_000_000),
            superblock_row("largest", bytes([255]) * 16, 2**44, 2**32, LARGEST),
        ],
        "journalHeaders": [
            journal_header_row("first", 1, DIRECTORY),
            journal_header_row("largest", LARGEST, bytes([255]) * 16),
        ],
        "segmentHeaders": [
            segment_header_row("default size", 77, NONCE, 256 << 20, DIRECTORY, 1_790_000_000_001),
            segment_header_row("largest", LARGEST, LARGEST, 2**44, bytes([255]) * 16, LARGEST),
        ],
        "recordHeaders": [record_row(name, fields, NONCE) for name, fields in every.items()],
        "segmentTrailers": [
            trailer_row("two records", 77, NONCE, 65_534, list(every.values())[:2]),
            trailer_row("no record", 78, 1, 65_535, []),
        ],
        "journalFrames": [
            frame_row("one of each kind", 3, 0, entries()),
            frame_row("no entry", 1, 7, []),
            frame_row("three blocks", LARGEST, LARGEST, [many]),
        ],
        "checkpoints": [
            checkpoint_row("no entry", DIRECTORY, []),
            checkpoint_row("two entries", DIRECTORY,
                           [(77, 40_961, 12, 123_456_789),
                            (LARGEST, 2**32 - 1, 2**32 - 1, LARGEST)]),
        ],
    }
