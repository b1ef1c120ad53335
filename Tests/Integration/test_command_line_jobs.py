"""`kdn learn` and `kdn jobs` against a real kdnd, with a worker played by the test."""

from __future__ import annotations

import json
import os
import subprocess
import threading

import pytest
from conftest import ROOT
from kdn import Client

OK, NO, FAILED, USAGE = 0, 1, 2, 64
KDN = os.environ.get("KDN", str(ROOT / ".build/release/kdn"))


@pytest.fixture
def kdn(daemon):
    """Runs `kdn` against the test's daemon."""

    def run(*arguments: str, stdin: bytes = b""):
        environment = {**os.environ, "KDN_ADDRESS": daemon.address}
        return subprocess.run(
            [KDN, *arguments], input=stdin, capture_output=True, env=environment, timeout=60
        )

    return run


class PlayedWorker(threading.Thread):
    """Does so many learn jobs, fails those without words, and notes what it was given."""

    def __init__(self, address: str, count: int, kind: str = "learn") -> None:
        super().__init__(daemon=True)
        self._address, self._count, self._kind = address, count, kind
        self.payloads: list[dict] = []
        self.start()

    def run(self) -> None:
        with Client(self._address) as client:
            for _ in range(self._count):
                job = client.take_job([self._kind], 30_000)
                fields = json.loads(job.payload)
                self.payloads.append(fields)
                if not fields["text"].strip():
                    client.fail_job(job, "no words", again=False)
                    continue
                made = {"name": fields["name"], "epoch": 7, "token_count": 3, "seconds": 0.25}
                client.finish_job(job, json.dumps(made).encode())


def test_files_become_documents_by_a_worker(kdn, daemon, tmp_path):
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text(f"the text of {name}: é")
    worker = PlayedWorker(daemon.address, 2)
    paths = [str(tmp_path / name) for name in ("one.txt", "two.txt")]
    result = kdn("learn", *paths, "--metadata", "m", "--salt", "s")
    assert result.returncode == OK, result.stderr
    assert sorted(result.stdout.decode().splitlines()) == [
        "learned one.txt: 3 tokens in 0.3 s, epoch 7", "learned two.txt: 3 tokens in 0.3 s, epoch 7"
    ]
    worker.join(10)
    assert worker.payloads == [
        {"name": name, "text": f"the text of {name}: é", "metadata": "m", "salt": "s"}
        for name in ("one.txt", "two.txt")
    ]


def test_a_text_that_cannot_be_learned_is_told_with_the_reason(kdn, daemon):
    worker = PlayedWorker(daemon.address, 2, "learn.other")
    result = kdn("learn", "-", "--name", "n", "--kind", "learn.other", stdin=b" ")
    assert result.returncode == NO
    assert b"failed" in result.stderr and b"no words" in result.stderr
    result = kdn("learn", "-", "--name", "n", "--kind", "learn.other", "--json", stdin=b"a")
    assert result.returncode == OK
    assert json.loads(result.stdout)["state"] == "done"
    worker.join(10)


def test_without_a_worker_that_is_said_and_the_deadline_ends_it(kdn):
    result = kdn("learn", "-", "--name", "n", "--deadline", "6", stdin=b"a text")
    assert result.returncode == NO
    assert b"no worker has taken the job" in result.stderr and b"expired" in result.stderr


def test_jobs_are_listed_shown_and_cancelled(kdn, client):
    number = kdn("learn", "-", "--name", "n", "--no-wait", stdin=b"a text").stdout.decode().strip()
    listed = kdn("jobs", "list").stdout.decode().splitlines()
    assert listed[0].split() == ["job", "kind", "state", "done", "attempts"]
    assert listed[1].split() == [number, "learn", "queued", "0.0", "%", "0"]
    job = client.take_job(["learn"])
    client.renew_job(job, 500)
    shown = kdn("jobs", "show", number)
    assert shown.returncode == OK
    assert shown.stdout.decode() == f"job {number}, learn: running, 50.0 % done, attempt 1\n"
    assert kdn("jobs", "cancel", number).stdout.decode() == f"job {number} is cancelled\n"
    assert kdn("jobs", "cancel", number).returncode == NO
    assert kdn("jobs", "show", number).returncode == NO
    assert kdn("jobs", "show", "1").returncode == FAILED
    line = json.loads(kdn("jobs", "list", "--json").stdout)
    assert (line["job"], line["state"]) == (int(number), "cancelled")


@pytest.mark.parametrize(
    "arguments",
    [
        ("learn",),
        ("learn", "-"),
        ("learn", "a", "b", "--name", "n"),
        ("learn", "-", "--name", "n", "--kind", "blend"),
        ("learn", "-", "--name", "n", "--deadline", "0"),
        ("jobs", "show", "0"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_sent(kdn, arguments):
    assert kdn(*arguments).returncode == USAGE


@pytest.mark.parametrize("text", [b"\xff\xfe", bytes(2 << 20)])
def test_what_is_no_text_or_too_long_is_not_sent(kdn, client, text):
    assert kdn("learn", "-", "--name", "n", stdin=text).returncode in (FAILED, USAGE)
    assert client.list_jobs() == []
