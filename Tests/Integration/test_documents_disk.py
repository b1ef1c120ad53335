"""Documents, their edits and the rules on them outlive a kdnd with a disk, however it ends."""

from __future__ import annotations

import hashlib
import random
import threading

import pytest
import requests
from admin_client import TOKEN, AdminClient
from disk_daemon import LAYOUT, DiskDaemon, disk_daemon, store_chain
from kdn import Client, Document, KDNError, ServerError, Status, chunk_hashes, document_root

ROUNDS = 24
NAMES = 6
CHUNK = 16
TOKENS = 40
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()
ENVIRONMENT = {"KDN_ADMIN": "127.0.0.1:0", "KDN_ADMIN_TOKENS": f"root:{DIGEST}"}
KILLED_OR_STOPPED = pytest.mark.parametrize("clean", [False, True], ids=["kill -9", "stopped"])
SPACE = "namespace=default"


@pytest.fixture
def daemon(tmp_path):
    with disk_daemon(tmp_path / "disk") as daemon:
        yield daemon


def begin(daemon: DiskDaemon, *more: str) -> tuple[Client, AdminClient]:
    client = daemon.start(*more, environment=ENVIRONMENT)
    return client, AdminClient(daemon.process)


def document(name: str, metadata: str = "") -> Document:
    root = document_root("model", metadata.encode())
    hashes = chunk_hashes(root, list(range(TOKENS)), CHUNK, tail=True)
    return Document(name, LAYOUT.id, TOKENS, CHUNK, tuple(hashes), metadata)


def edits_of(admin: AdminClient, name: str) -> list:
    return admin.get(f"/documents/edits?{SPACE}&name={name}")["edits"]


def material(admin: AdminClient) -> dict:
    return admin.get(f"/documents/edits?{SPACE}&name=handbook")["materialised"]


def edit(admin: AdminClient, name: str, strength: float = 1.5) -> int:
    body = {
        "namespace": "default", "name": name, "operation": "scale_keys", "strength": strength,
        "spans": [[0, 4], [8, 20]],
    }
    return admin.order("POST", "/documents/edits", body)["id"]


@KILLED_OR_STOPPED
def test_all_of_it_is_there_after_a_restart(daemon, clean):
    client, admin = begin(daemon)
    hashes, _ = store_chain(client, b"text", 3)
    text = Document("handbook", LAYOUT.id, 96, 32, tuple(hashes), '{"pages": 12}')
    epoch = client.publish_document(text)
    client.publish_document(document("gone"))
    client.publish_document(document("secret/plans"))
    kept = edit(admin, "handbook")
    dropped = edit(admin, "handbook", 0.5)
    answer = admin.order("DELETE", f"/documents/edits?{SPACE}&name=handbook&id={dropped}")
    assert answer == {"reverted": 1}
    client.retire_document("gone")
    rules = {"namespace": "default", "denied": ["secret/*"]}
    assert admin.order("PUT", "/documents/rules", rules) == rules

    daemon.end(clean)
    client, admin = begin(daemon)
    # Nobody registers the layout: it is known again, and so are the chunks.
    found = client.resolve_document("handbook")
    assert (found.document, found.epoch, found.present_chunks) == (text, epoch, 3)
    (operation,) = edits_of(admin, "handbook")
    assert operation == {
        "id": kept, "operation": "scale_keys", "strength": 1.5, "spans": [[0, 4], [8, 20]],
    }
    with pytest.raises(ServerError) as fault:
        client.resolve_document("gone")
    assert fault.value.status == Status.NOT_FOUND
    with pytest.raises(ServerError) as fault:
        client.resolve_document("secret/plans")
    assert (fault.value.status, fault.value.field) == (Status.FORBIDDEN, "name")
    # Epochs and ids go on; a text that is published anew loses its edits.
    assert client.publish_document(text) > dropped > kept > epoch
    assert edits_of(admin, "handbook") == []
    assert edit(admin, "handbook") > dropped


@KILLED_OR_STOPPED
def test_chunks_kept_in_a_class_outlive_the_daemon_or_are_edited_on_delivery(daemon, clean):
    client, admin = begin(daemon)
    hashes, _ = store_chain(client, b"text", 3)
    text = Document("handbook", LAYOUT.id, 96, 32, tuple(hashes))
    client.publish_document(text)
    order = {"namespace": "default", "name": "handbook", "operation": "requantise"}
    known = admin.order("POST", "/documents/edits", {**order, "class": "high"})["id"]
    path = f"{SPACE}&name=handbook"
    assert admin.order("POST", f"/documents/materialise?{path}")["state"] == "running"
    while (made := material(admin))["state"] == "running":
        pass
    assert made == {"state": "whole", "kept": 3, "total": 3}

    daemon.end(clean)
    client, admin = begin(daemon)
    assert edits_of(admin, "handbook") == [
        {"id": known, "operation": "requantise", "class": "high", "spans": []}
    ]
    found = material(admin)
    # They are written behind: a crash may come first.
    assert found["total"] == 3 and (not clean or found["state"] == "whole")
    admin.order("DELETE", f"/documents/edits?{path}")
    assert material(admin)["state"] == "nothing"


def test_a_purge_of_the_namespace_forgets_documents_for_good_and_keeps_rules(daemon):
    client, admin = begin(daemon)
    client.register_layout(LAYOUT)
    last = [client.publish_document(document(f"{number}")) for number in range(5)][-1]
    admin.order("POST", "/documents/rules", {"namespace": "default", "deny": ["x"]})
    client.purge(namespace=True)
    assert client.list_documents() == []
    daemon.end(clean=False)
    client, admin = begin(daemon)
    assert client.list_documents() == []
    assert admin.get(f"/documents/rules?{SPACE}")["denied"] == ["x"]
    client.register_layout(LAYOUT)
    assert client.publish_document(document("0")) > last


def test_a_dropped_cache_forgets_documents_and_keeps_rules(daemon):
    client, admin = begin(daemon)
    client.register_layout(LAYOUT)
    last = client.publish_document(document("a"))
    admin.order("POST", "/documents/rules", {"namespace": "default", "deny": ["x*"]})
    daemon.end(clean=True)
    for more in (("--reset-cache",), ()):
        client, admin = begin(daemon, *more)
        assert client.list_documents() == []
        assert admin.get(f"/documents/rules?{SPACE}")["denied"] == ["x*"]
        daemon.end(clean=True)
    client, admin = begin(daemon)
    client.register_layout(LAYOUT)
    assert client.publish_document(document("a")) > last


def test_epochs_never_go_back_also_where_nothing_is_kept(kdnd_without_disk):
    first, second = kdnd_without_disk
    assert second > first


@pytest.fixture
def kdnd_without_disk():
    """Epochs of the same name in two runs without a disk."""
    epochs = []
    for _ in range(2):
        with disk_daemon() as daemon:
            client = daemon.start(recovered=False)
            client.register_layout(LAYOUT)
            epochs.append(client.publish_document(document("a")))
    return epochs


class Worker:
    """Changes documents of its own one after the other, and knows what was acknowledged."""

    def __init__(self, number: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = [f"worker-{number}-{index}" for index in range(NAMES)]
        # None, or metadata and the ids of edits, in which one not yet known is 0.
        self.known: dict[str, tuple[str, list[int]] | None] = dict.fromkeys(self.names)
        self.attempt: tuple[str, tuple[str, list[int]] | None] | None = None
        self.refused: ServerError | None = None
        self.acknowledged = 0
        self.goal = 0
        self.last = 0
        self.versions = 0

    def play(self, daemon: DiskDaemon, admin: AdminClient, enough: threading.Event) -> None:
        """Works until the daemon is gone."""
        with Client(daemon.process.address, timeout=10.0) as client:
            client.register_layout(LAYOUT)
            while True:
                try:
                    self.step(client, admin)
                except ServerError as fault:
                    self.refused = fault
                    return
                except (KDNError, OSError, requests.RequestException):
                    return
                self.acknowledged += 1
                if self.acknowledged >= self.goal:
                    enough.set()

    def step(self, client: Client, admin: AdminClient) -> None:
        name = self.random.choice(self.names)
        known = self.known[name]
        kind = self.random.random()
        if known is None or kind < 0.4:
            self.versions += 1
            text = f"version {self.versions}"
            self.attempt = (name, (text, []))
            number = client.publish_document(document(name, text))
            self.done(number)
        elif kind < 0.8:
            self.attempt = (name, (known[0], [*known[1], 0]))
            number = edit(admin, name)
            self.attempt = (name, (known[0], [*known[1], number]))
            self.done(number)
        elif kind < 0.9 and known[1]:
            self.attempt = (name, (known[0], known[1][1:]))
            path = f"/documents/edits?{SPACE}&name={name}&id={known[1][0]}"
            assert admin.order("DELETE", path) == {"reverted": 1}
            self.done(0)
        else:
            self.attempt = (name, None)
            client.retire_document(name)
            self.done(0)

    def done(self, number: int) -> None:
        assert self.attempt is not None
        assert number == 0 or number > self.last, "epochs and ids grow"
        self.last = max(self.last, number)
        self.known[self.attempt[0]] = self.attempt[1]
        self.attempt = None

    def check(self, client: Client, admin: AdminClient) -> None:
        """What is there was acknowledged, or is what was asked for when the daemon died."""
        for name in self.names:
            try:
                found = client.resolve_document(name)
            except ServerError as fault:
                assert fault.status == Status.NOT_FOUND
                state = None
            else:
                version = found.document.metadata
                assert found.document == document(name, version)
                state = (version, [row["id"] for row in edits_of(admin, name)])
                self.last = max(self.last, found.epoch, *state[1], 0)
            if not same(state, self.known[name]):
                assert self.attempt is not None, (name, state, self.known[name])
                assert self.attempt[0] == name, (name, state, self.known[name])
                assert same(state, self.attempt[1]), (name, state, self.attempt)
            self.known[name] = state
        self.attempt = None


def same(found, wanted) -> bool:
    if found is None or wanted is None:
        return found is wanted
    pairs = zip(found[1], wanted[1], strict=False)
    return (
        found[0] == wanted[0]
        and len(found[1]) == len(wanted[1])
        and all(one == other or other == 0 for one, other in pairs)
    )


def test_whatever_was_acknowledged_survives_kill_9(daemon):
    seed = 20
    source = random.Random(seed)
    workers = [Worker(number, seed + number) for number in range(2)]
    acknowledged = 0
    for _ in range(ROUNDS):
        client, admin = begin(daemon)
        for worker in workers:
            worker.check(client, admin)
        enough = threading.Event()
        threads = []
        for worker in workers:
            worker.acknowledged = 0
            worker.goal = source.randint(3, 40)
            own = AdminClient(daemon.process)
            own._document = admin.document
            threads.append(
                threading.Thread(target=worker.play, args=(daemon, own, enough))
            )
        for thread in threads:
            thread.start()
        assert enough.wait(60), daemon.log
        daemon.end(clean=False)
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert [worker.refused for worker in workers] == [None, None]
        acknowledged += sum(worker.acknowledged for worker in workers)
    client, admin = begin(daemon)
    for worker in workers:
        worker.check(client, admin)
    print(f"{ROUNDS} kills, {acknowledged} acknowledged changes")
