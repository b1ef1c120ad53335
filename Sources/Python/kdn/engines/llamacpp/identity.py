"""A name for what a server computes: its model's bytes, its build, its cache's shape."""

from __future__ import annotations

import os
import pathlib
import re
import threading
from typing import Any

import xxhash

from kdn.engines.llamacpp.server import LlamaServer, ServerTrouble
from kdn.engines.llamacpp.settings import StateSettings
from kdn.engines.llamacpp.state_file import parse_head

READ_BYTES = 16 << 20
# Where the names of a model's tensors are: behind its metadata, the vocabulary included.
NAMES_BYTES = 64 << 20
# With these factors the KV depends on the length that the context was made for.
LONG_ROPE = b"rope_factors_long"
PROBE_TOKENS = 16
_SPLIT = re.compile(r"^(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")
# What /props says that may change while the same server runs.
_CHANGING = ("is_sleeping", "ui_settings", "webui_settings")

_digests: dict[tuple[object, ...], tuple[str, bool]] = {}
_digests_lock = threading.Lock()


class UnsupportedServer(Exception):
    """States of this server cannot be kept safely, or not at all; the message says why."""


def model_files(path: pathlib.Path) -> list[pathlib.Path]:
    """All files of a model: one, or the numbered parts that belong to the first."""
    found = _SPLIT.match(path.name)
    if found is None:
        return [path]
    stem, count = found["stem"], int(found["count"])
    return [path.with_name(f"{stem}-{i:05}-of-{count:05}.gguf") for i in range(1, count + 1)]


def model_digest(path: pathlib.Path) -> tuple[str, bool]:
    """XXH3-128 over every byte of the model's files, and whether its RoPE has long factors.

    Files are read once for as long as their size, inode and times stay. Raises OSError.
    """
    files = model_files(path)
    facts = [os.stat(file) for file in files]
    known = (str(path), *((f.st_ino, f.st_size, f.st_mtime_ns, f.st_ctime_ns) for f in facts))
    with _digests_lock:
        if known in _digests:
            return _digests[known]
    digest, long_rope = xxhash.xxh3_128(), False
    for file in files:
        with open(file, "rb", buffering=0) as stream:
            long_rope = _digest_file(stream, digest) or long_rope
    with _digests_lock:
        if len(_digests) >= 64:
            _digests.clear()
        _digests[known] = (digest.hexdigest(), long_rope)
        return _digests[known]


def _digest_file(stream: Any, digest: Any) -> bool:
    """Adds a file's length and bytes; tells whether its names include those of long factors."""
    size = os.fstat(stream.fileno()).st_size
    digest.update(size.to_bytes(8, "little"))
    buffer = memoryview(bytearray(READ_BYTES))
    done, last, found = 0, b"", False
    while count := stream.readinto(buffer):
        digest.update(buffer[:count])
        if done < NAMES_BYTES:
            found = found or LONG_ROPE in last + bytes(buffer[:count])
            last = bytes(buffer[max(0, count - len(LONG_ROPE)) : count])
        done += count
    if done != size:
        raise OSError(f"{stream.name} changed while it was read")
    return found


def fingerprint(props: dict[str, Any]) -> str:
    """What a server says of itself; another text means that it is another one, or restarted."""
    return repr(sorted((k, repr(v)) for k, v in props.items() if k not in _CHANGING))


def slot_context(props: dict[str, Any]) -> int:
    """How many tokens a slot can hold. Raises UnsupportedServer if it is not told."""
    context = (props.get("default_generation_settings") or {}).get("n_ctx")
    if not isinstance(context, int) or context < 1:
        raise UnsupportedServer("its /props does not say how many tokens a slot holds")
    return context


def check_supported(props: dict[str, Any], adapters: Any) -> None:
    """Raises UnsupportedServer for a server whose slots' KV the model's file does not explain."""
    if adapters:
        raise UnsupportedServer("it has LoRA adapters, whose scales can be changed while it runs")
    slots = props.get("total_slots")
    if not isinstance(slots, int) or slots < 1:
        raise UnsupportedServer("its /props does not say how many slots it has")
    slot_context(props)


def probe(server: LlamaServer, slots_dir: pathlib.Path, filename: str) -> tuple[int, ...]:
    """The format, tokens and bytes of a tiny state, which tell the cache's types and shape.

    Shows too that slots can be saved, and to the folder that was named. Raises UnsupportedServer
    if not, ServerTrouble if the server does not answer.
    """
    body = {"prompt": list(range(3, 3 + PROBE_TOKENS)), "n_predict": 1, "cache_prompt": False}
    slot = server.call("POST", "/completion", body).get("id_slot")
    if not isinstance(slot, int):
        raise UnsupportedServer("its /completion does not say which slot it used")
    path = slots_dir / filename
    try:
        server.save_slot(slot, filename)
        data = path.read_bytes()
        head = parse_head(data)
    except ServerTrouble as error:
        raise UnsupportedServer(f"it cannot save slots (--slot-save-path?): {error}") from error
    except FileNotFoundError as error:
        raise UnsupportedServer(f"its --slot-save-path is not {slots_dir}") from error
    except ValueError as error:
        raise UnsupportedServer(f"its states are of an unknown format: {error}") from error
    finally:
        path.unlink(missing_ok=True)
        server.erase_slot(slot)
    return head.version, len(head.tokens), len(data) - head.head_bytes


def name_of(
    digest: str,
    long_rope: bool,
    props: dict[str, Any],
    probed: tuple[int, ...],
    settings: StateSettings,
) -> str:
    """The name under which states are kept: equal only if one server can use another's."""
    context = slot_context(props) if long_rope else 0
    build = str(props.get("build_info", ""))[:128]
    state = "-".join(map(str, probed))
    return f"gguf-{digest}/build-{build}/state-{state}/context-{context}/{settings.variant}"
