"""The codec benchmark's judge: what a model makes of KV that went through a codec.

A document's first 2,048 tokens are its prefix, whose KV is coded; the judge compares what the model
predicts over the next 256 with what it predicts on the KV as it was (in bf16), and how well it
repeats passages of the prefix when it is given their first 16 tokens.
"""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from kdn.layouts import AttentionGroup, Layout
from kdn.rope import RoPE

CHUNK_TOKENS = 256
PREFIX_TOKENS = 2048
CONTINUED_TOKENS = 256
# Where the passages start that are to be repeated, and what is given and asked of each.
PASSAGES = (200, 700, 1230, 1700)
CUE_TOKENS = 16
ASKED_TOKENS = 64

Bits = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Scores:
    """Of one document: nats per token, top-1 agreement as a share."""

    kl: float
    continuation: float
    recall: float
    agreement: float


@dataclass(frozen=True)
class Sample:
    """A document with the KV of its prefix, bf16 bits `[layer, K or V, head, token, dim]`."""

    ids: list[int]
    planes: Bits
    reference: torch.Tensor


class Judge:
    """The reference model in f32, one thread."""

    def __init__(self, folder: pathlib.Path) -> None:
        torch.set_num_threads(1)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model = model.eval()
        config = model.config
        self.layout = Layout(
            dtype="bf16",
            groups=(
                AttentionGroup(
                    layers=tuple(range(config.num_hidden_layers)),
                    kv_heads=config.num_key_value_heads,
                    head_dim=config.head_dim,
                    rope=RoPE(
                        theta=config.rope_parameters["rope_theta"], rotary_dims=config.head_dim
                    ),
                ),
            ),
        )

    def token_ids(self, text: str, count: int) -> list[int]:
        """The first `count` tokens of a text; raises ValueError if it has fewer."""
        ids: list[int] = self.tokenizer(text).input_ids[:count]
        if len(ids) < count:
            raise ValueError(f"a text has {len(ids)} tokens, wanted {count}")
        return ids

    def planes(self, ids: list[int]) -> Bits:
        """KV of tokens, as a bf16 engine stores it."""
        with torch.inference_mode():
            cache = self.model.model(torch.tensor([ids]), use_cache=True).past_key_values
            both = [torch.stack([layer.keys[0], layer.values[0]]) for layer in cache.layers]
            return torch.stack(both).bfloat16().view(torch.int16).numpy().view(np.uint16)

    def sample(self, text: str) -> Sample:
        """A document ready to be scored."""
        ids = self.token_ids(text, PREFIX_TOKENS + CONTINUED_TOKENS)
        planes = self.planes(ids[:PREFIX_TOKENS])
        return Sample(ids, planes, self._predictions(ids, planes))

    def score(self, sample: Sample, planes: Bits) -> Scores:
        """What the model makes of a document whose prefix has these planes."""
        return self._compared(sample, self._predictions(sample.ids, planes))

    def base(self, sample: Sample) -> Scores:
        """What the model makes of the document itself."""
        return self._compared(sample, sample.reference)

    @staticmethod
    def _compared(sample: Sample, found: torch.Tensor) -> Scores:
        pieces = _pieces(sample.ids)
        ours, wanted = found[:CONTINUED_TOKENS], sample.reference[:CONTINUED_TOKENS]
        kl = (wanted.exp() * (wanted - ours)).sum(-1).mean()
        recalled = []
        start = CONTINUED_TOKENS
        for piece in pieces[1:]:
            rows = found[start + CUE_TOKENS - 1 : start + len(piece) - 1]
            recalled.append(_surprise(rows, piece[CUE_TOKENS:]))
            start += len(piece)
        return Scores(
            kl=float(kl),
            continuation=_surprise(ours[:-1], pieces[0][1:]),
            recall=float(np.mean(recalled)),
            agreement=float((ours.argmax(-1) == wanted.argmax(-1)).float().mean()),
        )

    def _predictions(self, ids: list[int], planes: Bits) -> torch.Tensor:
        """Log probabilities at each token of all pieces, each read right behind the prefix."""
        pieces = _pieces(ids)
        tokens = torch.tensor([sum(pieces, [])])
        number = torch.tensor([n for n, piece in enumerate(pieces) for _ in piece])
        place = torch.tensor([PREFIX_TOKENS + t for piece in pieces for t in range(len(piece))])
        own = (number[:, None] == number[None]) & (place[:, None] >= place[None])
        past = torch.ones(len(place), PREFIX_TOKENS, dtype=torch.bool)
        mask = torch.cat([past, own], dim=1)[None, None]
        with torch.inference_mode():
            hidden = self.model.model(
                tokens,
                position_ids=place[None],
                attention_mask=mask,
                past_key_values=_cache(planes),
                use_cache=True,
            ).last_hidden_state[0]
            return functional.log_softmax(self.model.lm_head(hidden), dim=-1)


def _pieces(ids: list[int]) -> list[list[int]]:
    """The continuation, then the passages to be repeated."""
    length = CUE_TOKENS + ASKED_TOKENS
    passages = [ids[start : start + length] for start in PASSAGES]
    return [ids[PREFIX_TOKENS : PREFIX_TOKENS + CONTINUED_TOKENS], *passages]


def _cache(planes: Bits) -> Any:
    values = torch.from_numpy(planes.view(np.int16)).view(torch.bfloat16).float()
    cache = DynamicCache()
    for number, (keys, others) in enumerate(values):
        cache.update(keys[None], others[None], number)
    return cache


def _surprise(rows: torch.Tensor, ids: list[int]) -> float:
    return float(-rows.gather(1, torch.tensor(ids)[:, None]).mean())
