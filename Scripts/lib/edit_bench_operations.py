"""Edits of KV as tensors: what EDIT's recipes do to a document, written down once more, plainly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from edit_bench_cases import Case, Span
from knowledge_model import Planes, Reader

# `[kvHeads, headDim]` per layer.
Directions = list[torch.Tensor]


@dataclass(frozen=True)
class Edit:
    """An operation on some spans of a case.

    `kind` is scaleKeys, scaleValues, drop or addToKeys, `strength` its factor or the bias that a
    mean query gets; `target` is marked, others or wrong (one that is not marked); `part` of each
    sentence all of it, or its digits; `layers` a range of the model's, all by default.
    """

    kind: str
    strength: float = 0.0
    target: str = "marked"
    part: str = "sentence"
    layers: tuple[int, int] | None = None

    def spans(self, case: Case) -> list[Span]:
        """The tokens of a case that this edits."""
        others = [fact for number, fact in enumerate(case.facts) if number != case.marked]
        facts = {"marked": [case.facts[case.marked]], "others": others, "wrong": others[:1]}
        return [
            fact.sentence if self.part == "sentence" else fact.digits for fact in facts[self.target]
        ]


def edited(
    planes: Planes, edit: Edit, spans: Sequence[Span], directions: Directions | None = None
) -> Planes:
    """Copies of planes with an edit applied; the base is not touched. Dropped rows leave a hole."""
    rows = [row for start, end in spans for row in range(start, end)]
    if edit.kind == "drop":
        gone = set(rows)
        kept = [row for row in range(planes[0][0].shape[2]) if row not in gone]
        return [(keys[:, :, kept], values[:, :, kept]) for keys, values in planes]
    found = []
    first, last = edit.layers or (0, len(planes))
    for number, (keys, values) in enumerate(planes):
        if not first <= number < last:
            found.append((keys, values))
            continue
        if edit.kind == "scaleKeys":
            keys = keys.clone()
            keys[:, :, rows] *= edit.strength
        elif edit.kind == "scaleValues":
            values = values.clone()
            values[:, :, rows] *= edit.strength
        elif edit.kind == "addToKeys" and directions is not None:
            keys = keys.clone()
            keys[:, :, rows] += edit.strength * directions[number][None, :, None]
        else:
            raise ValueError(f"no such edit: {edit}")
        found.append((keys, values))
    return found


def prefilled(reader: Reader, ids: Sequence[int]) -> tuple[Planes, Directions]:
    """KV of a text from position 0, and its directions.

    Added to a key, a direction raises that key's logit with the text's mean query by 1.
    The mean is over the tokens and over the query heads that share a KV head, of queries as they
    are after rotation: what turns quickly with the position cancels, so that the direction holds
    for questions further on.
    """
    found: list[torch.Tensor] = []
    rotary: list[tuple[torch.Tensor, torch.Tensor]] = []
    hooks = [
        layer.self_attn.q_proj.register_forward_hook(lambda _, __, out: found.append(out[0]))
        for layer in reader.model.model.layers
    ]
    hooks.append(
        reader.model.model.rotary_emb.register_forward_hook(lambda _, __, out: rotary.append(out))
    )
    try:
        planes = reader.prefill(ids)
    finally:
        for hook in hooks:
            hook.remove()
    cosine, sine = (part[0][:, None] for part in rotary[0])
    config = reader.model.config
    return planes, [_direction(config, queries, cosine, sine) for queries in found]


def _direction(
    config: Any, queries: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
) -> torch.Tensor:
    dim: int = config.head_dim
    heads = queries.view(queries.shape[0], -1, dim)
    low, high = heads[..., : dim // 2], heads[..., dim // 2 :]
    rotated = heads * cosine + torch.cat([-high, low], dim=-1) * sine
    shared = rotated.view(queries.shape[0], config.num_key_value_heads, -1, dim).mean((0, 2))
    return shared * dim**0.5 / shared.pow(2).sum(-1, keepdim=True)
