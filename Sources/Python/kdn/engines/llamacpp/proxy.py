"""The proxy in front of an unchanged llama.cpp server: HTTP/1.1 in, HTTP/1.1 out."""

from __future__ import annotations

import http.client
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from kdn.engines.llamacpp.prompts import is_completion
from kdn.engines.llamacpp.server import LlamaServer, wait_readable
from kdn.engines.llamacpp.service import Service, Ticket

TAIL_BYTES = 64 << 10
PIECE_BYTES = 64 << 10
STATUS_PATH = "/kdn/status"
STATUS_WAIT_MAX = 60.0
RESTORED_HEADER = "X-KDN-Restored-Tokens"
_HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-connection", "proxy-authenticate",
        "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade", "expect",
    }
)

log = logging.getLogger("kdn.llamacpp")


class ClientGone(Exception):
    """The client closed its connection before the answer came."""


class BadRequest(Exception):
    """A request that is not passed on, and the status that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Proxy(ThreadingHTTPServer):
    """Listens at `address`; one thread per connection, at most so many as the settings say."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.service = service
        self._places = threading.BoundedSemaphore(service.settings.connections_max)
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.service.cache.counts.blame("too many connections")
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a connection ended", exc_info=True)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.service.settings.idle_timeout)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)

    def pass_on(self) -> None:
        """Serves one request of any method."""
        try:
            body = self._body()
            path = unquote(self.path.split("?")[0])
            if path == STATUS_PATH and self.command == "GET":
                self._status()
                return
            if self.command == "POST" and "slots" in path.split("/"):
                raise BadRequest(403, "slots are managed by kdn.engines.llamacpp")
            self._relay(path, body)
        except BadRequest as error:
            self.close_connection = True
            self._answer(error.status, {"error": {"code": error.status, "message": str(error)}})
        except (ClientGone, ConnectionError, TimeoutError):
            self.close_connection = True

    def _status(self) -> None:
        """What was counted; with `?wait=SECONDS` once nothing is being saved, or so much later."""
        wanted = re.search(r"[?&]wait=(\d{1,3}(?:\.\d{1,3})?)(?:&|$)", self.path)
        if wanted is not None:
            self.server.service.wait_saved(min(STATUS_WAIT_MAX, float(wanted[1])))
        self._answer(200, self.server.service.report())

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = pass_on

    # The request

    def _body(self) -> bytes | Iterator[bytes]:
        """The whole body, or its pieces as they come if it may not be held."""
        encodings = self.headers.get_all("Transfer-Encoding", [])
        lengths = self.headers.get_all("Content-Length", [])
        if encodings:
            if lengths or [e.strip().lower() for e in encodings] != ["chunked"]:
                raise BadRequest(400, "only one of Content-Length and chunked encoding")
            return self._chunks()
        if not lengths:
            return b""
        if len(lengths) != 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
            raise BadRequest(400, "Content-Length is no number")
        length = int(lengths[0])
        if length > self.server.service.settings.body_bytes_max:
            return self._pieces(length)
        data = self.rfile.read(length)
        if len(data) != length:
            raise ClientGone
        return data

    def _pieces(self, length: int) -> Iterator[bytes]:
        while length > 0:
            piece = self.rfile.read(min(length, PIECE_BYTES))
            if not piece:
                raise ClientGone
            length -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self.rfile.readline(1026).split(b";")[0].strip()
            try:
                size = int(line, 16) if line.isalnum() else -1
            except ValueError:
                size = -1
            if size < 0:
                raise BadRequest(400, "a chunk has no length")
            if size == 0:
                while self.rfile.readline(1026).strip():
                    pass
                return
            yield from self._pieces(size)
            self.rfile.readline(3)

    # The exchange with the server

    def _relay(self, path: str, body: bytes | Iterator[bytes]) -> None:
        ticket: Ticket | None = None
        if self.command == "POST" and isinstance(body, bytes) and is_completion(path):
            ticket = self._begin(path, body)
        if ticket is None:
            self._exchange(body)
            return
        tail: bytes | None = None
        try:
            tail = self._exchange(ticket.body, ticket, body)
        finally:
            self.server.service.finish(ticket, tail)

    def _begin(self, path: str, body: bytes) -> Ticket | None:
        try:
            return self.server.service.begin(path, body, self.headers)
        except Exception:
            log.exception("a request passes as it is")
            return None

    def _exchange(
        self,
        body: bytes | Iterator[bytes],
        ticket: Ticket | None = None,
        original: bytes | Iterator[bytes] = b"",
    ) -> bytes | None:
        """Sends the request and relays the answer; returns its end if it came in full.

        A pinned request that the server refuses is sent again as the client wrote it.
        """
        upstream = self.server.service.cache.server
        connection = upstream.connect(self.server.service.settings.answer_timeout)
        try:
            answer = self._ask(connection, upstream, body)
            if ticket is not None and answer.status >= 400:
                connection.close()
                answer, ticket = self._ask(connection, upstream, original), None
                self._send_answer(answer, ticket)
                return None
            return self._send_answer(answer, ticket)
        finally:
            connection.close()

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        upstream: LlamaServer,
        body: bytes | Iterator[bytes],
    ) -> http.client.HTTPResponse:
        try:
            connection.putrequest(
                self.command, upstream.prefix + self.path,
                skip_host=True, skip_accept_encoding=True,
            )
            is_stream = not isinstance(body, bytes)
            for name, value in self._forwarded(upstream):
                connection.putheader(name, value)
            length = self.headers.get("Content-Length")
            chunked = is_stream and length is None
            if chunked:
                connection.putheader("Transfer-Encoding", "chunked")
            elif is_stream:
                connection.putheader("Content-Length", str(length))
            elif body or length is not None:
                connection.putheader("Content-Length", str(len(body)))  # type: ignore[arg-type]
            connection.endheaders(body or None, encode_chunked=chunked)
            self._await(connection)
            return connection.getresponse()
        except (ClientGone, BadRequest):
            raise
        except (OSError, http.client.HTTPException) as error:
            raise BadRequest(502, f"the llama.cpp server does not answer: {error!r}") from error

    def _forwarded(self, upstream: LlamaServer) -> Iterator[tuple[str, str]]:
        named = self.headers.get("Connection", "").lower().split(",")
        dropped = _HOP_BY_HOP | {n.strip() for n in named} | {"host", "content-length"}
        if self.command == "POST":
            dropped |= {"accept-encoding"}
        host = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
        yield "Host", f"{host}:{upstream.port}"
        for name, value in self.headers.items():
            if name.lower() not in dropped:
                yield name, value

    def _await(self, connection: http.client.HTTPConnection) -> None:
        """Waits for the answer to begin, and gives up once the client has: the server then stops
        computing, as it would without a proxy between."""
        watched = [connection.sock, self.connection]
        while True:
            ready = wait_readable(watched, self.server.service.settings.answer_timeout)
            if connection.sock in ready:
                return
            if not ready:
                raise TimeoutError("no answer in time")
            if not self.connection.recv(1, socket.MSG_PEEK):
                raise ClientGone
            watched = [connection.sock]  # the next request is waiting; nothing more can be learnt

    # The answer

    def _send_answer(
        self, answer: http.client.HTTPResponse, ticket: Ticket | None
    ) -> bytes | None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP and name.lower() != "content-length":
                self.send_header(name, value)
        if ticket is not None:
            self.send_header(RESTORED_HEADER, str(len(ticket.restored.tokens)))
        has_body = self.command != "HEAD" and answer.status not in (204, 304)
        length = answer.getheader("Content-Length")
        chunked = has_body and length is None and self.request_version == "HTTP/1.1"
        if length is not None:
            self.send_header("Content-Length", length)
        elif chunked:
            self.send_header("Transfer-Encoding", "chunked")
        if has_body and length is None and not chunked:
            self.close_connection = True
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        return self._send_pieces(answer, chunked) if has_body else b""

    def _send_pieces(self, answer: http.client.HTTPResponse, chunked: bool) -> bytes:
        """Relays each piece as it comes; returns the last bytes. Raises if either side ends."""
        tail = b""
        try:
            while piece := answer.read1(PIECE_BYTES):
                tail = (tail + piece)[-TAIL_BYTES:]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        except http.client.HTTPException as error:
            raise ClientGone from error
        if answer.length:
            raise ClientGone  # fewer bytes came than were promised: the client must see that too
        if chunked:
            self.wfile.write(b"0\r\n\r\n")
        return tail

    def _answer(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
