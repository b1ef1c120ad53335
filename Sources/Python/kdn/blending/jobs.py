"""Jobs of a blend worker: what their payloads say, checked before any of it is done.

A job's kind is `learn` or `blend`, or one of these with a queue's name behind a dot, such as
`blend.mistral`, so that workers of several models share a namespace. The payload is JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Union

from kdn.blending.plan import PERMILLE_MAX, PIECES_MAX
from kdn.errors import FieldError
from kdn.keys import Key

LEARN, BLEND = "learn", "blend"
VERBS = (LEARN, BLEND)
TOKEN_MAX = 0xFFFFFFFF
RECOMPUTE_PERMILLE = 150
FORBIDDEN_MAX = 64

Prompt = Union[str, tuple[int, ...]]


@dataclass(frozen=True)
class LearnJob:
    """Compute the KV of `text` (or tokens) with nothing before it, and publish it as `name`."""

    name: str
    text: Prompt
    metadata: str = ""
    salt: str = ""


@dataclass(frozen=True)
class BlendJob:
    """Blend documents, behind them `question`, and store the prompt under its ordinary chain.

    `pieces` are (name, epoch), epoch 0 is any. `salt` is the documents', `chain_salt` the
    prompt's: what an engine calls its cache salt. `recompute` is in thousandths of all tokens.
    """

    pieces: tuple[tuple[str, int], ...]
    question: Prompt = ()
    recompute: int = RECOMPUTE_PERMILLE
    without: tuple[str, ...] = ()
    salt: str = ""
    chain_salt: str = ""


@dataclass(frozen=True)
class BlendResult:
    """What became of a blend.

    Of a prompt's `tokens` the first `stored_tokens` are under the chain that ends in `chain`.
    `exact_tokens` of them were there before, and were left as they are; `recomputed` were
    computed anew. `prompt` names the object with the prompt's token ids.
    """

    tokens: int
    stored_tokens: int
    exact_tokens: int
    recomputed: int
    chain: str
    prompt: str
    epochs: tuple[int, ...] = field(default=())
    seconds: float = 0.0


def verb_of(kind: str) -> str:
    """`learn` or `blend`; raises FieldError for another kind."""
    verb = kind.split(".", 1)[0]
    if verb not in VERBS:
        raise FieldError("kind", kind, "learn or blend, perhaps with a dot and a queue's name")
    return verb


def decode_learn(payload: bytes) -> LearnJob:
    """A learn job; raises FieldError that names what is wrong with it."""
    fields = _fields(payload, {"name", "text", "tokens", "metadata", "salt"})
    return LearnJob(
        name=_text(fields, "name"),
        text=_prompt(fields, "text", "tokens"),
        metadata=_text(fields, "metadata", ""),
        salt=_text(fields, "salt", ""),
    )


def decode_blend(payload: bytes) -> BlendJob:
    """A blend job; raises FieldError that names what is wrong with it."""
    fields = _fields(
        payload,
        {"pieces", "question", "tokens", "recompute", "without", "salt", "chain_salt"},
    )
    pieces = fields.get("pieces")
    if not isinstance(pieces, list) or not 1 <= len(pieces) <= PIECES_MAX:
        raise FieldError("pieces", pieces, f"a list of 1 to {PIECES_MAX} documents")
    recompute = fields.get("recompute", RECOMPUTE_PERMILLE)
    if not _is_integer(recompute) or not 0 <= recompute <= PERMILLE_MAX:
        raise FieldError("recompute", recompute, f"0 to {PERMILLE_MAX}")
    without = fields.get("without", [])
    if not isinstance(without, list) or len(without) > FORBIDDEN_MAX:
        raise FieldError("without", without, f"a list of at most {FORBIDDEN_MAX} names")
    if not all(isinstance(name, str) for name in without):
        raise FieldError("without", without, "a list of names")
    asks = "question" in fields or "tokens" in fields
    return BlendJob(
        pieces=tuple(_piece(piece) for piece in pieces),
        question=_prompt(fields, "question", "tokens") if asks else (),
        recompute=recompute,
        without=tuple(without),
        salt=_text(fields, "salt", ""),
        chain_salt=_text(fields, "chain_salt", ""),
    )


def encode(job: LearnJob | BlendJob) -> bytes:
    """The payload of a job."""
    if isinstance(job, LearnJob):
        fields: dict[str, Any] = {"name": job.name, "metadata": job.metadata, "salt": job.salt}
        fields["text" if isinstance(job.text, str) else "tokens"] = job.text
    else:
        fields = {
            "pieces": [{"name": name, "epoch": epoch} for name, epoch in job.pieces],
            "recompute": job.recompute,
            "without": job.without,
            "salt": job.salt,
            "chain_salt": job.chain_salt,
        }
        if job.question:
            fields["question" if isinstance(job.question, str) else "tokens"] = job.question
    return json.dumps(fields).encode()


def decode_result(data: bytes) -> BlendResult:
    """What the result of a blend job says."""
    fields = json.loads(data)
    return BlendResult(**{**fields, "epochs": tuple(fields["epochs"])})


def prompt_key(name: str) -> Key:
    """The object with the token ids of a blended prompt, u32 little-endian, by its `prompt`."""
    return Key.opaque(b"kdn/1/blend-prompt/" + bytes.fromhex(name))


def _fields(payload: bytes, known: set[str]) -> dict[str, Any]:
    try:
        fields = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise FieldError("payload", f"{len(payload)} bytes", "JSON") from error
    if not isinstance(fields, dict):
        raise FieldError("payload", type(fields).__name__, "a JSON object")
    for name in fields:
        if name not in known:
            raise FieldError("payload", name, f"of the fields {', '.join(sorted(known))}")
    return fields


def _text(fields: dict[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise FieldError(name, value, "text")
    return value


def _prompt(fields: dict[str, Any], text: str, tokens: str) -> Prompt:
    if (text in fields) == (tokens in fields):
        raise FieldError(text, "given twice" if text in fields else None, f"it or {tokens}")
    if text in fields:
        if not _text(fields, text):
            raise FieldError(text, "", "not empty")
        return _text(fields, text)
    ids = fields[tokens]
    if not isinstance(ids, list) or not ids:
        raise FieldError(tokens, ids, "a list of token ids")
    if not all(_is_integer(one) and 0 <= one <= TOKEN_MAX for one in ids):
        raise FieldError(tokens, "another value", f"integers from 0 to {TOKEN_MAX}")
    return tuple(ids)


def _piece(value: Any) -> tuple[str, int]:
    if isinstance(value, str):
        return value, 0
    if not isinstance(value, dict) or not set(value) <= {"name", "epoch"}:
        raise FieldError("pieces", value, "names, or objects with name and epoch")
    epoch = value.get("epoch", 0)
    if not _is_integer(epoch) or not 0 <= epoch < 1 << 64:
        raise FieldError("epoch", epoch, "0 to 2^64 - 1")
    return _text(value, "name"), epoch


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
