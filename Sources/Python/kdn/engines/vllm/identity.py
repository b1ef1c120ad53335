"""Names for a model's exact weights and for LoRA adapters: by their bytes, never by a path."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import xxhash

from kdn.engines._identity import COSMETIC
from kdn.engines._rope import UnsupportedModel
from kdn.errors import FieldError
from kdn.keys import MODEL_BYTES_MAX

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
# Ways to load that put into memory what the files say and nothing else.
LOAD_FORMATS = ("auto", "hf", "safetensors", "fastsafetensors", "pt", "npcache", "gguf", "mistral")
READ_BYTES = 8 << 20
READERS = 4
# A page format is appended to the name in opaque mode.
NAME_BYTES_MAX = MODEL_BYTES_MAX - 160
COMMIT = re.compile(r"[0-9a-f]{40}")


def model_name(vllm_config: Any, given: str | None = None) -> str:
    """The name of the engine's weights: `given`, else a digest that no other weights share.

    A local model is named by its config and every byte of its weight files, one of a hub by its
    id, its commit and its config. The name is not the one that kdn.engines.transformers finds:
    give both the same name to share KV. Raises UnsupportedModel where the weights are not known,
    FieldError for a given name that is empty or too long.
    """
    if given is not None:
        if not 1 <= len(given.encode()) <= NAME_BYTES_MAX:
            raise FieldError("kdn_model_name", len(given), f"1 to {NAME_BYTES_MAX} bytes")
        return given
    model, load = vllm_config.model_config, vllm_config.load_config
    if str(load.load_format) not in LOAD_FORMATS:
        raise UnsupportedModel(f"load_format {load.load_format}: set kdn_model_name")
    if getattr(model, "model_weights", "") not in ("", model.model):
        raise UnsupportedModel("weights from object storage: set kdn_model_name")
    facts = _config_digest(vllm_config)
    kind = model.hf_text_config.model_type
    path = pathlib.Path(model.model)
    if path.exists():
        return f"{kind}-files-{files_digest(weight_files(path), facts)}"
    revision = str(getattr(model, "revision", None) or "")
    if not COMMIT.fullmatch(revision):
        raise UnsupportedModel(f"no commit is known of {model.model}: set kdn_model_name")
    name = f"{model.model}@{revision}-{facts.hex()}"
    if len(name.encode()) > NAME_BYTES_MAX:
        raise UnsupportedModel("the model's id is too long: set kdn_model_name")
    return name


def folder_name(path: pathlib.Path, dtype: str) -> str:
    """The name that an engine finds of a model in a folder which it loads with this dtype.

    Needs no vLLM: for who stores what an engine is to find. Where vLLM changes the config of a
    model by itself, the engine's name is another one: then give both the same name.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(path, local_files_only=True)
    model = SimpleNamespace(
        model=str(path), hf_config=config, hf_text_config=config.get_text_config(),
        dtype=f"torch.{dtype}", quantization=None, code_revision=None,
    )
    load = SimpleNamespace(load_format="auto")
    return model_name(SimpleNamespace(model_config=model, load_config=load))


def weight_files(path: pathlib.Path) -> list[pathlib.Path]:
    """The files that hold a model's or an adapter's weights; raises UnsupportedModel if none."""
    if path.is_file():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in WEIGHT_SUFFIXES)
    if not files:
        raise UnsupportedModel("the model's folder has no weight files: set kdn_model_name")
    return files


def files_digest(files: list[pathlib.Path], facts: bytes = b"") -> str:
    """SHA-256 over `facts`, and each file's name, length and XXH3-128; files read in parallel."""
    digest = hashlib.sha256(facts)
    with ThreadPoolExecutor(READERS) as readers:
        for file, (length, content) in zip(files, readers.map(_content, files), strict=True):
            digest.update(f"\n{file.name} {length} ".encode() + content)
    return digest.hexdigest()


def _content(file: pathlib.Path) -> tuple[int, bytes]:
    state, length = xxhash.xxh3_128(), 0
    buffer = bytearray(READ_BYTES)
    with file.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            state.update(memoryview(buffer)[:count])
            length += count
    return length, state.digest()


def _config_digest(vllm_config: Any) -> bytes:
    """A digest of what turns the weights' bytes into KV: config, dtypes, quantisation."""
    model, load = vllm_config.model_config, vllm_config.load_config
    facts = {
        "config": {k: v for k, v in model.hf_config.to_dict().items() if k not in COSMETIC},
        "dtype": str(model.dtype),
        "quantization": str(model.quantization),
        "load_format": str(load.load_format),
        "code_revision": str(getattr(model, "code_revision", None)),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).digest()


class LoraDigests:
    """Digests of adapters' files, each read once, in a thread of its own.

    An adapter whose files change while the engine runs has no digest from then on: nobody can
    say which of the two is loaded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reader: ThreadPoolExecutor | None = None
        self._known: dict[tuple[int, str], tuple[Any, bytes | None]] = {}

    def digest(self, lora_request: Any) -> bytes | None:
        """The adapter's digest; None while it is read, and for what is not a local folder."""
        name = (int(lora_request.lora_int_id), str(lora_request.lora_path))
        state = _state(name[1])
        with self._lock:
            if name not in self._known:
                self._known[name] = (state, None)
                if state is not None:
                    if self._reader is None:
                        self._reader = ThreadPoolExecutor(1, "kdn-lora")
                    self._reader.submit(self._read, name, state)
                return None
            known, digest = self._known[name]
            if known != state:
                self._known[name] = (None, None)
                return None
            return digest

    def close(self) -> None:
        """Ends the thread once it has read what it was asked to."""
        with self._lock:
            reader, self._reader = self._reader, None
        if reader is not None:
            reader.shutdown(wait=True)

    def _read(self, name: tuple[int, str], state: Any) -> None:
        try:
            files = [pathlib.Path(name[1]) / entry[0] for entry in state]
            digest = bytes.fromhex(files_digest(files))
        except OSError:
            return
        with self._lock:
            if self._known[name] == (state, None) and _state(name[1]) == state:
                self._known[name] = (state, digest)


def _state(path: str) -> tuple[tuple[str, int, int, int], ...] | None:
    """Name, length, time and number of each file of a folder; None if it cannot be read."""
    try:
        with os.scandir(path) as entries:
            rows = [
                (entry.name, stat.st_size, stat.st_mtime_ns, stat.st_ino)
                for entry in entries
                if entry.is_file() and (stat := entry.stat())
            ]
    except OSError:
        return None
    return tuple(sorted(rows)) or None
