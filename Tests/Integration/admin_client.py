"""A kdnd with its HTTP endpoint on a port of the kernel's choice, and what talks to it."""

from __future__ import annotations

import hashlib
import pathlib
import re
from collections.abc import Callable
from typing import Any

import requests
from daemon_process import DaemonProcess
from jsonschema import Draft202012Validator

TOKEN = "an-admin-token-of-the-tests"
SECONDS = 30.0


class AdminClient:
    """Asks one daemon over HTTP; with the admin token unless told otherwise."""

    def __init__(self, daemon: DaemonProcess) -> None:
        found = re.search(r'\badmin"?[=:]"?([^\s",\]]+:\d+)', daemon.log)
        assert found is not None, daemon.log
        self.daemon = daemon
        self.url = f"http://{found.group(1)}"
        self.session = requests.Session()
        self.session.trust_env = False
        self._document: dict[str, Any] | None = None

    def ask(
        self, method: str, path: str, token: str | None = TOKEN, **more: Any
    ) -> requests.Response:
        """One answer."""
        headers = dict(more.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        url = self.url + path
        return self.session.request(method, url, headers=headers, timeout=SECONDS, **more)

    def get(self, path: str) -> Any:
        """The JSON of a question that is answered with 200, checked against the document."""
        answer = self.ask("GET", path, token=None)
        assert answer.status_code == 200, answer.text
        self.check(answer, "get", path)
        return answer.json()

    def order(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """The JSON of an order, checked against the document."""
        more = {} if body is None else {"json": body}
        answer = self.ask(method, path, **more)
        assert answer.status_code == status, answer.text
        self.check(answer, method.lower(), path)
        return answer.json()

    @property
    def document(self) -> dict[str, Any]:
        """What `/openapi.json` says."""
        if self._document is None:
            self._document = self.ask("GET", "/openapi.json", token=None).json()
        return self._document

    def check(self, answer: requests.Response, method: str, path: str) -> None:
        """The answer must be what the document says, without a key that it does not name."""
        operation = self._operation(method, path.split("?")[0])
        described = self._resolved(operation["responses"][str(answer.status_code)])
        schema = described["content"]["application/json"]["schema"]
        strict = _closed({**schema, "components": self.document["components"]})
        Draft202012Validator(strict).validate(answer.json())

    def _operation(self, method: str, path: str) -> Any:
        for pattern, operations in self.document["paths"].items():
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path) and method in operations:
                return operations[method]
        raise KeyError(f"{method} {path} is not described")

    def _resolved(self, value: Any) -> Any:
        while "$ref" in value:
            node: Any = self.document
            for name in value["$ref"].removeprefix("#/").split("/"):
                node = node[name]
            value = node
        return value


def _closed(schema: Any) -> Any:
    """The schema with no properties allowed but those that it names."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


def start_admin(
    start: Callable[..., DaemonProcess], folder: pathlib.Path, *flags: str
) -> AdminClient:
    """Starts a daemon with one administrator and a file of namespaces."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    environment = {
        "KDN_ADMIN": "127.0.0.1:0",
        "KDN_ADMIN_TOKENS": f"root:{digest}",
        "KDN_NAMESPACES_FILE": str(folder / "namespaces.json"),
    }
    return AdminClient(start(*flags, environment=environment))
