"""Calibration: what an error in each channel of a model's KV costs, measured on the model.

The codecs quantise finely what the model's answers hang on, and coarsely the rest. How much hangs
on a channel is its Fisher information: the mean square of the gradient of log p(token) with
respect to the channel's values, for tokens drawn from the model's own distribution. Half of it
times the variance of an error is, to second order, the KL divergence that the error causes. It is
taken over the continuation of a text, and over repeats of passages of the text: these hang on the
few layers that find a passage again, which a continuation hardly asks for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kdn.engines import _rope
from kdn.engines._measure import LayerFacts
from kdn.engines._planes import describe
from kdn.engines.transformers import prefill, token_ids, trim
from kdn.layouts import Layout

# Importance is information to this power. A half would be right for small errors that are
# independent; .35 lost least of .25, .35, .42 and .5 on SmolLM2 at six times smaller KV.
POWER = 0.35
REPEAT_SHARE = 0.1
CONTINUED_TOKENS = 256
REPEATED_TOKENS = 72
REPEATS = 4
TOKENS_MIN = 64
# Leading tokens take much of all attention; the codecs keep them verbatim.
LEADING_TOKENS = 4
# Of the largest information, that of channels nothing seems to hang on.
INFORMATION_MIN = 1e-9

Gradients = dict[tuple[int, str], torch.Tensor]


@dataclass(frozen=True)
class Calibration:
    """Importance of each channel, of all KV heads of a layer, per `(layer, "K" or "V")`.

    Importance has no unit: only its proportions count, across all layers and both planes.
    """

    layout: Layout
    importance: dict[tuple[int, str], list[float]]

    def encode(self) -> bytes:
        """The file that `kdn profile learn` reads: JSON, described in Codecs.md."""
        planes = [
            {"layer": layer, "plane": plane, "importance": [float(f"{v:.6g}") for v in values]}
            for (layer, plane), values in sorted(self.importance.items())
        ]
        document = {
            "format": "kdn-calibration",
            "version": 1,
            "layout": self.layout.id.hex(),
            "planes": planes,
        }
        return (json.dumps(document) + "\n").encode()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the file."""
        Path(path).write_bytes(self.encode())


def calibrate(
    model: Any,
    texts: Sequence[str | Sequence[int]],
    *,
    tokenizer: Any = None,
    rounds: int = 2,
    seed: int = 0,
) -> list[Calibration]:
    """Measures a transformers model; one calibration per layout that its KV is stored in.

    `texts` are token ids, or strings with their `tokenizer`: three or more of 1,000 to 2,000
    tokens, of the sorts that the model will read. Each takes `rounds` times as long as training
    on its last 256 tokens would. Raises UnsupportedModel for a model whose KV has no layout, and
    ValueError for a text that is too short.
    """
    if not texts:
        raise ValueError("calibration needs a text")
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}, must be 1 or more")
    description = describe(model)
    layers = [layer for plane in description.planes for layer in plane.layers]
    generator = torch.Generator(device="cpu").manual_seed(seed)
    total: Gradients = {}
    for text in texts:
        ids = token_ids(text, tokenizer)
        if len(ids) < TOKENS_MIN:
            raise ValueError(f"a text has {len(ids)} tokens, must be {TOKENS_MIN} or more")
        for key, found in _information(model, layers, ids, rounds, generator).items():
            total[key] = total[key] + found if key in total else found
    least = max(float(found.max()) for found in total.values()) * INFORMATION_MIN
    if not 0 < least < float("inf"):
        raise ValueError("the model's gradients vanish or are not finite")
    importance = {
        key: (found.clamp(min=least) ** POWER).flatten().tolist() for key, found in total.items()
    }
    return [
        Calibration(
            layout=plane.layout,
            importance={
                (layer.number, name): importance[layer.number, name]
                for layer in plane.layers
                for name in ("K", "V")
            },
        )
        for plane in description.planes
    ]


def _information(
    model: Any,
    layers: Sequence[LayerFacts],
    ids: Sequence[int],
    rounds: int,
    generator: torch.Generator,
) -> Gradients:
    """The information of each channel, `[head, dim]`, keys not rotated, by sampling."""
    continued = min(CONTINUED_TOKENS, len(ids) // 4)
    past, following = ids[:-continued], ids[-continued:]
    cache = prefill(model, past)
    trim(cache)
    planes = [
        (cache.layers[layer.number].keys, cache.layers[layer.number].values) for layer in layers
    ]
    readings = [(1.0, [following]), (REPEAT_SHARE, list(_repeated(past)))]
    total: Gradients = {}
    for share, pieces in readings * rounds:
        tokens = sum(len(piece) for piece in pieces)
        leaves = [tuple(part.detach().clone().requires_grad_() for part in both) for both in planes]
        scores = []
        for piece in pieces:
            _put_back(cache, layers, leaves, len(past))
            scores.append(_score(model, cache, piece, generator))
        gradients = torch.autograd.grad(
            torch.stack(scores).sum(), [leaf for both in leaves for leaf in both]
        )
        for index, layer in enumerate(layers):
            for name, gradient in zip("KV", gradients[2 * index :]):
                found = _mean_square(name, gradient[0], layer, len(past)) * (share / tokens)
                key = (layer.number, name)
                total[key] = total[key] + found if key in total else found
    return total


def _mean_square(
    name: str, gradient: torch.Tensor, layer: LayerFacts, past_tokens: int
) -> torch.Tensor:
    """Per `[head, dim]`, over the tokens that a plane `[head, token, dim]` holds."""
    first = past_tokens - gradient.shape[1]
    rows = gradient.to("cpu", torch.float64)
    if name == "K":
        rows = _unrotated(rows, layer, first)
    return rows[:, max(0, LEADING_TOKENS - first) :].square().mean(dim=1)


def _repeated(past: Sequence[int]) -> Iterator[Sequence[int]]:
    """Passages spread evenly over a text."""
    length = min(REPEATED_TOKENS, len(past) // 2)
    for repeat in range(REPEATS):
        start = (len(past) - length) * (2 * repeat + 1) // (2 * REPEATS)
        yield past[start : start + length]


def _put_back(
    cache: Any,
    layers: Sequence[LayerFacts],
    leaves: Sequence[tuple[torch.Tensor, ...]],
    past_tokens: int,
) -> None:
    """Makes the cache what it was before anything was read on top of it."""
    for layer, (keys, values) in zip(layers, leaves, strict=True):
        held = cache.layers[layer.number]
        held.keys, held.values = keys, values
        if hasattr(held, "cumulative_length"):
            held.cumulative_length = past_tokens


def _score(
    model: Any, cache: Any, ids: Sequence[int], generator: torch.Generator
) -> torch.Tensor:
    """The log probability of tokens that the model itself draws while it reads `ids`."""
    read = torch.tensor([list(ids)], device=model.device)
    logits = model(input_ids=read, past_key_values=cache).logits[0]
    scores = torch.log_softmax(logits.float(), dim=-1)
    drawn = torch.multinomial(scores.detach().exp().cpu(), 1, generator=generator)
    return scores.gather(1, drawn.to(scores.device)).sum()


def _unrotated(rows: torch.Tensor, layer: LayerFacts, first: int) -> torch.Tensor:
    """Gradients with respect to keys before rotation, `[head, token, dim]`: turned back."""
    rope = layer.rope
    if rope is None:
        return rows
    positions = torch.arange(first, first + rows.shape[1], dtype=torch.float64)
    angles = positions[:, None] * _rope.frequencies(rope).to(torch.float64)
    cos, sin = angles.cos(), angles.sin()
    rows = rows.clone()
    part = rows[..., : rope.rotary_dims]
    if rope.pairing == "neox":
        one, other = part.chunk(2, dim=-1)
    else:
        one, other = part[..., 0::2], part[..., 1::2]
    turned = one * cos + other * sin, other * cos - one * sin
    one.copy_(turned[0])
    other.copy_(turned[1])
    return rows
