"""seeds.py DIR: writes a seed corpus for each fuzz target from the vectors."""

import json
import pathlib
import struct
import sys

VECTORS = pathlib.Path(__file__).resolve().parent.parent / "Vectors"


def corpus(root, target, rows):
    folder = root / target
    folder.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        (folder / f"seed{number:04}").write_bytes(row)


def control(row):
    """(op, flags, status, place, body, payload length) of a frame of the vectors."""
    raw = bytes.fromhex(row["hex"])
    body_length, status = struct.unpack_from("<IH", raw, 16)
    body = raw[64:64 + body_length]
    return raw[5], raw[6], status, raw[22], body, len(raw) - 64 - body_length


DISK_SECTIONS = ("superblocks", "journalHeaders", "segmentHeaders", "segmentTrailers",
                 "recordHeaders", "journalFrames", None, "checkpoints")


def whole(row):
    """The bytes of a structure of the disk vectors."""
    raw = bytearray(row["byteCount"])
    for offset, text in row["pieces"]:
        part = bytes.fromhex(text)
        raw[offset:offset + len(part)] = part
    return bytes(raw)


def disk_seeds(disk):
    """Each structure under its number, once as it is and once to be made right."""
    seeds = []
    for number, section in enumerate(DISK_SECTIONS):
        for row in disk[section] if section else []:
            raw = whole(row)
            # Without the checksum the structure is short, so that a change hits what matters.
            seeds += [bytes([128 + number]) + raw, bytes([number]) + raw[:-8].rstrip(b"\0")]
    for row in disk["journalFrames"]:
        raw = whole(row)
        length = int.from_bytes(raw[12:16], "little")
        frame = bytearray(raw[:-8])
        frame[16:32] = (1).to_bytes(8, "little") + bytes(8)
        seeds += [bytes([5]) + frame.rstrip(b"\0"), bytes([6]) + raw[32:min(4096, 32 + length)]]
    return seeds + document_seeds()


def document_seeds():
    """Changes of documents alone, and a file with a state and two batches of them."""
    space = text("team")
    spans = struct.pack("<BBHfIIIII", 1, 0, 0, 1.5, 2, 0, 4, 8, 20)
    facts = struct.pack("<II", 40, 16) + text("a") + text("{}") + struct.pack("<I", 3)
    changes = [
        b"\x01" + space + bytes(8),
        b"\x03" + space + bytes(8) + bytes(16) + facts + bytes(range(96)),
        b"\x04" + space + text("a"),
        b"\x05" + space + text("a") + (7).to_bytes(8, "little") + spans,
        b"\x06" + space + text("a") + bytes(8),
        b"\x07" + space,
        b"\x08" + space + (2).to_bytes(2, "little") + text("secret/*") + text("x"),
    ]
    nonce, every = 9, b"".join(changes)
    header = b"KDNB" + struct.pack("<HHQQQ", 1, 0, nonce, 5, 1)
    file = header.ljust(4096, b"\0")
    for batch in (5, 6, 7):
        frame = b"KDNA" + struct.pack("<HHIIQQ", 1, 0, 1, len(every), nonce, batch) + every
        file += frame.ljust(4096, b"\0")
    return [bytes([8]) + header, bytes([9]) + file, bytes([10]) + every]


def text(value):
    """A u16 length and UTF-8."""
    return struct.pack("<H", len(value.encode())) + value.encode()


RESP_LINES = (
    "HELLO 3 AUTH user password SETNAME name", "AUTH password", "AUTH user password",
    "CLIENT SETINFO LIB-NAME redis-py", "CLIENT SETINFO LIB-VER 8.1", "CLIENT SETNAME name",
    "CLIENT GETNAME", "CLIENT ID", "CLIENT INFO", "CLIENT NO-EVICT ON", "CLIENT NO-TOUCH OFF",
    "CLIENT KILL ID 1", "CLIENT MAINT_NOTIFICATIONS ON", "PING", "PING text", "ECHO text",
    "SELECT 0", "SET key value", "SET key value EX 10 NX", "SET key value PX 10 XX GET",
    "SET key value EXAT 10", "SET key value PXAT 10", "SET key value KEEPTTL", "SETEX key 5 value",
    "PSETEX key 5 value", "SETNX key value", "GET key", "MGET a b c", "EXISTS a b", "DEL a",
    "UNLINK a b", "STRLEN key", "TYPE key", "TTL key", "PTTL key", "EXPIRE key 10 NX",
    "PEXPIRE key 10 XX GT", "EXPIREAT key 10 LT", "PEXPIREAT key 10", "PERSIST key",
    "SCAN 0 MATCH a* COUNT 10 TYPE string", "INFO server all", "DBSIZE", "FLUSHDB ASYNC",
    "FLUSHALL SYNC", "CONFIG GET max*", "CONFIG SET a b", "COMMAND", "COMMAND COUNT",
    "COMMAND LIST", "COMMAND INFO get x", "COMMAND DOCS get", "QUIT", "RESET", "NOSUCH a b",
)


def resp_seeds():
    """Each command, counted by the target and typed, and all of them in one stream."""
    counted = [line.encode().replace(b" ", b"\1") for line in RESP_LINES]
    typed = [line.encode() + b"\r\n" for line in RESP_LINES]
    quoted = b'SET "a\\x00 b" \'c\\\'d\'\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*0\r\n'
    return [b"\0" + row for row in counted] + [b"\1" + row for row in typed] + [
        b"\x0c" + b"\0".join(counted), b"\x15" + b"".join(typed), b"\2" + b"\0".join(counted),
        b"\x1d" + quoted]


# The target's requests, in the order of their numbers from 1 on; behind them the GETs elsewhere.
ASKED = (1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 32, 33, 34, 35, 36, 37, 38, 39)


def answer_seeds(frames):
    """Each answer under the number of its request, for several counts of answers."""
    rows = [control(row) for row in frames["frames"] if row["fields"]["flags"] & 1]
    ops = {row["fields"]["op"]: bytes.fromhex(row["hex"])[5] for row in frames["frames"]}
    rows += [(ops[row["op"]], 1, 0, row["place"], bytes.fromhex(row["hex"]), 0)
             for row in frames["answerFaults"]]
    seeds = []
    for op, flags, status, place, body, payload in rows:
        number = 0 if op == 17 else ASKED.index(op) + 1
        if place:
            number = len(ASKED) + place
        record = struct.pack("<BBBBBHH", op, number, flags, status, place, payload, len(body))
        for count in (0, 1, 2, 3, 4, 9, 17):
            seeds.append(bytes([1 if op == 1 else 0, count]) + record + body)
    return seeds


def blend_seeds(frames):
    """Three documents of one size with the operations of the vectors, in several ways."""
    operations = [bytes.fromhex(row["hex"])[64 + 4 + 8 + 2 + len("handbook"):]
                  for row in frames["frames"] if row["name"].startswith("EDIT add")]
    spans = struct.pack("<BBHfI", 1, 0, 0, 1.5, 2) + struct.pack("<4I", 3, 9, 9, 12)
    drop = struct.pack("<BBHfI", 3, 0, 0, 0, 1) + struct.pack("<2I", 4, 7)
    tails = [*operations, spans + drop, spans * 3 + drop, b""]
    return [struct.pack("<BHHB", flags, permille, 5, 3) + struct.pack("<2H", 48, 60) * 3 + tail
            for flags in (0, 1, 5) for permille in (0, 150, 1000) for tail in tails]


def text_seeds(texts):
    """Each text, with each phrase that is looked for in it."""
    rows = {row["name"]: bytes.fromhex(row["hex"]) for row in texts["texts"]}
    finds = [(row["texts"], row["phrase"].encode(), row["occurrence"] or 0)
             for row in texts["finds"] + texts["findFaults"] if len(row["phrase"]) < 256]
    return [bytes([number, len(phrase)]) + phrase + rows[name] for name, phrase, number in finds
            ] + [b"\0\1a" + bytes.fromhex(row["hex"]) for row in texts["invalidTexts"]]


def codec_seeds(root, vectors):
    """Objects under their class with the number of their profile, and the profiles."""
    profiles = sorted(vectors["profiles"], key=lambda row: row["hash"])
    folder = root / "profiles"
    folder.mkdir(parents=True, exist_ok=True)
    for row in profiles:
        (folder / row["hash"]).write_bytes(bytes.fromhex(row["hex"]))
    corpus(root, "CodecProfiles", [b"\0" + bytes.fromhex(row["hex"]) for row in profiles])
    hashes = [row["hash"] for row in profiles]
    for codec in ("exact", "high", "balanced", "small", "archive", "zstd", "lz4"):
        name = "Codec" + ("LZ4" if codec == "lz4" else codec.capitalize())
        corpus(root, name, [
            bytes([0, hashes.index(row["profile"]) if row["profile"] else 0])
            + bytes.fromhex(row["hex"])
            for row in vectors["objects"] if row["class"] == codec])


def main():
    root = pathlib.Path(sys.argv[1])
    frames = json.loads((VECTORS / "frames.json").read_text())
    layouts = json.loads((VECTORS / "layouts.json").read_text())
    rows = frames["frames"] + frames["faults"]
    hello = bytes.fromhex(frames["frames"][0]["hex"])
    requests = [row for row in frames["frames"] if not row["fields"]["flags"] & 1]
    streams = [b"\0" + hello + bytes.fromhex(row["hex"]) for row in rows]
    # Neither place granted; then all requests, small pieces, where both are.
    streams += [b"\x0c" + stream[1:] for stream in streams]
    streams.append(b"\x41" + b"".join(bytes.fromhex(row["hex"]) for row in requests))
    corpus(root, "FrameStream", streams)

    parsed = [control(row) for row in rows if not row.get("framing")]
    corpus(root, "RequestBodies", [
        bytes([op, place % 3]) + body for op, flags, _, place, body, _ in parsed
        if not flags & 1])

    corpus(root, "ResponseBodies", answer_seeds(frames))

    part = struct.pack("<HHBBB", 0, 4, 0, 1, 3)
    corpus(root, "Layouts", [
        part + bytes.fromhex(row["hex"]) for row in layouts["layouts"] + layouts["invalidLayouts"]])

    corpus(root, "Blends", blend_seeds(frames))
    corpus(root, "Texts", text_seeds(json.loads((VECTORS / "texts.json").read_text())))
    corpus(root, "RESPStream", resp_seeds())
    codec_seeds(root, json.loads((VECTORS / "codecs.json").read_text()))
    corpus(root, "DiskFormats", disk_seeds(json.loads((VECTORS / "disk.json").read_text())))


if __name__ == "__main__":
    main()
