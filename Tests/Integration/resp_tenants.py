"""Tenants for tests of the RESP facade: a file of namespaces with a token each."""

from __future__ import annotations

import hashlib
import json
import pathlib


def tenants_file(
    folder: pathlib.Path, limits: dict[str, int] | None = None, **tokens: str
) -> tuple[str, ...]:
    """Flags for a daemon whose namespaces have these tokens and limits; nobody enters without."""
    path = folder / "namespaces.json"
    namespaces = [
        {"name": name, "limits": limits or {}, "certificate_names": [],
         "tokens": [{"sha256": hashlib.sha256(token.encode()).hexdigest()}]}
        for name, token in tokens.items()
    ]
    path.write_text(json.dumps({"schema": 1, "namespaces": namespaces}))
    path.chmod(0o600)
    return ("--set", f"namespaces_file={path}", "--set", "development_namespace=off")
