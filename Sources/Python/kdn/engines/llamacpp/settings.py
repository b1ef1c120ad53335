"""What a user may choose about slot states and the proxy; wrong values are errors at start."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

from kdn.errors import FieldError
from kdn.keys import CHUNK_TOKENS_MAX, CHUNK_TOKENS_MIN, SALT_BYTES_MAX

MEBIBYTE = 1 << 20
PIECE_BYTES_MIN = 64 << 10
PIECE_BYTES_MAX = 512 * MEBIBYTE


@dataclass(frozen=True)
class StateSettings:
    """How states are named, cut, found and kept.

    `variant` is what else of the server's command line changes what the model computes and no
    endpoint tells (RoPE scaling, control vectors, --override-kv, ...). A state is fetched if it
    saves at least `min_tokens` of prompt and holds at most `waste` times the tokens that are
    shared; it is stored if at least `min_tokens`, and the part `growth` of the prompt, are new.
    """

    chunk_tokens: int = 256
    min_tokens: int = 256
    growth: float = 0.125
    waste: float = 4.0
    piece_bytes: int = 64 * MEBIBYTE
    state_bytes_max: int = 4096 * MEBIBYTE
    ttl_ms: int = 0
    salt: bytes = b""
    variant: str = ""
    model_file: pathlib.Path | None = None
    restore_timeout: float = 5.0
    save_timeout: float = 60.0

    def __post_init__(self) -> None:
        for field, value, least, most in (
            ("chunk_tokens", self.chunk_tokens, CHUNK_TOKENS_MIN, CHUNK_TOKENS_MAX),
            ("min_tokens", self.min_tokens, 1, 1 << 31),
            ("growth", self.growth, 0, 1),
            ("waste", self.waste, 1, 1 << 20),
            ("piece_bytes", self.piece_bytes, PIECE_BYTES_MIN, PIECE_BYTES_MAX),
            ("state_bytes_max", self.state_bytes_max, 1, 1 << 40),
            ("ttl_ms", self.ttl_ms, 0, 1 << 40),
            ("salt", len(self.salt), 0, SALT_BYTES_MAX),
            ("variant", len(self.variant.encode()), 0, 200),
            ("restore_timeout", self.restore_timeout, 0.01, 600),
            ("save_timeout", self.save_timeout, 0.01, 3600),
        ):
            if not least <= value <= most:
                raise FieldError(field, value, f"{least} to {most}")


@dataclass(frozen=True)
class ProxySettings:
    """Limits of the proxy: connections, sizes in bytes, waits in seconds."""

    connections_max: int = 256
    body_bytes_max: int = 32 * MEBIBYTE
    idle_timeout: float = 60.0
    answer_timeout: float = 3600.0
    slot_wait: float = 30.0
