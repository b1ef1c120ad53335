"""`kdn learn FILE` from end to end: the command line, a worker with SmolLM2, an edit by text."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

import pytest
from transformers import AutoTokenizer

import kdn
from kdn.token_texts import texts_key

ROOT = pathlib.Path(__file__).resolve().parents[3]
KDN = os.environ.get("KDN", str(ROOT / ".build/release/kdn"))
TEXT = "The vault has two keys. The key of the vault costs 25 € and “fits”. The passkey is 4711."
CHUNK = 16


@pytest.fixture(scope="module")
def client(kdnd):
    with kdn.Client(kdnd.tcp) as client:
        client.purge(namespace=True)
        yield client


@pytest.fixture(scope="module")
def worker(material, kdnd, tmp_path_factory):
    """A worker as an operator starts it, which must end well when it is told to."""
    log = tmp_path_factory.mktemp("worker") / "log"
    sources = os.pathsep.join([str(ROOT / "Sources/Python"), os.environ.get("PYTHONPATH", "")])
    with log.open("w") as stream:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "kdn.blending.worker", "--server", kdnd.tcp, "--model",
                str(material / "smollm2"), "--threads", "2", "--chunk-tokens", str(CHUNK),
            ],
            env={**os.environ, "PYTHONPATH": sources}, stdout=stream, stderr=stream,
        )
    yield log
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, log.read_text()


@pytest.fixture(scope="module")
def command(kdnd):
    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [KDN, *arguments], capture_output=True, text=True, timeout=300,
            env={**os.environ, "KDN_ADDRESS": kdnd.tcp},
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def learned(client, worker, command, tmp_path_factory):
    """The document that two files were made into; the second begins as the first does."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "vault.txt").write_text(TEXT, "utf-8")
    (folder / "other.txt").write_text(TEXT + " And more.", "utf-8")
    done = command("learn", str(folder / "vault.txt"), str(folder / "other.txt"))
    lines = sorted(done.stdout.splitlines())
    assert [line.split(":")[0] for line in lines] == ["learned other.txt", "learned vault.txt"]
    return client.resolve_document("vault.txt")


def test_a_file_becomes_a_document_of_the_models_own_tokens(learned, client, material):
    ids = AutoTokenizer.from_pretrained(material / "smollm2")(TEXT)["input_ids"]
    document = learned.document
    assert document.token_count == len(ids) and document.chunk_tokens == CHUNK
    assert learned.present_chunks == len(document.hashes) == -(-len(ids) // CHUNK)


@pytest.mark.parametrize("phrase", ["4711", "25 €", "“fits”", "passkey is 4711."])
def test_an_edit_by_text_is_of_the_tokens_of_the_phrase(
    learned, client, command, material, phrase
):
    tokenizer = AutoTokenizer.from_pretrained(material / "smollm2")
    ids = tokenizer(TEXT)["input_ids"]
    number = int(command("edit", "add", "vault.txt", "emphasise", "--text", phrase).stdout)
    (row,) = [row for row in client.list_edits("vault.txt") if row.id == number]
    assert row.edit.strength == 1.75
    ((start, end),) = row.edit.spans
    assert phrase in tokenizer.decode(ids[start:end])
    assert phrase not in tokenizer.decode(ids[start + 1 : end])
    assert phrase not in tokenizer.decode(ids[start : end - 1])
    assert client.find_text("vault.txt", phrase).spans == row.edit.spans
    command("edit", "revert", "vault.txt", str(number))


def test_a_phrase_that_is_not_clear_is_refused_with_how_often_it_occurs(learned, client, command):
    refused = command("edit", "add", "vault.txt", "suppress", "--text", "vault", code=2)
    assert "occurs more than once" in refused.stderr and "value 2" in refused.stderr
    refused = command("edit", "add", "vault.txt", "drop", "--text", "nowhere", code=2)
    assert "does not occur" in refused.stderr
    command("edit", "add", "vault.txt", "suppress", "--text", "vault", "--occurrence", "2")
    command("edit", "add", "vault.txt", "suppress", "--text", "vault", "--all")
    one, both = (row.edit.spans for row in client.list_edits("vault.txt"))
    assert len(both) == 2 and one == both[1:]
    command("edit", "revert", "vault.txt")


def test_what_goes_with_its_document_is_gone(learned, client, command, worker):
    assert client.get(texts_key(learned.document)) is not None
    client.retire_document("vault.txt")
    assert client.get(texts_key(learned.document)) is None
    kdn.forget("other.txt", client)
    refused = command("edit", "add", "vault.txt", "drop", "--text", "4711", code=2)
    assert "not_found" in refused.stderr or "name" in refused.stderr
