"""`kdn recode` against a real kdnd: KV of a layout in RAM and on disk, kept in other codecs by
order, with what it costs, refuses and tells."""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
import subprocess

import numpy as np
import pytest
from admin_client import TOKEN, AdminClient
from command_line_node import FAILED, KDN, NO, OK, USAGE, Node
from disk_daemon import CHUNK_BYTES, CHUNK_TOKENS, LAYOUT, DiskDaemon, chunk_key, disk_daemon
from kdn import Client, Document, Key, Put, chain_root, chunk_hashes

CHUNKS = 24


def kv(seed: int) -> bytes:
    """Numbers as a model has them, as bf16."""
    values = np.random.default_rng(seed).normal(0, 1, CHUNK_BYTES // 2).astype(np.float32)
    return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def hashes_of(name: bytes, chunks: int = CHUNKS) -> list[bytes]:
    root = chain_root("integration", name)
    return chunk_hashes(root, range(chunks * CHUNK_TOKENS), CHUNK_TOKENS)


def store_kv(client: Client, name: bytes, chunks: int = CHUNKS) -> tuple[list[Key], list[bytes]]:
    """A chain of durable chunks of real numbers: their keys and bytes."""
    client.register_layout(LAYOUT)
    hashes = hashes_of(name, chunks)
    objects = [kv(number) for number in range(chunks)]
    puts = [
        Put(
            chunk_key(digest), data, hashes[index - 1] if index else None, index * CHUNK_TOKENS,
            CHUNK_TOKENS, durability="disk",
        )
        for index, (digest, data) in enumerate(zip(hashes, objects, strict=True))
    ]
    assert all(result.stored for result in client.put_from(puts))
    return [chunk_key(digest) for digest in hashes], objects


class RecodeNode(Node):
    """A daemon with a disk, and `kdn recode` as an administrator calls it."""

    def __init__(self, daemon: DiskDaemon, folder: pathlib.Path) -> None:
        self.disk = daemon
        self.admin_folder = folder
        self.begin()

    def begin(self) -> None:
        digest = hashlib.sha256(TOKEN.encode()).hexdigest()
        environment = {"KDN_ADMIN_TOKENS": f"root:{digest}"}
        self.kv = self.disk.start("--admin", "127.0.0.1:0", environment=environment)
        super().__init__(self.disk.process, self.admin_folder)

    def codecs(self, part: str = "codecs") -> dict[str, int]:
        """How many objects of each form there are."""
        rows = self.report()[part]
        return {row["name"]: row["objects"] for row in rows if row["objects"]}

    def report(self) -> dict:
        """What the daemon tells of itself."""
        return AdminClient(self.daemon).ask("GET", "/stats", token=None).json()

    def end(self, clean: bool) -> None:
        self.disk.end(clean)


@pytest.fixture
def node(tmp_path):
    with disk_daemon(tmp_path / "disk", ram="64MiB") as daemon:
        yield RecodeNode(daemon, tmp_path)


def test_kv_in_both_tiers_is_kept_in_another_codec_and_survives_a_restart(node):
    keys, objects = store_kv(node.kv, b"restart")
    trial = node.json("recode", "exact", "--all", "--dry-run")
    assert trial["state"] == "done" and trial["dry_run"]
    assert trial["recodable_objects"] == trial["objects_total"] == CHUNKS
    assert trial["recodable_bytes"] == CHUNKS * CHUNK_BYTES and trial["recoded_objects"] == 0
    assert node.codecs("disk_codecs") == {"raw": CHUNKS}

    report = node.json("recode", "exact", "--all", "--wait")
    assert report["state"] == "done" and report["recoded_objects"] == CHUNKS, report
    assert report["bytes_before"] == CHUNKS * CHUNK_BYTES > report["bytes_after"] > 0
    assert report["objects_done"] == report["objects_total"] == CHUNKS
    assert report["bytes_done"] == report["bytes_total"] and report["declined"] == {}
    assert node.codecs() == {"exact": CHUNKS} == node.codecs("disk_codecs")
    again = node.json("recode", "exact", "--all", "--wait")
    assert again["recoded_objects"] == 0 and again["declined"] == {"same_form": CHUNKS}
    assert [node.kv.get(key) for key in keys] == objects
    coding = node.report()["coding"]
    assert coding["recoded_total"] == CHUNKS == coding["recodes_declined_total"]
    assert coding["recodings"] == 0

    node.end(clean=False)
    node.begin()
    assert node.lines("recode", "--status") == [
        "job  namespace  codec  scope  tiers  state  objects  recoded  before  after  stayed"
    ]
    assert node.codecs("disk_codecs") == {"exact": CHUNKS} and node.codecs() == {}
    # What RAM has not is read from the disk, and goes back there.
    raw = node.json("recode", "raw", "--all", "--tier", "disk", "--wait")
    assert raw["recoded_objects"] == CHUNKS and raw["bytes_after"] == CHUNKS * CHUNK_BYTES
    assert node.codecs("disk_codecs") == {"raw": CHUNKS} and node.codecs() == {}
    assert [node.kv.get(key) for key in keys] == objects


def test_what_is_lossy_stays_as_it_is_and_that_is_told(node):
    keys, objects = store_kv(node.kv, b"lossy")
    report = node.json("recode", "high", "--all", "--wait")
    assert report["recoded_objects"] == CHUNKS
    lossy = [node.kv.get(key) for key in keys]
    assert all(len(a) == len(b) and a != b for a, b in zip(lossy, objects, strict=True))
    for codec in ("exact", "raw"):
        done = node.run("recode", codec, "--all", "--wait")
        assert done.returncode == NO, done.stderr
        assert f"stayed as they are: already_lossy={CHUNKS}" in done.stdout
        assert f"recoded 0 of {CHUNKS} objects" in done.stdout
    assert node.codecs() == {"high": CHUNKS} == node.codecs("disk_codecs")
    assert [node.kv.get(key) for key in keys] == lossy


def test_a_part_is_chosen_by_layout_document_and_name(node):
    store_kv(node.kv, b"parts")
    hashes = hashes_of(b"parts")
    node.kv.put(Key.opaque(b"zeros"), bytes(1 << 20), durability="disk")
    listed = [json.loads(line)["hash"] for line in node.lines("objects", "--json")]
    assert hashes[3].hex() in listed
    one = node.json("recode", "exact", "--hash", hashes[3].hex(), "--tier", "ram", "--wait")
    assert one["recoded_objects"] == 1 and one["tiers"] == ["ram"]
    assert node.codecs()["exact"] == 1 and "exact" not in node.codecs("disk_codecs")
    layout = node.json("recode", "exact", "--layout", LAYOUT.id.hex(), "--wait")
    # The one that RAM has so already is written to disk.
    assert layout["recoded_objects"] == CHUNKS
    assert node.codecs("disk_codecs") == {"exact": CHUNKS, "raw": 1}
    named = node.json("recode", "zstd", "--key", "zeros", "--wait")
    assert named["recoded_objects"] == 1 and named["bytes_after"] < 1000
    assert node.kv.get(Key.opaque(b"zeros")) == bytes(1 << 20)
    node.kv.publish_document(
        Document("handbook", LAYOUT.id, 2 * CHUNK_TOKENS, CHUNK_TOKENS, tuple(hashes[:2]))
    )
    text = node.json("recode", "raw", "--document", "handbook", "--wait")
    assert text["recoded_objects"] == 2 and text["scope"] == "a document"
    assert node.codecs()["exact"] == CHUNKS - 2


def test_a_job_is_printed_or_waited_for_or_cancelled(node):
    store_kv(node.kv, b"jobs")
    begun = node.json("recode", "exact", "--all")
    assert begun["id"] == 1 and begun["administrator"] == "root"
    done = node.run("recode", "--cancel")
    # It may be over by then, as fast as this machine is.
    assert done.returncode == OK and "job 1" in done.stdout or "no job" in done.stderr
    deadline = 600
    while node.json("recode", "--status")["jobs"][0]["state"] not in ("done", "cancelled"):
        deadline -= 1
        assert deadline
    (job,) = node.json("recode", "--status")["jobs"]
    assert job["ended_unix_milliseconds"] >= job["started_unix_milliseconds"]
    (header, row) = node.lines("recode", "--status")
    assert row.split()[:3] == ["1", "default", "exact"]
    assert re.search(rf"\b{job['state']}\b", row)
    assert node.run("recode", "--cancel").returncode == FAILED
    assert "recode" in node.disk.log and "audit" in node.disk.log


def test_orders_that_come_to_nothing_are_refused(node):
    store_kv(node.kv, b"refused", chunks=1)
    for arguments, word in {
        ("small", "--all"): "needs a profile",
        ("gzip", "--all"): "no such codec",
        ("exact", "--all", "--namespace", "nobody"): "nobody",
        ("exact", "--document", "nothing"): "nothing has this name",
        ("exact", "--key", "nothing"): "is here",
        ("zstd", "--layout", LAYOUT.id.hex()): "without a layout",
    }.items():
        done = node.run("recode", *arguments)
        assert done.returncode == FAILED and word in done.stderr, done.stderr
    for arguments in (
        (), ("exact",), ("exact", "--all", "--document", "x"), ("--status", "--cancel"),
        ("exact", "--all", "--tier", "tape"), ("exact", "--hash", "12"),
    ):
        assert node.run("recode", *arguments).returncode == USAGE, arguments
    assert node.run("recode", "exact", "--all", KDN_ADMIN_TOKEN="wrong").returncode == FAILED
    assert node.json("recode", "--status") == {"jobs": []}
    assert subprocess.run([KDN, "recode", "--help"], capture_output=True).returncode == OK
