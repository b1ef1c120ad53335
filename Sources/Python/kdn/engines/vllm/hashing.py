"""From a request to the hashes of its chunks: everything that its KV depends on is in them.

A request of plain text has the same chain as kdn.engines.transformers makes of the same tokens,
model name and salt. LoRA adapters change the chain's root, images and the like the chunks that
they lie under and all that follow.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdn.errors import FieldError
from kdn.keys import SALT_BYTES_MAX, chunk_hashes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kdn.engines.vllm.identity import LoraDigests
    from kdn.engines.vllm.planes import Description

_LENGTH = struct.Struct("<Q")
_MEDIA = b"kdn/vllm/media"
_SALT = b"kdn/vllm/salt"
# Salts that begin with it are made here; those of users that do are hashed, and so cannot clash.
_MADE = b"\0kdn"
# What vLLM makes of an item's content, a LoRA's name before it where that changes the item's
# embedding. Anything else is a name that a client gave, which says nothing of the content.
_CONTENT_HASH = re.compile(r"(?:.+:)?[0-9a-f]{64,128}", re.DOTALL)


@dataclass(frozen=True)
class MediaItem:
    """An image or the like: the hash of its content, and the tokens that stand for it."""

    identifier: str
    offset: int
    length: int


@dataclass(frozen=True)
class RequestFacts:
    """What a request's KV depends on besides its tokens and the model."""

    salt: bytes = b""
    media: tuple[MediaItem, ...] = ()


def request_facts(request: Any, loras: LoraDigests | None = None) -> RequestFacts | None:
    """What vLLM's request says; None if its KV cannot be named, so neither loaded nor saved.

    None for prompts given as embeddings, for streamed prompts, whose tokens may be taken back, for
    media that are known by a client's name only, and for an adapter whose content is not known
    (yet).
    """
    if request.prompt_token_ids is None or request.prompt_embeds is not None:
        return None
    if getattr(request, "prompt_is_token_ids", None) is not None:
        return None
    if getattr(request, "resumable", False):
        return None
    media = []
    for feature in request.mm_features or ():
        where = feature.mm_position
        if not _CONTENT_HASH.fullmatch(str(feature.identifier)):
            return None
        media.append(MediaItem(str(feature.identifier), int(where.offset), int(where.length)))
    lora = b""
    if request.lora_request is not None:
        found = None if loras is None else loras.digest(request.lora_request)
        if found is None:
            return None
        lora = found
    salt = root_salt((request.cache_salt or "").encode(), lora)
    return RequestFacts(salt, tuple(sorted(media, key=lambda item: item.offset)))


def root_salt(cache_salt: bytes, lora: bytes = b"") -> bytes:
    """The salt of a chain's root: the request's own if there is no adapter and it fits."""
    if not lora and len(cache_salt) <= SALT_BYTES_MAX and not cache_salt.startswith(_MADE):
        return cache_salt
    return _MADE + _digest(_SALT, (lora, cache_salt))


def _digest(domain: bytes, parts: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256(domain)
    for part in parts:
        digest.update(_LENGTH.pack(len(part)) + part)
    return digest.digest()


class RequestChain:
    """A request's chunk hashes, grown with its tokens.

    `hashes` are those of the whole chunks so far. They stay empty for a request that cannot be
    named (`facts` None).
    """

    def __init__(self, model: str, description: Description, facts: RequestFacts | None) -> None:
        self.hashes: list[bytes] = []
        self._chunk_tokens = description.chunk_tokens
        self._facts = facts
        self._root = b"" if facts is None else description.root(model, facts.salt)

    def extend(self, token_ids: Sequence[int]) -> list[bytes]:
        """Hashes the whole chunks of all the request's tokens; returns all hashes so far.

        The tokens of former calls must be the same. A chunk with a token that is not known yet
        (vLLM's placeholders are negative) and all behind it wait for a later call.
        """
        if self._facts is None:
            return self.hashes
        size = self._chunk_tokens
        while (end := (len(self.hashes) + 1) * size) <= len(token_ids):
            number = len(self.hashes)
            parent = self._parent_with_media(number)
            try:
                self.hashes += chunk_hashes(parent, list(token_ids[end - size : end]), size)
            except FieldError:
                break
        return self.hashes

    def parent(self, chunk: int) -> bytes | None:
        """The hash of the chunk before, None of the first."""
        return self.hashes[chunk - 1] if chunk else None

    def _parent_with_media(self, chunk: int) -> bytes:
        """What the chunk's tokens are hashed onto: the chunk before, and media lying under it."""
        assert self._facts is not None
        parent = self.hashes[-1] if self.hashes else self._root
        start = chunk * self._chunk_tokens
        end = start + self._chunk_tokens
        under = [
            item
            for item in self._facts.media
            if item.offset < end and item.offset + item.length > start
        ]
        if not under:
            return parent
        rows = (
            f"{item.offset - start} {item.length} {item.identifier}".encode() for item in under
        )
        return _digest(_MEDIA, (parent, *rows))
