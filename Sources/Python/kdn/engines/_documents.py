"""Documents of a model: their KV under their own root, and their tokens beside it."""

from __future__ import annotations

import array
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from kdn.blending.errors import DocumentUnavailable
from kdn.documents import LIST_MAX, Document
from kdn.engines import _planes, _store
from kdn.engines._copy import copy
from kdn.engines._rope import UnsupportedModel
from kdn.errors import FieldError, KDNError, ServerError, Status
from kdn.keys import Key, chunk_hashes, document_root
from kdn.results import Get, Put
from kdn.token_texts import TokenTexts, texts_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdn.documents import Resolved
    from kdn.engines._planes import Plane

TOKENS_MAX = 1 << 20
_TOKENS_NAME = b"kdn/1/document-tokens/"
_SCORES_NAME = b"kdn/1/document-scores/"
_U32 = next(code for code in "IL" if array.array(code).itemsize == 4)


@dataclass(frozen=True)
class KnownDocument:
    """A published document that this model has computed, with its tokens."""

    resolved: Resolved
    ids: list[int]

    @property
    def name(self) -> str:
        return self.resolved.document.name

    @property
    def hashes(self) -> tuple[bytes, ...]:
        return self.resolved.document.hashes

    def chunk_spans(self) -> list[tuple[int, int]]:
        """The tokens (start, end) of each chunk; the last may be shorter."""
        size, end = self.resolved.document.chunk_tokens, len(self.ids)
        return [(start, min(start + size, end)) for start in range(0, end, size)]


def the_plane(model: Any) -> Plane:
    """The one plane of a model whose documents can be blended; raises UnsupportedModel."""
    planes = _planes.describe(model).planes
    if len(planes) != 1:
        kinds = sorted({"sliding" if plane.window else "full" for plane in planes})
        raise UnsupportedModel(
            f"its layers are stored as {len(planes)} kinds of objects ({', '.join(kinds)} "
            "attention, or unlike KV heads): a document has one layout"
        )
    return planes[0]


def tokens_key(document: Document) -> Key:
    """The opaque object with the document's token ids, u32 little-endian."""
    return Key.opaque(_TOKENS_NAME + document.hashes[-1])


def scores_key(document: Document) -> Key:
    """The opaque object with how much each token gains by being computed anew, float32."""
    return Key.opaque(_SCORES_NAME + document.hashes[-1])


def make_document(
    plane: Plane, root: bytes, ids: Sequence[int], name: str, chunk_tokens: int, metadata: str
) -> Document:
    """What is published of a text; raises FieldError for one that is too long."""
    if not 1 <= len(ids) <= TOKENS_MAX:
        raise FieldError("tokenCount", len(ids), f"1 to {TOKENS_MAX}")
    hashes = tuple(chunk_hashes(root, ids, chunk_tokens, tail=True))
    return Document(name, plane.layout_id, len(ids), chunk_tokens, hashes, metadata)


def is_there(client: Any, plane: Plane, document: Document, timeout: float | None) -> bool:
    """Whether the document's chunks and tokens are all stored."""
    keys = [tokens_key(document), *(plane.key(chunk) for chunk in document.hashes)]
    return all(client.exists(keys, timeout=timeout))


def store_document(
    client: Any,
    plane: Plane,
    cache: Any,
    document: Document,
    ids: Sequence[int],
    recompute_us: int,
    timeout: float | None,
) -> int:
    """Stores the chunks of `cache` that are not there, and the tokens; returns the bytes sent.

    Raises the client's errors, and what any object was refused with.
    """
    keys = [plane.key(chunk) for chunk in document.hashes]
    there = client.exists(keys, timeout=timeout)
    size, sent = document.chunk_tokens, 0
    missing = [chunk for chunk, present in enumerate(there) if not present]
    batch = max(1, _store.STAGING_BYTES // plane.chunk_bytes(size))
    for start in range(0, len(missing), batch):
        puts = []
        for chunk in missing[start : start + batch]:
            first = chunk * size
            end = min(first + size, document.token_count)
            puts.append(
                Put(
                    key=keys[chunk],
                    buffers=[_packed(plane, cache, first, end)],
                    parent=document.hashes[chunk - 1] if chunk else None,
                    first_token=first,
                    token_count=end - first,
                    recompute_us=recompute_us,
                )
            )
        sent += put_all(client, puts, timeout)
    token_bytes = _to_bytes(ids)
    return sent + put_all(client, [Put(key=tokens_key(document), buffers=[token_bytes])], timeout)


def store_texts(
    client: Any, document: Document, texts: TokenTexts | None, timeout: float | None
) -> None:
    """Stores what finds phrases in the document, if it is known and not there yet.

    Raises the client's errors, and what the object was refused with.
    """
    key = texts_key(document)
    if texts is not None and not client.exists([key], timeout=timeout)[0]:
        put_all(client, [Put(key=key, buffers=[texts.encode()])], timeout)


def put_all(client: Any, puts: list[Put], timeout: float | None) -> int:
    """Stores objects; returns their bytes, or raises what any was refused with."""
    for put, result in zip(puts, client.put_from(puts, timeout=timeout), strict=True):
        if result.error is not None:
            raise result.error
        if not result.stored:
            raise KDNError(f"an object of {sum(len(b) for b in put.buffers)} bytes was not stored")
    return sum(len(buffer) for put in puts for buffer in put.buffers)


def _packed(plane: Plane, cache: Any, first: int, end: int) -> memoryview:
    """The KV of tokens `first ..< end` in canonical order."""
    tokens = end - first
    staging = torch.empty((1, plane.chunk_bytes(tokens)), dtype=torch.uint8)
    for facts, view in plane.views(staging, plane.layers, tokens):
        layer = cache.layers[facts.number]
        copy(view[0, 0], layer.keys[0, :, first:end])
        copy(view[0, 1], layer.values[0, :, first:end])
    return memoryview(staging[0].numpy())


def know(
    client: Any, plane: Plane, root: bytes, name: str, epoch: int, timeout: float | None
) -> KnownDocument:
    """What a name stands for, proven to be this model's by the hashes of its tokens.

    `epoch` 0 is any. Raises ServerError NOT_FOUND for a name that stands for nothing,
    DocumentUnavailable where its tokens are gone, FieldError naming `epoch` (published anew),
    `layout` or `model` (computed by another one).
    """
    resolved = client.resolve_document(name, timeout=timeout)
    document = resolved.document
    if epoch and resolved.epoch != epoch:
        raise FieldError("epoch", epoch, f"{resolved.epoch}: {name!r} was published anew")
    if document.layout_id != plane.layout_id:
        wanted = f"the model's: {plane.layout_id.hex()}"
        raise FieldError("layout", document.layout_id.hex(), wanted)
    if document.token_count > TOKENS_MAX:
        raise FieldError("tokenCount", document.token_count, f"1 to {TOKENS_MAX}")
    get = Get(key=tokens_key(document), buffer=bytearray(4 * document.token_count))
    result = client.get_into([get], timeout=timeout)[0]
    if not result.hit or result.nbytes != 4 * document.token_count:
        raise DocumentUnavailable(name, "its tokens", result.cause)
    ids = _from_bytes(get.buffer)
    if tuple(chunk_hashes(root, ids, document.chunk_tokens, tail=True)) != document.hashes:
        raise FieldError("model", name, "a document that this model computed, with this salt")
    return KnownDocument(resolved, ids)


def forget(client: Any, name: str, timeout: float | None) -> int:
    """Retires a name and purges its chunks but those that another document has; returns how many.

    Raises ServerError NOT_FOUND for a name that stands for nothing.
    """
    document = client.resolve_document(name, timeout=timeout).document
    shared = _shared_with_others(client, document, timeout)
    client.retire_document(name, timeout=timeout)
    gone = [chunk for chunk in document.hashes if chunk not in shared]
    if not gone:
        return 0
    # The last chunk is named by the whole text: nobody has it means nobody has these tokens.
    client.purge(prefixes=gone, timeout=timeout)
    if document.hashes[-1] in gone:
        beside = [tokens_key(document), texts_key(document), scores_key(document)]
        client.purge(keys=beside, timeout=timeout)
    return len(gone)


def _shared_with_others(
    client: Any, document: Document, timeout: float | None
) -> set[bytes]:
    """Chunks of the document that others of the same layout begin with, too.

    What another name stands for may not be told, or not any more: then it keeps nothing back.
    """
    wanted, after = set(document.hashes), ""
    shared: set[bytes] = set()
    while True:
        listed = client.list_documents(after, LIST_MAX, timeout=timeout)
        for listing in listed:
            if listing.layout_id != document.layout_id or listing.name == document.name:
                continue
            try:
                other = client.resolve_document(listing.name, timeout=timeout).document
            except ServerError as error:
                if error.status not in (Status.NOT_FOUND, Status.FORBIDDEN):
                    raise
                continue
            shared |= wanted.intersection(other.hashes)
        if len(listed) < LIST_MAX:
            return shared
        after = listed[-1].name


def root_of(model_name: str, salt: bytes) -> bytes:
    """The root of the model's documents."""
    return document_root(model_name, salt)


def _to_bytes(ids: Sequence[int]) -> memoryview:
    packed = array.array(_U32, ids)
    if sys.byteorder == "big":
        packed.byteswap()
    return memoryview(packed).cast("B")


def _from_bytes(data: Any) -> list[int]:
    unpacked = array.array(_U32)
    unpacked.frombytes(bytes(data))
    if sys.byteorder == "big":
        unpacked.byteswap()
    return unpacked.tolist()
