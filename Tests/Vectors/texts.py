"""The texts of documents' tokens (Formats.md, Beside a document) and what finds phrases."""

import struct

from hashing import sha256


def encode(ends, text):
    header = b"KDNX" + struct.pack("<HHII", 1, 0, len(ends), len(text))
    return header + struct.pack(f"<{len(ends)}I", *ends) + text


def texts_row(name, pieces):
    ends, text = [], b""
    for piece in pieces:
        text += piece
        ends.append(len(text))
    return {"name": name, "ends": ends, "text": text.hex(), "hex": encode(ends, text).hex()}


ROWS = [
    texts_row("words", [b"", b"The", b" key", b" of", b" the", b" key", b".", b""]),
    # Each euro sign is three bytes, of which the tokens have one and two, and two and one.
    texts_row("characters in several tokens", [
        b"a price of \xe2", b"\x82\xac", b" or", b" \xe2\x82", b"\xac2",
    ]),
    texts_row("the last character broken off", [b"caf", b"\xc3"]),
    texts_row("no text", [b"", b""]),
    texts_row("one letter", [b"aaa", b"a", b"aaa"]),
]

# Of a text by its name: a phrase, which occurrence (null for the only one, 0 for all), the spans.
FINDS = [
    ("words", "The", None, [[1, 2]]),
    ("words", " of the", None, [[3, 5]]),
    ("words", "of t", None, [[3, 5]]),
    ("words", "key", 1, [[2, 3]]),
    ("words", "key", 2, [[5, 6]]),
    ("words", "key", 0, [[2, 3], [5, 6]]),
    ("words", "The key of the key.", None, [[1, 7]]),
    ("characters in several tokens", "€", 1, [[0, 2]]),
    ("characters in several tokens", "€", 2, [[3, 5]]),
    ("characters in several tokens", "€", 0, [[0, 2], [3, 5]]),
    ("characters in several tokens", "€2", None, [[3, 5]]),
    ("characters in several tokens", "or", None, [[2, 3]]),
    ("the last character broken off", "af", None, [[0, 1]]),
    # Occurrences do not overlap; two that share a token, or follow one another, are one span.
    ("one letter", "aa", 0, [[0, 3]]),
    ("one letter", "aa", 2, [[0, 2]]),
    ("one letter", "aaaaaaa", None, [[0, 3]]),
]
# The same with the field at fault and its value.
FAULTS = [
    ("words", "key", None, "text", 2),
    ("words", "Key", None, "text", 0),
    ("words", "keys", 0, "text", 0),
    ("words", "key", 3, "occurrence", 3),
    ("words", "", None, "text", 0),
    ("words", "x" * 4097, None, "text", 4097),
    ("characters in several tokens", "€", None, "text", 2),
    ("the last character broken off", "é", None, "text", 0),
    ("no text", "a", None, "text", 0),
    ("one letter", "aa", None, "text", 3),
]


def invalid_rows():
    ends, text = [1, 3], b"abc"
    good = encode(ends, text)
    changed = [
        ("another magic", b"KDNT" + good[4:], "magic"),
        ("another version", good[:4] + b"\2" + good[5:], "version"),
        ("reserved bytes", good[:6] + b"\1" + good[7:], "reserved"),
        ("no tokens", encode([], b""), "tokenCount"),
        ("too many tokens", good[:8] + struct.pack("<I", (1 << 20) + 1) + good[12:], "tokenCount"),
        ("too long a text", good[:12] + struct.pack("<I", (16 << 20) + 1) + good[16:], "textBytes"),
        ("bytes missing", good[:-1], "length"),
        ("bytes left over", good + b"d", "length"),
        ("ends that fall", encode([3, 1, 3], text), "end"),
        ("an end beyond the text", encode([1, 4], text), "end"),
        ("text behind the last end", encode([1, 2], text), "end"),
    ]
    return [{"name": name, "hex": raw.hex(), "field": field} for name, raw, field in changed]


def text_sections():
    last = bytes(range(32))
    return {
        "texts": ROWS,
        "invalidTexts": invalid_rows(),
        "finds": [dict(zip(("texts", "phrase", "occurrence", "spans"), row)) for row in FINDS],
        "findFaults": [
            dict(zip(("texts", "phrase", "occurrence", "field", "value"), row)) for row in FAULTS
        ],
        "keys": [{
            "lastChunk": last.hex(),
            "hash": sha256(b"kdn/1/document-texts/" + last).hex(),
        }],
    }
