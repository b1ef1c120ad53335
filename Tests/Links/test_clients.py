"""Several clients at once, and clients that die, over every link."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import threading
import traceback

from kdn import Get, Key, LinkUnavailable, Put
from link_node import MEBIBYTE
from material import random_bytes, store

WORKER = pathlib.Path(__file__).with_name("link_worker.py")
CLIENTS = 4
ROUNDS = 12
UNAVAILABLE = 3


class Worker:
    """A client process that has said that it is where its role wants it."""

    def __init__(self, node, role: str, salt: bytes) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), role, node.address, node.link, salt.hex()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"there\n"

    def kill(self) -> None:
        """SIGKILL: it takes no leave of the daemon."""
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait(60) == -signal.SIGKILL
        self.close()

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def work(node, salt: bytes, number: int, faults: list[str]) -> None:
    """Stores objects of its own, and reads those and what all share."""
    shared = Key.opaque(salt + b"shared")
    with node.client(streams=1) as client:
        expected = client.get(shared)
        for turn in range(ROUNDS):
            data = random_bytes(1 + (turn * 48_611 + number * 7919) % 400_000)
            key = Key.opaque(salt + b"%d/%d" % (number, turn))
            result = client.put_from([Put(key, data)])[0]
            buffer, common = bytearray(len(data)), bytearray(len(expected))
            results = client.get_into([Get(key, buffer), Get(shared, common)])
            if not result.stored or not all(each.hit for each in results):
                faults.append(f"client {number}, turn {turn}: {result} {results}")
            if buffer != data or common != expected:
                faults.append(f"client {number}, turn {turn}: other bytes")


def test_concurrent_clients_read_what_they_wrote(node, client, salt):
    client.put(Key.opaque(salt + b"shared"), random_bytes(MEBIBYTE))
    faults: list[str] = []
    threads = [
        threading.Thread(target=work, args=(node, salt, number, faults))
        for number in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert not any(thread.is_alive() for thread in threads) and faults == []


def test_threads_share_one_client(client, salt):
    keys, datas = store(client, salt, 8, 200_000)
    wrong: list[int] = []

    def read(index: int) -> None:
        for _ in range(5):
            if client.get(keys[index]) != datas[index]:
                wrong.append(index)

    threads = [threading.Thread(target=read, args=(index,)) for index in range(len(keys))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert not any(thread.is_alive() for thread in threads) and wrong == []


def test_readers_of_what_is_purged_and_stored_again_see_whole_objects(node, client, salt):
    key = Key.opaque(salt)
    versions = [bytes([value]) * (MEBIBYTE + 333) for value in range(1, 9)]
    seen: list[bytes | None] = []
    done = threading.Event()

    def read() -> None:
        with node.client(streams=1) as reader:
            while not done.is_set():
                seen.append(reader.get(key))

    reading = threading.Thread(target=read)
    reading.start()
    for version in versions:
        client.put(key, version)
        client.purge(keys=[key])
    done.set()
    reading.join(60)
    assert not reading.is_alive()
    assert all(each is None or each in versions for each in seen)


def test_a_killed_client_leaves_nothing_behind(node, client, salt, eventually):
    name = Key.opaque(salt + b"whole")
    keys, datas = store(client, salt, 2, 300_000)
    before = client.stats()
    workers = [Worker(node, role, salt) for role in ("looping", "leasing")]
    eventually(lambda: client.stats()["connections"]["open"] > before["connections"]["open"])
    for worker in workers:
        worker.kill()

    def is_clean() -> bool:
        now = client.stats()
        return (
            now["connections"]["open"] == before["connections"]["open"]
            and now["pool"]["reservations"] == 0 and now["pool"]["leases"] == 0
        )

    eventually(is_clean)
    client.purge(keys=[Key.opaque(salt + b"loop/%d" % turn) for turn in range(4)])
    assert [client.get(key) for key in keys] == datas
    assert client.put(name, b"whole").state == "published"
    assert client.get(name) == b"whole"


def test_clients_that_come_and_go_leave_no_descriptors(node, client, salt, eventually):
    def come_and_go() -> None:
        with node.client(streams=1) as each:
            assert each.get(Key.opaque(salt)) == b"data"

    client.put(Key.opaque(salt), b"data")
    opened = client.stats()["connections"]["open"]
    come_and_go()
    eventually(lambda: client.stats()["connections"]["open"] == opened)
    assert node.process is not None
    files = node.process.open_files()
    for _ in range(8):
        come_and_go()
    eventually(lambda: client.stats()["connections"]["open"] == opened)
    eventually(lambda: node.process.open_files() <= files)


def test_a_forked_child_reads_over_a_connection_of_its_own(client, link, salt):
    """Soft-RoCE's devices serve only the process that opened them, so that a child has no RDMA."""
    keys, datas = store(client, salt, 1, 100_000)
    child = os.fork()
    if child == 0:
        outcome = 1
        try:
            outcome = 0 if client.get(keys[0]) == datas[0] else 2
        except LinkUnavailable:
            outcome = UNAVAILABLE
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(outcome)
    outcome = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert outcome == 0 or (outcome == UNAVAILABLE and link == "rdma")
    assert client.get(keys[0]) == datas[0]
