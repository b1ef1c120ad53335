"""Does the jobs of a blend worker with a model of transformers.

A blended prompt is stored under the chain of its tokens, where an engine looks for the KV that it
would have computed itself. What it finds there is an approximation: the first document is exact,
later ones are but for what was recomputed. An engine cannot tell; give such prompts a salt of
their own where that matters.
"""

from __future__ import annotations

import array
import hashlib
import sys
import time
from typing import TYPE_CHECKING, Any

import torch

from kdn.blending.jobs import BlendResult, prompt_key
from kdn.engines import _chain, _documents, _measure, _planes
from kdn.engines._selection import FIRST_TOKENS
from kdn.engines._watch import Watch, decoder_layers
from kdn.engines.transformers import CHUNK_TOKENS, token_ids
from kdn.engines.transformers_blend import (
    BlendPiece,
    LearnedDocument,
    compose,
    learn_document,
    recompute,
)
from kdn.engines.vllm.hashing import root_salt
from kdn.errors import FieldError
from kdn.keys import chain_root, chunk_hashes
from kdn.results import Put

if TYPE_CHECKING:
    from kdn.blending.jobs import BlendJob, LearnJob, Prompt
    from kdn.engines.transformers_blend import Blend

TIMEOUT_SECONDS = 60.0
# Tokens of a forward pass: less memory, and more places to stop at.
STEP_TOKENS = 512


class BlendEngine:
    """A model, its tokenizer and the name that its KV is stored under."""

    def __init__(
        self, model: Any, tokenizer: Any, client: Any, model_name: str,
        chunk_tokens: int = CHUNK_TOKENS,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._client = client
        self._model_name = model_name
        self._chunk_tokens = chunk_tokens
        self._layers = len(decoder_layers(model))
        _planes.describe(model)

    def learn(self, job: LearnJob, watch: Watch) -> LearnedDocument:
        """Computes, stores and publishes a document; the errors are those of `learn_document`."""
        watch.expect(self._layers + 1)
        ids = self._ids(job.text, special=True)
        with watch.between_layers(self._model):
            return learn_document(
                self._model,
                job.text if isinstance(job.text, str) else ids,
                job.name,
                self._client,
                tokenizer=self._tokenizer,
                salt=job.salt.encode(),
                chunk_tokens=self._chunk_tokens,
                model_name=self._model_name,
                metadata=job.metadata,
                timeout=TIMEOUT_SECONDS,
            )

    def blend(self, job: BlendJob, watch: Watch) -> BlendResult:
        """Blends a prompt and stores its whole chunks; errors are those of `compose`.

        No token is left out, since an engine's prefix has none missing: the first token of each
        later document is recomputed in place of being dropped, whatever the budget.
        """
        started = time.monotonic()
        question = self._ids(job.question) if job.question else []
        blended = self._blended(job, watch, len(question))
        ids = [*blended.ids, *question]
        hashes = chunk_hashes(
            chain_root(self._model_name, root_salt(job.chain_salt.encode())), ids,
            self._chunk_tokens,
        )
        whole = len(hashes) * self._chunk_tokens
        with watch.between_layers(self._model):
            self._extend(blended.cache, ids[blended.row_count : whole])
        plane = _documents.the_plane(self._model)
        # Told before the chunks: whoever finds the prefix finds the prompt too.
        prompt = self._store_prompt(ids)
        stored = _chain.store_chain(
            self._client, plane, blended.cache, hashes, self._chunk_tokens, watch,
            TIMEOUT_SECONDS,
        )
        return BlendResult(
            tokens=len(ids),
            stored_tokens=whole,
            exact_tokens=stored.present * self._chunk_tokens,
            recomputed=len(blended.recomputed),
            chain=hashes[-1].hex() if hashes else "",
            prompt=prompt,
            epochs=blended.epochs,
            seconds=time.monotonic() - started,
        )

    def _blended(self, job: BlendJob, watch: Watch, question_tokens: int) -> Blend:
        """The documents' KV, one behind the other without holes, recomputed where it must be."""
        watch.check()
        composed = compose(
            self._model,
            [BlendPiece(name, epoch) for name, epoch in job.pieces],
            self._client,
            recompute=job.recompute / 1000,
            without=job.without,
            drop_first=False,
            # Under the tokens' own chain stands what they are, not what was made of them.
            edits=False,
            source="here",
            salt=job.salt.encode(),
            model_name=self._model_name,
            timeout=TIMEOUT_SECONDS,
        )
        passes = (len(job.pieces) > 1) + -(-question_tokens // STEP_TOKENS)
        chunks = (composed.row_count + question_tokens) // self._chunk_tokens
        watch.expect(passes * self._layers + chunks)
        if len(job.pieces) == 1:
            return composed
        least = FIRST_TOKENS * (len(job.pieces) - 1)
        permille = max(job.recompute, -(-least * 1000 // composed.row_count))
        with watch.between_layers(self._model):
            return recompute(
                self._model, composed, selection="deviation", budget=min(1000, permille) / 1000
            )

    def _extend(self, cache: Any, ids: list[int]) -> None:
        """Computes further tokens behind what the cache holds."""
        for start in range(0, len(ids), STEP_TOKENS):
            step = torch.tensor([ids[start : start + STEP_TOKENS]], device=self._model.device)
            _measure.forward(self._model, step, cache)

    def _store_prompt(self, ids: list[int]) -> str:
        """Stores a prompt's token ids by their hash, which it returns."""
        packed = array.array(_documents._U32, ids)
        if sys.byteorder == "big":
            packed.byteswap()
        data = packed.tobytes()
        name = hashlib.sha256(data).hexdigest()
        _documents.put_all(
            self._client, [Put(key=prompt_key(name), buffers=[data])], TIMEOUT_SECONDS
        )
        return name

    def _ids(self, text: Prompt, special: bool = False) -> list[int]:
        """The token ids of a text, as given or by the tokenizer.

        A document gets the special tokens that the tokenizer begins a text with, as in
        `learn_document`; what follows documents gets none.
        """
        if isinstance(text, str):
            ids = list(self._tokenizer(text, add_special_tokens=special)["input_ids"])
        else:
            ids = token_ids(text, None)
        vocabulary = self._model.config.vocab_size
        if not ids or max(ids) >= vocabulary:
            raise FieldError("tokens", max(ids, default=None), f"below {vocabulary}")
        return ids
