"""A server with the endpoints of llama.cpp's that the proxy uses, and no model: a token is a word's
number, a state is its tokens and some bytes. It does what a test tells it to."""

from __future__ import annotations

import json
import pathlib
import struct
import threading
from array import array
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONTEXT = 4096
STATE_BYTES_PER_TOKEN = 1000


class FakeLlama:
    """Counts and keeps what it was asked; `refuse` names paths that get status 400."""

    def __init__(self, folder: pathlib.Path, slots: int = 2) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.model = folder.parent / "model.gguf"
        self.model.write_bytes(b"GGUF" + bytes(100))
        self.slots: list[list[int]] = [[] for _ in range(slots)]
        self.marker = "first"
        self.adapters: list[Any] = []
        self.refuse: set[str] = set()
        self.asked: list[tuple[str, Any]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()
        self.client_left = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    def bodies(self, path: str) -> list[Any]:
        """What was sent to a path, in order."""
        return [body for asked, body in list(self.asked) if asked == path]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class FakeHandler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                fake.asked.append((self.path, None))
                fake.answer_get(self)

            def do_POST(self) -> None:
                body = json.loads(self.read_body() or b"null")
                fake.asked.append((self.path, body))
                if self.path in fake.refuse:
                    send(self, 400, {"error": "refused"})
                else:
                    fake.answer_post(self, body)

            def read_body(self) -> bytes:
                if "Content-Length" in self.headers:
                    return self.rfile.read(int(self.headers["Content-Length"]))
                data = b""
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return data

        return FakeHandler

    def answer_get(self, handler: Any) -> None:
        if handler.path == "/props":
            send(handler, 200, {
                "default_generation_settings": {"n_ctx": CONTEXT}, "total_slots": len(self.slots),
                "model_path": str(self.model), "media_marker": self.marker, "build_info": "fake",
            })
        elif handler.path == "/lora-adapters":
            send(handler, 200, self.adapters)
        else:
            send(handler, 200, {"path": handler.path})

    def answer_post(self, handler: Any, body: Any) -> None:
        path, _, query = handler.path.partition("?")
        if path == "/tokenize":
            send(handler, 200, {"tokens": tokens_of(body["content"])})
        elif path.startswith("/slots/"):
            self._act(handler, int(path.split("/")[2]), query, body)
        else:
            self._complete(handler, body)

    def _act(self, handler: Any, slot: int, query: str, body: Any) -> None:
        action = query.removeprefix("action=")
        if action == "erase":
            self.slots[slot] = []
            send(handler, 200, {"n_erased": 0})
            return
        path = self.folder / body["filename"]
        if action == "save":
            path.write_bytes(state_of(self.slots[slot]))
            send(handler, 200, {"n_saved": len(self.slots[slot])})
            return
        data = path.read_bytes()
        count = struct.unpack_from("<I", data, 8)[0]
        self.slots[slot] = list(array("i", data[12 : 12 + 4 * count]))
        assert data == state_of(self.slots[slot])
        send(handler, 200, {"n_restored": count})

    def _complete(self, handler: Any, body: Any) -> None:
        prompt = body["prompt"]
        tokens = prompt if isinstance(prompt, list) else tokens_of(prompt)
        slot = body.get("id_slot", 0)
        held = self.slots[slot]
        cached = next(
            (i for i, (a, b) in enumerate(zip(held, tokens, strict=False)) if a != b),
            min(len(held), len(tokens)),
        )
        cached = min(cached, len(tokens) - 1)
        self.reached.set()
        if not self.gate.is_set() and not self._wait_gate(handler, body.get("stream")):
            return
        self.slots[slot] = [*tokens, 77]
        timings = {
            "cache_n": cached, "prompt_n": len(tokens) - cached, "predicted_n": 2, "prompt_ms": 1
        }
        content = {"content": "two words", "id_slot": slot, "timings": timings}
        if body.get("stream"):
            event(handler, {"content": "two"}, first=not getattr(handler, "began", False))
            event(handler, content)
            handler.wfile.write(b"0\r\n\r\n")
            handler.began = False
        else:
            send(handler, 200, content)

    def _wait_gate(self, handler: Any, stream: bool) -> bool:
        """Holds the answer back until the gate opens; False if the client left before."""
        if stream:
            event(handler, {"content": "early"}, first=True)
            self.gate.wait(20)
            return True
        handler.connection.settimeout(20)
        if handler.connection.recv(1) == b"":
            self.client_left.set()
        handler.close_connection = True
        return False


def tokens_of(text: str) -> list[int]:
    """One number per word."""
    return [sum(word.encode()) * 31 % 50_000 + len(word) for word in text.split()]


def state_of(tokens: list[int]) -> bytes:
    """A state file: the head, and bytes that depend on every token."""
    body = b"".join(struct.pack("<i", t) * (STATE_BYTES_PER_TOKEN // 4) for t in tokens)
    return struct.pack("<III", 0x67677371, 2, len(tokens)) + array("i", tokens).tobytes() + body


def send(handler: Any, status: int, content: Any) -> None:
    """A JSON answer."""
    data = json.dumps(content).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def event(handler: Any, content: Any, first: bool = False) -> None:
    """One server-sent event in one chunk."""
    if first:
        handler.began = True
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
    data = b"data: " + json.dumps(content).encode() + b"\n\n"
    handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
    handler.wfile.flush()
