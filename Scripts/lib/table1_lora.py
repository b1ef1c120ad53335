"""Fine-tuning as Table 1 measures it: a LoRA adapter, trained, merged, and taken out again."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

# Where adapters go: all linear maps of a Llama block.
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# Stands for a token that is no target.
IGNORED = -100


class LowRank(nn.Module):
    """A linear map whose weights stay, and what is learned beside it: `x A B scale`."""

    def __init__(self, base: nn.Linear, rank: int, scale: float, source: torch.Generator) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        inner = torch.empty(base.in_features, rank)
        inner.normal_(0, 1 / math.sqrt(base.in_features), generator=source)
        self.inner = nn.Parameter(inner)
        self.outer = nn.Parameter(torch.zeros(rank, base.out_features))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Both maps' sum."""
        result: torch.Tensor = self.base(states)
        return result + (states @ self.inner) @ self.outer * self.scale

    def change(self) -> torch.Tensor:
        """What is learned, in the shape of the weights."""
        return (self.inner @ self.outer).T * self.scale


class Adapter:
    """A LoRA adapter on a model: attached when made, merged for serving, removed bit for bit."""

    def __init__(self, model: nn.Module, rank: int = 8, scale: float = 2.0, seed: int = 8) -> None:
        """All weights of the model are frozen. Raises ValueError if it has no target."""
        source = torch.Generator().manual_seed(seed)
        self._model = model
        self._was_trainable = [p for p in model.parameters() if p.requires_grad]
        self._kept: list[tuple[nn.Linear, torch.Tensor]] = []
        self._places: list[tuple[nn.Module, str, LowRank]] = []
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if name in TARGETS and isinstance(child, nn.Linear):
                    wrapped = LowRank(child, rank, scale, source)
                    setattr(parent, name, wrapped)
                    self._places.append((parent, name, wrapped))
        if not self._places:
            raise ValueError(f"the model has none of {', '.join(TARGETS)}")

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        return [part for *_, low in self._places for part in (low.inner, low.outer)]

    def merge(self) -> None:
        """Adds what was learned to the weights, so that requests cost what they cost without."""
        if self._kept:
            raise ValueError("the adapter is merged already")
        with torch.no_grad():
            for parent, name, low in self._places:
                self._kept.append((low.base, low.base.weight.detach().clone()))
                low.base.weight += low.change()
                setattr(parent, name, low.base)

    def remove(self) -> None:
        """Gives the model its own weights back, bit for bit."""
        with torch.no_grad():
            for base, weight in self._kept:
                base.weight.copy_(weight)
        for parent, name, low in self._places:
            setattr(parent, name, low.base)
        for parameter in self._was_trainable:
            parameter.requires_grad_(True)
        self._kept, self._places, self._was_trainable = [], [], []


@dataclass(frozen=True)
class Example:
    """Tokens to learn; the first `given` of them are no targets."""

    ids: tuple[int, ...]
    given: int = 0


def batches(
    examples: Sequence[Example], tokens: int, seed: int = 8
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Without end, epoch after epoch: ids, targets and attention mask, each `[rows, length]`.

    Examples of like length are padded together, to at most `tokens` tokens; the order of the
    batches is shuffled anew in each epoch.
    """
    if any(len(example.ids) > tokens for example in examples) or not examples:
        raise ValueError(f"no examples, or one of more than {tokens} tokens")
    source = random.Random(seed)
    while True:
        groups: list[list[Example]] = [[]]
        drawn = sorted(examples, key=lambda example: (len(example.ids), source.random()))
        for example in drawn:
            if (len(groups[-1]) + 1) * len(example.ids) > tokens:
                groups.append([])
            groups[-1].append(example)
        source.shuffle(groups)
        for group in groups:
            yield _padded(group)


def _padded(group: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    length = max(len(example.ids) for example in group)
    shape = (len(group), length)
    ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    targets = torch.full(shape, IGNORED)
    for row, example in enumerate(group):
        count = len(example.ids)
        ids[row, :count] = torch.tensor(example.ids)
        mask[row, :count] = 1
        targets[row, example.given : count] = ids[row, example.given : count]
    return ids, targets, mask


def train(
    model: Any,
    adapter: Adapter,
    examples: Sequence[Example],
    steps: int,
    tokens: int = 512,
    rate: float = 2e-3,
) -> list[float]:
    """Trains the adapter for `steps` steps of at most `tokens` tokens; the loss of each, in nats.

    AdamW, the rate rising over the first tenth of the steps and falling to zero.
    """
    optimiser = torch.optim.AdamW(adapter.parameters, lr=rate, weight_decay=0.0)
    rise = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / rise, (steps - step) / max(1, steps - rise))
    )
    losses = []
    model.train()
    for _, (ids, targets, mask) in zip(range(steps), batches(examples, tokens)):
        hidden = model.model(ids, attention_mask=mask, use_cache=False).last_hidden_state[:, :-1]
        wanted = targets[:, 1:]
        chosen = wanted != IGNORED
        loss = functional.cross_entropy(model.lm_head(hidden[chosen]), wanted[chosen])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(adapter.parameters, 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    model.eval()
    return losses
