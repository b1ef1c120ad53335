"""Store and retrieve the KV cache of any decoder model of Hugging Face transformers.

    learned = learn(model, document, tokenizer=tokenizer, client=client)
    found = retrieve(model, document + question, tokenizer=tokenizer, client=client)
    output = model(ids[:, found.tokens :], past_key_values=found.cache)

Keys and values come back bit for bit as they were stored, so the logits are those of the cache
that was stored. Any doubt (another set of weights, a failed checksum, a server that does not
answer) is a shorter prefix or a miss, and the engine computes the rest.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicSlidingWindowLayer

from kdn.engines import _measure, _planes, _store
from kdn.engines._fetch import Hurry, Prefix
from kdn.engines._identity import model_name as identify
from kdn.engines._placing import PlaneTensors
from kdn.engines._rope import UnsupportedModel
from kdn.engines._store import Stored
from kdn.errors import FieldError, KDNError
from kdn.keys import chain_root, chunk_hashes
from kdn.operations import miss_cause
from kdn.rates import Rates
from kdn.results import MissCause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdn.engines._planes import Description, Plane

__all__ = [
    "Learned",
    "Retrieved",
    "Stored",
    "UnsupportedModel",
    "learn",
    "prefill",
    "prepare",
    "retrieve",
    "store_cache",
    "trim",
]

CHUNK_TOKENS = 256
TIMEOUT_SECONDS = 10.0


@dataclass
class Learned:
    """What `learn` did. `cache` holds the prompt's KV, None if the server had all of it already.

    `tokens` of `total` are on the server now: the prompt's whole chunks.
    """

    cache: DynamicCache | None
    stored: Stored
    total: int
    prefill_seconds: float
    seconds: float

    @property
    def tokens(self) -> int:
        return self.stored.tokens


@dataclass
class Retrieved:
    """What `retrieve` found: run the prompt from token `tokens` on with `cache`.

    `tokens` is at most `total - 1`: the last token is left, for its logits. `cause` is NONE after
    a full hit, else why it was not longer. `bytes` were received and verified.
    """

    cache: DynamicCache
    tokens: int
    total: int
    cause: MissCause
    bytes: int
    seconds: float


def prepare(model: Any, model_name: str | None = None) -> str:
    """Measures the model and names its weights, once per model object; returns the name.

    The other calls do this themselves; call it at load time to keep it out of the first request.
    Raises UnsupportedModel, saying why, for a model whose KV cannot be stored safely.
    """
    _planes.describe(model)
    return model_name or identify(model)


def learn(
    model: Any,
    text_or_ids: str | Sequence[int] | torch.Tensor,
    *,
    client: Any,
    tokenizer: Any = None,
    salt: bytes = b"",
    chunk_tokens: int = CHUNK_TOKENS,
    model_name: str | None = None,
    timeout: float = TIMEOUT_SECONDS,
    strict: bool = False,
) -> Learned:
    """Computes the KV of a prompt and stores its whole chunks, unless they are stored already.

    `model_name` names the exact weights; by default it is a digest of all of them. Server trouble
    is told in `stored.error`, or raised if `strict`. Raises UnsupportedModel for a model whose KV
    cannot be stored safely.
    """
    started = time.monotonic()
    ids = token_ids(text_or_ids, tokenizer)
    description = _planes.describe(model)
    hashes = _hashes(model, ids, salt, chunk_tokens, model_name)
    try:
        if hashes and _all_there(client, description, hashes, timeout):
            count = len(hashes) * len(description.planes)
            present = Stored(tokens=len(hashes) * chunk_tokens, objects_present=count)
            return Learned(None, present, len(ids), 0.0, time.monotonic() - started)
    except FieldError:
        raise
    except KDNError:
        if strict:
            raise
    prefill_started = time.monotonic()
    cache = prefill(model, ids)
    prefill_seconds = time.monotonic() - prefill_started
    _note_prefill(client, len(ids), prefill_seconds)
    stored = store_cache(
        model,
        cache,
        ids,
        client=client,
        salt=salt,
        chunk_tokens=chunk_tokens,
        model_name=model_name,
        recompute_us=int(prefill_seconds * 1e6 * chunk_tokens / max(1, len(ids))),
        timeout=timeout,
        strict=strict,
    )
    trim(cache)
    return Learned(cache, stored, len(ids), prefill_seconds, time.monotonic() - started)


def store_cache(
    model: Any,
    cache: DynamicCache,
    ids: Sequence[int] | torch.Tensor,
    *,
    client: Any,
    salt: bytes = b"",
    chunk_tokens: int = CHUNK_TOKENS,
    model_name: str | None = None,
    recompute_us: int = 0,
    timeout: float = TIMEOUT_SECONDS,
    strict: bool = False,
) -> Stored:
    """Stores the whole chunks of a cache that holds the KV of `ids`, one unpadded sequence.

    Sliding-window layers of an ordinary cache have dropped what left their window, which leaves
    no whole window at a chunk's end to be stored: use the cache that `prefill` makes for such
    models. `recompute_us` is what one chunk cost to compute. Raises UnsupportedModel if the cache
    is not this model's; server trouble is told in `error`, or raised if `strict`.
    """
    description = _planes.describe(model)
    _store.check_cache(description, cache)
    length = cache.get_seq_length()
    if not description.allows(length):
        return Stored()
    tokens = token_ids(ids, None)[:length]
    hashes = _hashes(model, tokens, salt, chunk_tokens, model_name)
    try:
        return _store.store(client, description, cache, hashes, chunk_tokens, recompute_us, timeout)
    except FieldError:
        raise
    except KDNError as error:
        if strict:
            raise
        return Stored(error=error)


def retrieve(
    model: Any,
    text_or_ids: str | Sequence[int] | torch.Tensor,
    *,
    client: Any,
    tokenizer: Any = None,
    salt: bytes = b"",
    chunk_tokens: int = CHUNK_TOKENS,
    model_name: str | None = None,
    timeout: float = TIMEOUT_SECONDS,
    strict: bool = False,
    deadline: float | None = None,
    bandwidth: float | None = None,
    prefill_rate: float | None = None,
) -> Retrieved:
    """Fetches the KV of the longest stored prefix of a prompt, in whole chunks.

    Every chunk is checked end to end against the checksum taken when it was stored. Server
    trouble, a deadline and bad bytes are misses, raised only if `strict`. Raises UnsupportedModel
    for a model whose KV cannot be stored safely.

    With `deadline` (seconds) the prefix is as long as the server can have it here by then, if it
    takes no less time to compute than to send; `cause` is RECOMPUTE if that is not all of it. The
    hints `bandwidth` (bytes a second) and `prefill_rate` (tokens a second) go before what the
    client has measured: arrivals by itself, and the computing of prompts in `learn`.
    """
    started = time.monotonic()
    hurry = None
    if deadline is not None:
        hurry = Hurry(started + deadline, bandwidth, prefill_rate)
    ids = token_ids(text_or_ids, tokenizer)
    description = _planes.describe(model)
    hashes = _hashes(model, ids, salt, chunk_tokens, model_name)
    if not description.allows(len(ids)):
        hashes = []
    prefix = Prefix(client, description, hashes, chunk_tokens, len(ids), timeout, hurry)
    tokens, cause = 0, MissCause.NONE
    tensors: dict[Plane, PlaneTensors] = {}
    try:
        tokens, tensors = prefix.fetch()
        if tokens < len(ids) // chunk_tokens * chunk_tokens and tokens < len(ids) - 1:
            cause = prefix.cause
    except FieldError:
        raise
    except KDNError as error:
        if strict:
            raise
        cause = miss_cause(error)
    if not tokens and cause is MissCause.NONE:
        cause = MissCause.NEVER_STORED
    cache = _build(model, tokens, tensors)
    return Retrieved(cache, tokens, len(ids), cause, prefix.bytes, time.monotonic() - started)


def token_ids(text_or_ids: str | Sequence[int] | torch.Tensor, tokenizer: Any) -> list[int]:
    """The prompt's token ids: of a text by `tokenizer`, of a tensor `[n]` or `[1, n]`, or as given.

    Raises ValueError for a text without tokenizer, an empty prompt, or more than one sequence.
    """
    if isinstance(text_or_ids, str):
        if tokenizer is None:
            raise ValueError("a text needs tokenizer=")
        ids = list(tokenizer(text_or_ids)["input_ids"])
    elif isinstance(text_or_ids, torch.Tensor):
        if text_or_ids.dim() == 2 and text_or_ids.shape[0] != 1:
            raise ValueError(f"ids hold {text_or_ids.shape[0]} sequences, must be one")
        ids = text_or_ids.reshape(-1).tolist()
    else:
        ids = list(map(int, text_or_ids))
    if not ids:
        raise ValueError("the prompt has no tokens")
    return ids


def prefill(model: Any, ids: Sequence[int]) -> DynamicCache:
    """A cache with the KV of `ids`; its sliding layers keep all tokens, to be stored.

    To go on with it in the engine, let sliding layers drop what they no longer need: `trim`.
    """
    cache = _measure.new_cache(model.config)
    _measure.record_past(cache)
    _measure.forward(model, torch.tensor([ids], device=model.device), cache)
    return cache


def trim(cache: DynamicCache) -> None:
    """Makes sliding layers drop what left their window, as in an ordinary cache."""
    for layer in cache.layers:
        if isinstance(layer, DynamicSlidingWindowLayer):
            layer.crop(0)
            layer.record_past = False


def _note_prefill(client: Any, tokens: int, seconds: float) -> None:
    """Tells the client how fast this model computes, for the deadlines of later retrieves."""
    rates = getattr(client, "rates", None)
    if isinstance(rates, Rates):
        rates.note_prefill(tokens, seconds)


def _hashes(
    model: Any, ids: Sequence[int], salt: bytes, chunk_tokens: int, model_name: str | None
) -> list[bytes]:
    root = chain_root(model_name or identify(model), salt)
    return chunk_hashes(root, ids, chunk_tokens)


def _all_there(
    client: Any, description: Description, hashes: Sequence[bytes], timeout: float
) -> bool:
    return all(
        all(client.exists([plane.key(h) for h in hashes], timeout=timeout))
        for plane in description.planes
    )


def _build(model: Any, tokens: int, tensors: dict[Plane, PlaneTensors]) -> DynamicCache:
    """A cache in the state that the model itself would have left after `tokens` tokens."""
    cache = _measure.new_cache(model.config)
    for plane, part in tensors.items():
        for facts in plane.layers:
            layer: Any = cache.layers[facts.number]
            count = tokens - part.first_token
            keys = part.keys[facts.number][:, :, :count]
            values = part.values[facts.number][:, :, :count]
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
            if isinstance(layer, DynamicSlidingWindowLayer):
                layer.cumulative_length = tokens
    return cache
