"""Clients that keep a daemon busy for as long as somebody looks at it."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator

from kdn import Client, Key

OBJECT_BYTES = 256 << 10
OBJECTS = 400


def _work(address: str, seed: int, stop: threading.Event) -> None:
    data = os.urandom(OBJECT_BYTES)
    with Client(address) as client:
        for number in itertools.count():
            key = Key.opaque(b"%d %d" % (seed, number % OBJECTS))
            client.put(key, data)
            client.get(key)
            client.get(Key.opaque(b"%d nobody stored this" % number))
            client.get(Key.opaque(b"%d %d" % (seed, (number * 7) % OBJECTS)))
            client.exists([key])
            if stop.wait(0.01):
                return


@contextlib.contextmanager
def traffic(address: str, clients: int = 2) -> Iterator[None]:
    """Stores, fetches and misses until the block ends."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=_work, args=(address, seed, stop)) for seed in range(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
