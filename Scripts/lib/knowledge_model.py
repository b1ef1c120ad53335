"""The reference model as the knowledge benchmarks use it: KV as tensors, answers by likelihood.

All scores are sums of log probabilities (nats) of candidate answers right behind a prompt: a model
of 135M parameters is asked to choose, not to write. Many prompts are read at once against one KV,
none of which sees another.
"""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

# One `(keys, values)` per layer, each `[1, kvHeads, rows, headDim]`.
Planes = list[tuple[torch.Tensor, torch.Tensor]]
THREADS = 2
# Stands for a prompt or a candidate that all of its group see.
_SHARED = -1


@dataclass(frozen=True)
class Question:
    """Token ids of a prompt and of the answers that may follow it.

    `keep` asks for the log probabilities at the prompt's tokens too.
    """

    prompt: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...] = ()
    keep: bool = False

    @property
    def shared(self) -> int:
        """How many tokens all candidates begin with; each has at least one more."""
        if not self.candidates:
            return 0
        most = min(map(len, self.candidates)) - 1
        equal = (len(set(tokens)) == 1 for tokens in zip(*self.candidates))
        return sum(itertools.takewhile(bool, itertools.islice(equal, most)))

    @property
    def trunk(self) -> tuple[int, ...]:
        """The prompt and what all candidates begin with: read once for all."""
        return self.prompt + (self.candidates[0][: self.shared] if self.candidates else ())

    @property
    def branches(self) -> list[tuple[int, ...]]:
        """What each candidate goes on with."""
        return [candidate[self.shared :] for candidate in self.candidates]


@dataclass(frozen=True)
class Reading:
    """What the model makes of one question.

    `scores` are of the candidates, in nats; `tokens` the log probabilities
    `[prompt tokens, vocabulary]` at each token of the prompt, only where they were asked for.
    """

    scores: tuple[float, ...]
    tokens: torch.Tensor | None = None

    @property
    def choice(self) -> int:
        """The number of the likeliest candidate."""
        return max(range(len(self.scores)), key=self.scores.__getitem__)


class Reader:
    """A model and its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, folder: pathlib.Path, dtype: torch.dtype = torch.float32) -> Reader:
        """The model of a folder, on two threads."""
        torch.set_num_threads(THREADS)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        return cls(model, AutoTokenizer.from_pretrained(folder))

    def ids(self, text: str) -> tuple[int, ...]:
        """The tokens of a text."""
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    def question(self, prompt: str, candidates: Sequence[str]) -> Question:
        """A question whose candidates are tokenised as they follow the prompt.

        Raises ValueError where a candidate would change the prompt's own tokens.
        """
        head = self.ids(prompt)
        tails = []
        for candidate in candidates:
            whole = self.ids(prompt + candidate)
            if whole[: len(head)] != head or len(whole) == len(head):
                raise ValueError(f"{candidate!r} joins the last token of its prompt")
            tails.append(whole[len(head) :])
        return Question(head, tuple(tails))

    def prefill(self, ids: Sequence[int]) -> Planes:
        """KV of tokens from position 0."""
        with torch.inference_mode():
            return planes_of(self.model.model(torch.tensor([list(ids)])).past_key_values)

    def read(
        self,
        planes: Planes | None,
        position: int,
        questions: Sequence[Question],
        text: Sequence[int] = (),
    ) -> list[Reading]:
        """Scores of the candidates of all questions, each read right behind the KV and the text.

        `position` is that of the text's or of each prompt's first token: it is past the KV's last
        position, and not its row count where the KV has holes. The planes are not changed.
        """
        tokens, places, sees = packed(questions, position, text)
        rows = planes[0][0].shape[2] if planes else 0
        mask = torch.cat([torch.ones(len(tokens), rows, dtype=torch.bool), sees], dim=1)
        with torch.inference_mode():
            hidden = self.model.model(
                torch.tensor([tokens]),
                position_ids=torch.tensor([places]),
                attention_mask=mask[None, None],
                past_key_values=cache_of(planes or []),
                use_cache=True,
            ).last_hidden_state[0]
            return self._scored(hidden[len(text) :], questions)

    def _scored(self, hidden: torch.Tensor, questions: Sequence[Question]) -> list[Reading]:
        readings, start = [], 0
        for question in questions:
            end = start + len(question.trunk)
            asked = hidden[start : end - question.shared] if question.keep else hidden[:0]
            told = self._predicted(asked) if question.keep else None
            # The last row of the prompt itself, and those of what all candidates begin with.
            rows = self._predicted(hidden[end - question.shared - 1 : end])
            common = sum(
                float(rows[row, token])
                for row, token in enumerate(question.trunk[len(question.prompt) :])
            )
            scores = []
            for branch in question.branches:
                score = common + float(rows[-1, branch[0]])
                if len(branch) > 1:
                    found = self._predicted(hidden[end : end + len(branch) - 1])
                    score += float(found.gather(1, torch.tensor(branch[1:])[:, None]).sum())
                scores.append(score)
                end += len(branch) - 1
            readings.append(Reading(tuple(scores), told))
            start = end
        return readings

    def _predicted(self, hidden: torch.Tensor) -> torch.Tensor:
        return functional.log_softmax(self.model.lm_head(hidden).float(), dim=-1)


def packed(
    questions: Sequence[Question], position: int, text: Sequence[int] = ()
) -> tuple[list[int], list[int], torch.Tensor]:
    """Tokens, positions and who sees whom: the text, then prompts, each with its candidates.

    All see the text; a prompt else only itself, a candidate its prompt and itself. What candidates
    share is read once, and their last tokens not at all: nothing is predicted from them.
    """
    tokens, places = list(text), list(range(position, position + len(text)))
    prompts, branches = [_SHARED] * len(text), [_SHARED] * len(text)
    for number, question in enumerate(questions):
        behind = position + len(text) + len(question.trunk)
        parts = [question.trunk, *(branch[:-1] for branch in question.branches)]
        for branch, part in enumerate(parts):
            first = behind if branch else behind - len(part)
            tokens += part
            places += range(first, first + len(part))
            prompts += [number] * len(part)
            branches += [branch or _SHARED] * len(part)
    place, prompt, line = map(torch.tensor, (places, prompts, branches))
    earlier = place[:, None] >= place[None]
    same = (prompt[None] == _SHARED) | (prompt[:, None] == prompt[None])
    own = (line[None] == _SHARED) | (line[:, None] == line[None])
    return tokens, places, earlier & same & own


def cache_of(planes: Planes) -> Any:
    """A cache of transformers that holds these planes; growing it leaves them as they are."""
    cache = DynamicCache()
    for number, (keys, values) in enumerate(planes):
        cache.update(keys, values, number)
    return cache


def planes_of(cache: Any) -> Planes:
    """What a cache of transformers holds."""
    return [(layer.keys, layer.values) for layer in cache.layers]


def divergence(wanted: torch.Tensor, found: torch.Tensor) -> float:
    """Mean KL divergence, in nats per token, of `found` from `wanted`, both log probabilities."""
    return float((wanted.exp() * (wanted - found)).sum(-1).mean())
