"""Backends that are attached to the tests' daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sglang_parts as parts


@pytest.fixture
def attach(kdnd, request) -> Iterator[Callable[..., Any]]:
    """Makes backends of a model that is this test's own."""
    made = []

    def make(pool: Any = None, **facts: Any) -> Any:
        made.append(parts.make(kdnd.tcp, pool, **{"model_name": request.node.name, **facts}))
        return made[-1]

    yield make
    for backend in made:
        backend.close()
