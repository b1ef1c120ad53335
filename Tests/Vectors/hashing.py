"""Chunk hashes and keys, as Formats.md and Protocol.md spell them."""

import hashlib
import struct


def sha256(data):
    return hashlib.sha256(data).digest()


def root_of(prefix, model, salt):
    name = model.encode("utf-8")
    return sha256(
        prefix + struct.pack("<I", len(name)) + name + struct.pack("<I", len(salt)) + salt
    )


def chunk_of(parent, tokens):
    return sha256(parent + b"".join(struct.pack("<I", token) for token in tokens))


def chain_row(name, model, salt, tokens, chunk_tokens):
    root = root_of(b"kdn/1", model, salt)
    document_root = root_of(b"kdn/1/doc", model, salt)

    def chain(start):
        hashes, parent = [], start
        whole = len(tokens) // chunk_tokens
        for index in range(whole):
            parent = chunk_of(parent, tokens[index * chunk_tokens : (index + 1) * chunk_tokens])
            hashes.append(parent.hex())
        rest = tokens[whole * chunk_tokens :]
        return hashes, chunk_of(parent, rest).hex() if rest else None

    hashes, tail = chain(root)
    document_hashes, document_tail = chain(document_root)
    return {
        "name": name,
        "fields": {
            "model": model,
            "salt": salt.hex(),
            "chunkTokens": chunk_tokens,
            "tokens": tokens,
        },
        "root": root.hex(),
        "documentRoot": document_root.hex(),
        "hashes": hashes,
        "tail": tail,
        "documentHashes": document_hashes,
        "documentTail": document_tail,
    }


def key_bytes(kind, variant, digest, layout_id, first_layer, layers, first_head, heads):
    data = struct.pack("<B3xI", kind, variant) + digest + layout_id
    data += struct.pack("<HHHH", first_layer, layers, first_head, heads)
    assert len(data) == 64
    return data


def layout_key(digest, layout_id, part, variant=0):
    return key_bytes(1, variant, digest, layout_id, *part)


def opaque_key(name):
    return key_bytes(2, 0, sha256(name), bytes(16), 0, 0, 0, 0)


def key_row(name, digest, layout_id, part, variant):
    return {
        "name": name,
        "fields": {
            "kind": "layout",
            "hash": digest.hex(),
            "layoutID": layout_id.hex(),
            "part": part_json(part),
            "variant": variant,
        },
        "hex": layout_key(digest, layout_id, part, variant).hex(),
    }


def part_json(part):
    return dict(zip(("firstLayer", "layerCount", "firstKVHead", "kvHeadCount"), part))


def pseudo_tokens(count, seed, vocabulary):
    state, tokens = seed, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        tokens.append((state >> 33) % vocabulary)
    return tokens
