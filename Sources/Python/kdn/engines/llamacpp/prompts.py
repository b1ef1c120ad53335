"""Which requests can be served with a stored state: a decision on their path and body."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

COMPLETION_PATHS = frozenset({"/completion", "/completions", "/v1/completions"})
CHAT_PATHS = frozenset({"/chat/completions", "/v1/chat/completions"})
# What changes the KV of a request, or makes several sequences of it.
_FOREIGN = ("lora", "control_vector")
_COUNTS = ("n", "n_cmpl", "best_of")


@dataclass(frozen=True)
class Prompt:
    """A request of one sequence of text. `content` is what /tokenize takes, None for a chat."""

    body: dict[str, Any]
    content: Any = None

    @property
    def is_chat(self) -> bool:
        """Whether the server's template makes the text."""
        return self.content is None


def is_completion(path: str) -> bool:
    """Whether requests to a path compute a completion."""
    return path in COMPLETION_PATHS or path in CHAT_PATHS


def read_prompt(path: str, data: bytes, min_tokens: int) -> Prompt | None:
    """The prompt of a request, or None if it is to pass as it is.

    A token has at least one byte of the body, so short bodies are not even parsed.
    """
    if not is_completion(path) or len(data) < min_tokens:
        return None
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict) or not _is_plain(body):
        return None
    if path in CHAT_PATHS:
        return Prompt(body) if _is_text_chat(body.get("messages")) else None
    content = body.get("prompt")
    return Prompt(body, content) if _is_one_sequence(content) else None


def _is_plain(body: dict[str, Any]) -> bool:
    if body.get("cache_prompt", True) is not True or body.get("id_slot", -1) != -1:
        return False
    if any(body.get(name) for name in _FOREIGN):
        return False
    return all(body.get(name) in (None, 1) for name in _COUNTS)


def _is_one_sequence(content: Any) -> bool:
    if isinstance(content, str):
        return True
    return isinstance(content, list) and bool(content) and all(type(t) is int for t in content)


def _is_text_chat(messages: Any) -> bool:
    if not isinstance(messages, list) or not messages:
        return False
    return all(isinstance(m, dict) and _is_text(m.get("content")) for m in messages)


def _is_text(content: Any) -> bool:
    if content is None or isinstance(content, str):
        return True
    return isinstance(content, list) and all(
        isinstance(item, dict) and item.get("type") == "text" for item in content
    )


def pinned(body: dict[str, Any], slot: int) -> bytes:
    """The body, with the slot that is to serve it."""
    return json.dumps({**body, "id_slot": slot, "cache_prompt": True}).encode()
