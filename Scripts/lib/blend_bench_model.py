"""The blend benchmark's judge: what a model makes of documents whose KV was put together.

Three documents of 512 tokens are the context. The judge compares what the model predicts over the
next 256 tokens with what it predicts after a full prefill of the same tokens, and how well it
repeats 64 tokens of each document when it is given the 16 before them.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from kdn.engines import transformers_blend as blending
from kdn.engines._costs import Costs
from kdn.engines.transformers import prefill

PIECES = 3
PIECE_TOKENS = 512
CONTINUED_TOKENS = 256
QUESTION_TOKENS = 16
# Where the passage of each document starts that is to be repeated, and what is given and asked.
PASSAGE_START = 200
CUE_TOKENS = 16
ASKED_TOKENS = 64


@dataclass(frozen=True)
class Case:
    """Three documents and what follows the last of them, as tokens."""

    name: str
    setting: str
    documents: tuple[tuple[int, ...], ...]
    continuation: tuple[int, ...]

    @property
    def whole(self) -> list[int]:
        """The documents' tokens, joined."""
        return [token for document in self.documents for token in document]


@dataclass(frozen=True)
class Scores:
    """Of one case: nats per token; `seconds` to the first token of a question's answer."""

    kl: float
    continuation: float
    recall: float
    seconds: float
    flops: float


class Judge:
    """The reference model in f32."""

    def __init__(self, folder: pathlib.Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.costs = Costs(self.model.config)

    def token_ids(self, text: str, count: int) -> list[int]:
        """The first `count` tokens of a text; raises ValueError if it has fewer."""
        ids: list[int] = self.tokenizer(text).input_ids[:count]
        if len(ids) < count:
            raise ValueError(f"a text has {len(ids)} tokens, wanted {count}")
        return ids

    def reference(self, case: Case) -> tuple[torch.Tensor, Scores]:
        """Log probabilities after a full prefill, and its scores."""
        started = time.monotonic()
        cache = prefill(self.model, case.whole)
        self._answer(case, cache, len(case.whole))
        seconds = time.monotonic() - started
        found = self._predictions(case, cache, len(case.whole))
        flops = self.costs.prefill(len(case.whole))
        return found, self._scores(case, found, found, seconds, flops)

    def score(
        self,
        case: Case,
        reference: torch.Tensor,
        make: Callable[[], tuple[Any, int, float]],
    ) -> Scores:
        """What the model makes of the cache of `make`, which also says where to go on and FLOPs."""
        started = time.monotonic()
        cache, position, flops = make()
        self._answer(case, cache, position)
        seconds = time.monotonic() - started
        found = self._predictions(case, cache, position)
        return self._scores(case, found, reference, seconds, flops)

    def _answer(self, case: Case, cache: Any, position: int) -> None:
        """Runs a question to its answer's first token; the cache stays as it was."""
        rows = cache.get_seq_length()
        places = torch.arange(position, position + QUESTION_TOKENS)
        ids = torch.tensor([case.continuation[:QUESTION_TOKENS]])
        with torch.inference_mode():
            self.model(ids, position_ids=places[None], past_key_values=cache, logits_to_keep=1)
        for layer in cache.layers:
            layer.keys = layer.keys[:, :, :rows]
            layer.values = layer.values[:, :, :rows]

    def _predictions(self, case: Case, cache: Any, position: int) -> torch.Tensor:
        """Log probabilities at each token of all texts, each read right behind the documents."""
        texts = _texts(case)
        number = torch.tensor([n for n, text in enumerate(texts) for _ in text])
        place = torch.tensor([position + t for text in texts for t in range(len(text))])
        own = (number[:, None] == number[None]) & (place[:, None] >= place[None])
        past = torch.ones(len(place), cache.get_seq_length(), dtype=torch.bool)
        with torch.inference_mode():
            hidden = self.model.model(
                torch.tensor([[token for text in texts for token in text]]),
                position_ids=place[None],
                attention_mask=torch.cat([past, own], dim=1)[None, None],
                past_key_values=cache,
            ).last_hidden_state[0]
            return functional.log_softmax(self.model.lm_head(hidden), dim=-1)

    @staticmethod
    def _scores(
        case: Case, found: torch.Tensor, reference: torch.Tensor, seconds: float, flops: float
    ) -> Scores:
        texts = _texts(case)
        ours, wanted = found[:CONTINUED_TOKENS], reference[:CONTINUED_TOKENS]
        recalled, start = [], CONTINUED_TOKENS
        for text in texts[1:]:
            rows = found[start + CUE_TOKENS - 1 : start + len(text) - 1]
            recalled.append(_surprise(rows, text[CUE_TOKENS:]))
            start += len(text)
        return Scores(
            kl=float((wanted.exp() * (wanted - ours)).sum(-1).mean()),
            continuation=_surprise(ours[:-1], texts[0][1:]),
            recall=float(np.mean(recalled)),
            seconds=seconds,
            flops=flops,
        )


def concatenated(model: Any, blends: Sequence[blending.Blend]) -> DynamicCache:
    """Caches joined as they are, keys not turned."""
    cache = DynamicCache(config=model.config)
    for blended in blends:
        for number, layer in enumerate(blended.cache.layers):
            cache.update(layer.keys, layer.values, number)
    return cache


def _texts(case: Case) -> list[list[int]]:
    """The continuation, then the passages to be repeated."""
    end = PASSAGE_START + CUE_TOKENS + ASKED_TOKENS
    passages = [list(document[PASSAGE_START:end]) for document in case.documents]
    return [list(case.continuation), *passages]


def _surprise(rows: torch.Tensor, ids: Sequence[int]) -> float:
    return float(-rows.gather(1, torch.tensor(list(ids))[:, None]).mean())
