"""The few calls to llama.cpp's server that slot states need."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from array import array
from typing import Any
from urllib.parse import urlsplit

from kdn.errors import FieldError

ANSWER_BYTES_MAX = 64 << 20
# What a client shows of itself, and nothing else of its request.
_CREDENTIALS = ("authorization", "x-api-key")


class ServerTrouble(Exception):
    """The server did not answer, or not as it should. `status` is 0 if there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class LlamaServer:
    """A server at `http://host:port[/prefix]`; thread-safe, one connection per call."""

    def __init__(self, url: str, api_key: str = "", timeout: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise FieldError("server", url, "http://host:port")
        self.host = parts.hostname
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.prefix = parts.path.rstrip("/")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._key = api_key
        self._timeout = timeout

    def connect(self, timeout: float) -> http.client.HTTPConnection:
        """A connection that is not open yet; no call on its socket waits longer."""
        if self._tls is not None:
            return http.client.HTTPSConnection(
                self.host, self.port, timeout=timeout, context=self._tls
            )
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        timeout: float | None = None,
        credentials: dict[str, str] | None = None,
    ) -> Any:
        """The JSON of an answer with status 200; raises ServerTrouble for everything else."""
        connection = self.connect(self._timeout if timeout is None else max(0.001, timeout))
        headers = {"Content-Type": "application/json", **self._identification(credentials)}
        data = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, self.prefix + path, data, headers)
            answer = connection.getresponse()
            content = answer.read(ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            raise ServerTrouble(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()
        if answer.status != 200:
            text = content[:300].decode(errors="replace")
            raise ServerTrouble(f"{method} {path}: {answer.status} {text}", answer.status)
        if len(content) > ANSWER_BYTES_MAX:
            raise ServerTrouble(f"{method} {path}: more than {ANSWER_BYTES_MAX} bytes")
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ServerTrouble(f"{method} {path}: no JSON") from error

    def _identification(self, credentials: dict[str, str] | None) -> dict[str, str]:
        if credentials is not None:
            return credentials
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def props(self, timeout: float | None = None) -> dict[str, Any]:
        """What the server says of itself."""
        found = self.call("GET", "/props", timeout=timeout)
        if not isinstance(found, dict):
            raise ServerTrouble("GET /props: no object")
        return found

    def adapters(self) -> Any:
        """The LoRA adapters that are loaded; none if the server knows of no such thing."""
        try:
            return self.call("GET", "/lora-adapters")
        except ServerTrouble as error:
            if error.status == 404:
                return []
            raise

    def tokenize(
        self, content: Any, timeout: float, credentials: dict[str, str] | None = None
    ) -> array[int]:
        """The tokens of a text as a completion of it would see them."""
        if isinstance(content, list):
            return _token_array(content)
        body = {"content": content, "add_special": True, "parse_special": True}
        found = self.call("POST", "/tokenize", body, timeout, credentials)
        return _token_array(_field(found, "tokens", list))

    def apply_template(
        self, body: Any, timeout: float, credentials: dict[str, str] | None = None
    ) -> str:
        """The text that the server's template makes of a chat."""
        found = self.call("POST", "/apply-template", body, timeout, credentials)
        return str(_field(found, "prompt", str))

    def save_slot(self, slot: int, filename: str, timeout: float | None = None) -> int:
        """Has the slot's state written to a file in the server's folder; returns its tokens."""
        return self._act(slot, "save", filename, "n_saved", timeout)

    def restore_slot(self, slot: int, filename: str, timeout: float | None = None) -> int:
        """Has the slot's state read from a file; returns how many tokens the slot holds then."""
        return self._act(slot, "restore", filename, "n_restored", timeout)

    def erase_slot(self, slot: int) -> None:
        """Empties a slot, if it can be."""
        try:
            self.call("POST", f"/slots/{slot}?action=erase", {})
        except ServerTrouble:
            pass

    def _act(
        self, slot: int, action: str, filename: str, field: str, timeout: float | None
    ) -> int:
        found = self.call("POST", f"/slots/{slot}?action={action}", {"filename": filename}, timeout)
        return int(_field(found, field, int))


def credentials_of(headers: Any) -> dict[str, str]:
    """What of a request's headers says who asks."""
    return {name: headers[name] for name in _CREDENTIALS if headers.get(name)}


def wait_readable(sockets: list[socket.socket], timeout: float) -> list[socket.socket]:
    """The sockets that can be read, once one can or the time is over."""
    import selectors

    with selectors.DefaultSelector() as selector:
        for sock in sockets:
            selector.register(sock, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(timeout)]  # type: ignore[misc]


def _field(found: Any, name: str, kind: type) -> Any:
    if not isinstance(found, dict) or not isinstance(found.get(name), kind):
        raise ServerTrouble(f"the answer has no {name}")
    return found[name]


def _token_array(tokens: list[Any]) -> array[int]:
    try:
        return array(_CODE, tokens)
    except (TypeError, OverflowError) as error:
        raise ServerTrouble(f"the tokens are no numbers: {error}") from error


_CODE = next(code for code in "il" if array(code).itemsize == 4)
