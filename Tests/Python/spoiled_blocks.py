"""Decodes spoiled blocks by every path of the kernels, which must agree; run by a test, in a
process of its own that has the kernels under sanitizers.

usage: spoiled_blocks.py VECTORS.json ROUNDS
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from kdn.codec import Decoder, Profiles, read_header, stream
from kdn.codec.kernel_library import load
from kdn.codec.kernels import AVX2, AVX512, SCALAR, Kernels
from kdn.errors import FieldError

PATHS = (SCALAR, AVX2, AVX512)
# The reference takes a hundred times as long.
REFERENCE_EVERY = 8


class Same:
    """A checksum that is right whatever the bytes are: what is spoiled is to reach the kernels."""

    def __ne__(self, other: object) -> bool:
        return False


def spoiled(encoded: bytes, rng: random.Random) -> bytes:
    """The object with a few bytes of its blocks changed, mostly of their first fields."""
    data = bytearray(encoded)
    entries = read_header(encoded).entries
    for _ in range(rng.choice((1, 1, 2, 5, 40))):
        entry = rng.choice(entries)
        reach = rng.choice((16, 400, entry.byte_count))
        at = entry.offset + rng.randrange(min(reach, entry.byte_count))
        data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256), data[at] ^ 1))
    return bytes(data)


def outcome(decoder: Decoder, encoded: bytes) -> bytes | None:
    """What it decodes to, None if it is refused."""
    try:
        return bytes(decoder.decode(encoded))
    except FieldError:
        return None


def main() -> int:
    vectors = json.loads(Path(sys.argv[1]).read_text())
    profiles = Profiles()
    for row in vectors["profiles"]:
        profiles.add(bytes.fromhex(row["hex"]))
    objects = [bytes.fromhex(row["hex"]) for row in vectors["objects"]]
    library = load()
    assert not isinstance(library, str), library
    paths = [path for path in PATHS if library.kdn_path_available(path)]
    reference = Decoder(profiles, "numpy", verify=False)
    decoders = [Decoder(profiles, verify=False) for _ in paths]
    for decoder, path in zip(decoders, paths):
        decoder.host = Kernels(library, path)
    stream.checksum = lambda data: Same()
    seed = random.SystemRandom().randrange(1 << 32)
    rng = random.Random(seed)
    refused = 0
    for number in range(int(sys.argv[2])):
        encoded = spoiled(rng.choice(objects), rng)
        found = [outcome(decoder, encoded) for decoder in decoders]
        if number % REFERENCE_EVERY == 0:
            found.append(outcome(reference, encoded))
        if len(set(found)) != 1:
            kinds = ["refused" if each is None else hash(each) for each in found]
            sys.exit(f"seed {seed}, round {number}: paths {paths} differ: {kinds}")
        refused += found[0] is None
    print(f"seed {seed}: {refused} of {sys.argv[2]} refused, paths {paths}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
