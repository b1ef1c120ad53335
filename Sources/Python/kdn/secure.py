"""TLS 1.3 for connections: whom a client trusts, and a socket that has the calls of a plain one."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence

from kdn.errors import FieldError

PROTOCOL = "kdnp/1"
# Small pieces are joined up to the length of one record; large ones are sent from their place.
RECORD_BYTES = 16 << 10
WRITE_BYTES_MAX = 256 << 10


def make_context(ca: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """Trusts the authorities in the file `ca` (None: the system's), and shows `certificate`.

    Raises FieldError with the argument whose file cannot be used.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
    except (OSError, ValueError) as error:
        raise FieldError("ca", ca, f"a PEM file of authorities ({error})") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([PROTOCOL])
    if certificate is not None:
        try:
            # An encrypted key would make the library ask at the terminal.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except (OSError, ValueError) as error:
            limit = f"a PEM file with its key ({error})"
            raise FieldError("certificate", certificate, limit) from error
    elif key is not None:
        raise FieldError("key", key, "given together with its certificate")
    return context


class SecureSocket:
    """A non-blocking socket inside TLS, with the calls that connections make of a plain one.

    Reads fill their buffers as far as bytes have come, so that a short read means an empty socket;
    what would block raises BlockingIOError.
    """

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._socket = sock
        # A write that the socket did not take must be made again with the same bytes.
        self._stalled: bytes | memoryview | None = None

    def fileno(self) -> int:
        """The descriptor, for polls and event loops."""
        return self._socket.fileno()

    def setblocking(self, flag: bool) -> None:
        """As of a plain socket."""
        self._socket.setblocking(flag)

    def buffered_bytes(self) -> int:
        """Bytes that have come and that no poll will tell of."""
        return self._socket.pending()

    def recv_into(self, view: memoryview) -> int:
        """Fills `view` as far as bytes have come; 0 at the end of the stream."""
        filled = 0
        while filled < len(view):
            try:
                count = self._socket.recv_into(view[filled:])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                if filled:
                    break
                raise BlockingIOError(str(error)) from error
            if count == 0:
                break
            filled += count
        return filled

    def recvmsg_into(self, views: Sequence[memoryview]) -> tuple[int]:
        """Fills the views one after the other."""
        total = 0
        for view in views:
            try:
                count = self.recv_into(view)
            except BlockingIOError:
                if total:
                    break
                raise
            total += count
            if count < len(view):
                break
        return (total,)

    def sendmsg(self, views: Sequence[memoryview]) -> int:
        """Sends the front of `views`, which must not change until it is taken; says how much."""
        data = self._stalled or self._front(views)
        try:
            count = self._socket.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            self._stalled = data
            raise BlockingIOError(str(error)) from error
        self._stalled = None
        return count

    def close(self) -> None:
        """Closes the socket at once: frames tell of themselves whether they are whole."""
        self._socket.close()

    @staticmethod
    def _front(views: Sequence[memoryview]) -> bytes | memoryview:
        if len(views[0]) >= RECORD_BYTES or len(views) == 1:
            return views[0][:WRITE_BYTES_MAX]
        joined = bytearray()
        for view in views:
            joined += view[: RECORD_BYTES - len(joined)]
            if len(joined) == RECORD_BYTES:
                break
        return bytes(joined)


def wrap(sock: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """Puts a connected socket inside TLS; the handshake is the caller's to drive."""
    return context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
