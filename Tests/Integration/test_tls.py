"""kdnd over TLS: what it shows, whom it admits, and what others cannot do to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable

import pytest
from daemon_process import DaemonProcess
from test_certificates import Authority, Certificate

from kdn import AsyncClient, Client, ConnectionLost, Get, Key, KDNError, Put, ServerError

KEY = Key.opaque(b"over tls")
DATA = bytes(range(256)) * 20_000
HELLO_STATUS = "unauthorised"


@pytest.fixture
def authority(tmp_path: pathlib.Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def own(authority: Authority) -> Certificate:
    return authority.sign("server")


def tls_flags(own: Certificate, *more: str) -> list[str]:
    settings = ["tls=127.0.0.1:0", f"tls_certificate={own.path}", f"tls_key={own.key}", *more]
    return ["--tcp", "127.0.0.1:0", *(word for item in settings for word in ("--set", item))]


def secured(daemon: DaemonProcess) -> str:
    """HOST:PORT of the daemon's TLS listener."""
    found = re.search(r'\btls"?[=:]"?([^\s",]+:\d+)', daemon.log)
    assert found, daemon.log
    return found.group(1)


def connect(daemon: DaemonProcess, authority: Authority, **more) -> Client:
    return Client(f"tls://{secured(daemon)}", ca=authority.path, **more)


def s_client(daemon: DaemonProcess, *flags: str) -> str:
    done = subprocess.run(
        ["openssl", "s_client", "-connect", secured(daemon), "-servername", "localhost", *flags],
        input=b"", capture_output=True, timeout=20,
    )
    return (done.stdout + done.stderr).decode(errors="replace")


def serial_of(daemon: DaemonProcess) -> int:
    """The serial number of the certificate that a new connection is shown."""
    host, port = secured(daemon).split(":")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as sock:
            der = sock.getpeercert(binary_form=True)
    text = subprocess.run(
        ["openssl", "x509", "-inform", "DER", "-noout", "-serial"],
        input=der, capture_output=True, check=True,
    ).stdout
    return int(text.split(b"=")[1], 16)


def is_unauthorised(error: KDNError) -> bool:
    return isinstance(error, ServerError) and error.status.name.lower() == HELLO_STATUS


def test_objects_go_both_ways_over_tls(start, authority, own) -> None:
    daemon = start(*tls_flags(own))
    with connect(daemon, authority) as client, Client(daemon.address) as plain:
        assert client.put(KEY, DATA).state == "published"
        buffer = bytearray(len(DATA))
        assert client.get_into([Get(KEY, buffer)])[0].hit
        assert buffer == DATA
        # The same store lies behind the plain port.
        assert plain.get(KEY) == DATA
        other = Key.opaque(b"stored plain")
        plain.put(other, DATA[::-1])
        assert client.get(other) == DATA[::-1]
        many = [Key.opaque(f"small {n}".encode()) for n in range(200)]
        client.put_from([Put(key, bytes([n]) * (n + 1)) for n, key in enumerate(many)])
        assert client.exists(many) == [True] * 200
        assert [client.get(key) for key in many] == [bytes([n]) * (n + 1) for n in range(200)]


def test_the_asyncio_client_speaks_tls(start, authority, own) -> None:
    daemon = start(*tls_flags(own))

    async def talk() -> None:
        async with AsyncClient(f"tls://{secured(daemon)}", ca=authority.path) as client:
            keys = [Key.opaque(f"async {n}".encode()) for n in range(8)]
            await asyncio.gather(*(client.put(key, DATA) for key in keys))
            fetched = await asyncio.gather(*(client.get(key) for key in keys))
            assert all(data == DATA for data in fetched)

    asyncio.run(talk())


def test_only_tls_1_3_and_only_our_protocol_is_spoken(start, authority, own) -> None:
    daemon = start(*tls_flags(own))
    modern = s_client(daemon, "-CAfile", authority.path)
    assert "TLSv1.3" in modern and "Verify return code: 0 (ok)" in modern
    assert "Compression: NONE" in modern
    for flag in ("-tls1_2", "-tls1_1"):
        old = s_client(daemon, flag, "-cipher", "ALL:@SECLEVEL=0")
        assert "protocol version" in old and "Cipher is (NONE)" in old
    assert "kdnp/1" in s_client(daemon, "-alpn", "h2,kdnp/1")
    assert "no application protocol" in s_client(daemon, "-alpn", "h2,http/1.1")
    with Client(daemon.address) as client:
        client.ping()


def test_plain_bytes_to_the_tls_port_harm_nobody(start, authority, own) -> None:
    daemon = start(*tls_flags(own))
    host, port = secured(daemon).split(":")
    with connect(daemon, authority) as neighbour:
        neighbour.put(KEY, DATA)
        with Client(secured(daemon), connect_timeout=5) as wrong, pytest.raises(ConnectionLost):
            wrong.ping()
        for bytes_sent in (b"GET / HTTP/1.1\r\n\r\n", bytes(100), os.urandom(100_000)):
            with socket.create_connection((host, int(port)), timeout=10) as sock:
                with contextlib.suppress(OSError):
                    sock.sendall(bytes_sent)
                    while sock.recv(4096):
                        pass
        assert neighbour.get(KEY) == DATA
    with connect(daemon, authority) as later:
        assert later.get(KEY) == DATA


def test_tls_to_the_plain_port_harms_nobody(start, authority, own) -> None:
    daemon = start(*tls_flags(own))
    address = f"tls://{daemon.address}"
    with Client(daemon.address) as neighbour:
        neighbour.put(KEY, DATA)
        with Client(address, ca=authority.path) as wrong, pytest.raises(ConnectionLost):
            wrong.ping()
        assert neighbour.get(KEY) == DATA


def test_connections_that_never_shake_hands_are_closed(start, authority, own) -> None:
    daemon = start(*tls_flags(own))
    host, port = secured(daemon).split(":")
    idle = [socket.create_connection((host, int(port)), timeout=30) for _ in range(20)]
    try:
        idle[0].sendall(b"\x16\x03\x01\x02\x00\x01")
        with connect(daemon, authority) as client:
            client.put(KEY, DATA)
            assert client.get(KEY) == DATA
        for sock in idle:
            # The time to greet is over at some point, and the daemon closes.
            with contextlib.suppress(ConnectionResetError):
                while sock.recv(4096):
                    pass
    finally:
        for sock in idle:
            sock.close()


@pytest.fixture
def mutual(start, authority, own) -> DaemonProcess:
    return start(
        *tls_flags(
            own, f"tls_client_ca={authority.path}", "tls_clients=worker-1.example.org=blue",
            "tls_clients=spiffe://kdn/green=green", "tls_clients=CN=red worker=red"),
    )


@pytest.mark.parametrize(
    ("subject", "names", "namespace"),
    [
        ("/CN=x", "DNS:worker-1.example.org", "blue"),
        ("/CN=x", "DNS:other.example.org,URI:spiffe://kdn/green", "green"),
        ("/CN=red worker", "DNS:other.example.org", "red"),
    ],
)
def test_a_certificate_opens_its_namespace_without_a_token(
    mutual, authority, subject, names, namespace
) -> None:
    shown = authority.sign("client", subject=subject, names=names)
    files = {"certificate": shown.path, "key": shown.key}
    with connect(mutual, authority, namespace=namespace, **files) as client:
        client.put(KEY, DATA)
        assert client.get(KEY) == DATA
    for other in {"blue", "green", "red", "nobody"} - {namespace}:
        with connect(mutual, authority, namespace=other, **files) as client:
            with pytest.raises(KDNError) as error:
                client.ping()
            assert is_unauthorised(error.value)


def test_a_certificate_of_no_namespace_opens_none(mutual, authority) -> None:
    shown = authority.sign("client", subject="/CN=blue", names="DNS:blue")
    for namespace in ("blue", "green", "red"):
        with connect(
            mutual, authority, namespace=namespace, certificate=shown.path, key=shown.key
        ) as client:
            with pytest.raises(KDNError) as error:
                client.ping()
            assert is_unauthorised(error.value)


def test_no_certificate_and_a_strangers_are_refused(mutual, authority, tmp_path) -> None:
    stranger = Authority(tmp_path, "stranger").sign(
        "forged", subject="/CN=red worker", names="DNS:worker-1.example.org")
    for files in ({}, {"certificate": stranger.path, "key": stranger.key}):
        with connect(mutual, authority, namespace="blue", **files) as client:
            with pytest.raises(ConnectionLost):
                client.ping()


def replace_certificate(own: Certificate, other: Certificate) -> None:
    os.replace(other.path, own.path)
    os.replace(other.key, own.key)


def reload(daemon: DaemonProcess) -> None:
    daemon.process.send_signal(signal.SIGHUP)


def test_a_reload_gives_new_connections_the_new_certificate(
    start, authority, own, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    daemon = start(*tls_flags(own))
    first = serial_of(daemon)
    with connect(daemon, authority, streams=1) as old:
        old.put(KEY, DATA)
        replace_certificate(own, authority.sign("next"))
        reload(daemon)
        eventually(lambda: serial_of(daemon) != first)
        # The connection that was there goes on with the old one: it is the same still.
        assert old.get(KEY) == DATA
        assert old.counters.reconnects == 0
        with connect(daemon, authority) as new:
            assert new.get(KEY) == DATA


def test_a_bad_certificate_at_reload_changes_nothing_and_names_the_setting(
    start, authority, own, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    daemon = start(*tls_flags(own))
    first = serial_of(daemon)
    pathlib.Path(own.path).write_text("not a certificate")
    reload(daemon)
    eventually(lambda: "tls_certificate" in daemon.log.split("ready", 1)[1])
    assert serial_of(daemon) == first
    # A key that belongs to another certificate.
    other = authority.sign("other")
    pathlib.Path(own.path).write_text(pathlib.Path(other.path).read_text())
    reload(daemon)
    eventually(lambda: "tls_key" in daemon.log.split("ready", 1)[1])
    assert serial_of(daemon) == first
    with connect(daemon, authority) as client:
        client.put(KEY, DATA)
        assert client.get(KEY) == DATA


def resident_bytes(daemon: DaemonProcess) -> int:
    fields = pathlib.Path(f"/proc/{daemon.pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_thousand_handshakes_leave_nothing_behind(start, authority, own) -> None:
    daemon = start(*tls_flags(own))
    host, port = secured(daemon).split(":")
    context = ssl.create_default_context(cafile=authority.path)

    def shake(times: int) -> None:
        for _ in range(times):
            with socket.create_connection((host, int(port)), timeout=10) as plain:
                context.wrap_socket(plain, server_hostname="localhost").close()

    shake(200)
    before = resident_bytes(daemon)
    shake(1000)
    # A connection that stayed would keep more than 8 KiB, and so 8 MiB altogether.
    assert resident_bytes(daemon) - before < 4 << 20
    deadline = time.monotonic() + 20
    while len(os.listdir(f"/proc/{daemon.pid}/fd")) > 100:
        assert time.monotonic() < deadline, "descriptors stay open"
