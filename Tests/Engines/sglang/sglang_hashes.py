"""SGLang's page hashes without the compiler that its own need: the same chain in Python."""

from __future__ import annotations

import hashlib
import struct
import types
from typing import Any


def _page_chain(
    raw: Any, count: int, width: int, is_bigram: bool, prior: bytes | None, page: int | None
) -> list[str]:
    """SHA-256 over the digest before and the page's tokens as u32, for each whole page."""
    assert width == 1 and not is_bigram and page is not None
    digests = []
    for start in range(0, count // page * page, page):
        tokens = struct.pack(f"<{page}I", *raw[start : start + page])
        prior = hashlib.sha256((prior or b"") + tokens).digest()
        digests.append(prior.hex())
    return digests


MODULE = types.SimpleNamespace(get_hash=_page_chain)
