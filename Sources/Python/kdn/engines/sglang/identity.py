"""A name for the exact weights that SGLang serves; a path or a served name is none."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import xxhash

from kdn.errors import FieldError

# What decides the KV of given tokens; tokenizers, readmes and the like do not.
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf")
CONFIG_NAMES = ("config.json", "hf_quant_config.json", "quantize_config.json", "params.json")
ADAPTER_NAMES = ("adapter_config.json",)
CODE_SUFFIXES = (".py",)
READ_BYTES = 8 << 20
THREADS_MAX = 8


def weights_name(path: str, revision: str | None = None, cache: str | None = None) -> str:
    """Names the weights that `path` leads to: a folder, a file, or a repository of the hub.

    A folder is named by a digest over its configuration, code and weight files, so it is read
    once, at some GB/s; a hub repository by its commit. Raises FieldError for anything else: name
    such a model with `kdn_model_name`.
    """
    place = pathlib.Path(path)
    if place.is_dir():
        files = sorted(file for file in place.rglob("*") if _matters(file))
        if not any(file.suffix in WEIGHT_SUFFIXES for file in files):
            raise _unnameable(path, "a folder with weight files")
        return f"weights:{_digest(place, files)}"
    if place.is_file():
        return f"weights:{_digest(place.parent, [place])}"
    commit = _hub_commit(path, revision, cache)
    if commit is None:
        raise _unnameable(path, "a local folder, or a hub repository whose commit is known")
    return f"{path}@{commit}"


def _unnameable(path: str, wanted: str) -> FieldError:
    return FieldError("model path", path, f"{wanted}; else name the weights with kdn_model_name")


def _matters(file: pathlib.Path) -> bool:
    named = file.name in CONFIG_NAMES or file.name in ADAPTER_NAMES
    return (named or file.suffix in WEIGHT_SUFFIXES + CODE_SUFFIXES) and file.is_file()


def _digest(root: pathlib.Path, files: Iterable[pathlib.Path]) -> str:
    """SHA-256 over each file's name and content hash."""
    chosen = list(files)
    with ThreadPoolExecutor(min(THREADS_MAX, os.cpu_count() or 1)) as pool:
        contents = list(pool.map(_content, chosen))
    digest = hashlib.sha256()
    for file, content in zip(chosen, contents):
        digest.update(f"{file.relative_to(root)}\0".encode() + content)
    return digest.hexdigest()


def _content(file: pathlib.Path) -> bytes:
    state = xxhash.xxh3_128()
    buffer = memoryview(bytearray(READ_BYTES))
    with open(file, "rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            state.update(buffer[:count])
    return state.digest()


def _hub_commit(repository: str, revision: str | None, cache: str | None) -> str | None:
    """The commit of the snapshot that the hub's local cache holds for a revision."""
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        return None
    try:
        found = try_to_load_from_cache(
            repository, "config.json", cache_dir=cache, revision=revision
        )
    except HFValidationError:
        return None
    if not isinstance(found, str):
        return None
    folders = pathlib.Path(found).parts
    if "snapshots" not in folders:
        return None
    return folders[folders.index("snapshots") + 1]
