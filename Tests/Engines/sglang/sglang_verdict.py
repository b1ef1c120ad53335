"""Judges two runs of sglang_engine.py: the second must have found in KDN what the first stored.

usage: sglang_verdict.py WRITE.json READ.json PAGE_TOKENS
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any


def stored_tokens(run: dict[str, Any], request: str) -> int:
    """How many of a request's prompt tokens came from storage."""
    return int((run[request]["cached_tokens_details"] or {}).get("storage", 0))


def main(write: str, read: str, page_tokens: str) -> int:
    first, second = (json.loads(pathlib.Path(path).read_text()) for path in (write, read))
    # At least the last token is computed: its logits are needed.
    expected = (first["plain"]["prompt_tokens"] - 1) // int(page_tokens) * int(page_tokens)
    findings = {
        "the first engine finds nothing": stored_tokens(first, "plain") == 0,
        f"the second finds {expected} tokens": stored_tokens(second, "plain") == expected,
        "both generate the same": first["plain"]["text"] == second["plain"]["text"],
        "another salt finds nothing": stored_tokens(second, "salted") == 0,
        "its answer is the same too": first["plain"]["text"] == second["salted"]["text"],
    }
    for name, run in (("write", first), ("read", second)):
        print(f"{name}: {json.dumps(run)}")
    for finding, holds in findings.items():
        print(f"{'ok' if holds else 'FAILED'}: {finding}")
    return 0 if all(findings.values()) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
