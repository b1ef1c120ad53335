"""A blend worker with a tiny model: what it stores, in which order, and how it ends."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import threading
from typing import Any

import pytest
import torch
from blend_samples import full_prefill, loud_model, texts
from blend_worker_parts import CHUNK, MODEL, MODEL_NAME, make_engine

import kdn
from kdn.blending import jobs
from kdn.blending.jobs import BlendJob, LearnJob
from kdn.blending.worker import Worker
from kdn.engines import transformers, transformers_blend
from kdn.engines._selection import FIRST_TOKENS
from kdn.engines._watch import Stopped, Watch
from kdn.results import Get
from kdn.work import JobState

HERE = pathlib.Path(__file__).resolve().parent
QUESTION = (5, 9, 33, 4) * 12


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def client(kdnd):
    with kdn.Client(kdnd.tcp) as client:
        client.purge(namespace=True)
        for facts in client.list_jobs():
            client.cancel_job(facts.id)
        yield client


@pytest.fixture
def engine(client):
    return make_engine(client)


@pytest.fixture
def documents(client, engine):
    """The tokens of the documents a, b and c, which are learned."""
    for name, ids in texts().items():
        engine.learn(LearnJob(name, tuple(ids)), Watch())
    return texts()


def prompt_of(documents: dict[str, list[int]], *names: str) -> list[int]:
    return [token for name in names for token in documents[name]] + list(QUESTION)


def retrieved(client: Any, ids: list[int], salt: bytes = b"") -> Any:
    """What an engine finds of a prompt, whose last token it computes itself."""
    return transformers.retrieve(
        loud_model(MODEL), [*ids, 1], client=client, chunk_tokens=CHUNK, salt=salt,
        model_name=MODEL_NAME,
    )


def do(client: Any, engine: Any, kind: str, job: Any) -> Any:
    """Has a worker do one job; returns how it stands."""
    number = client.submit_job(kind, jobs.encode(job))
    assert Worker(client, engine, ["learn", "blend"]).run_once(0)
    return client.job_status(number)


def test_a_learn_job_publishes_what_learn_document_would(client, engine):
    status = do(client, engine, "learn", LearnJob("note", "some text", metadata="m"))
    assert status.state is JobState.DONE
    made = json.loads(status.result)
    ids = [1, *b"some text"]
    assert (made["name"], made["token_count"]) == ("note", len(ids))
    own = transformers_blend.learn_document(
        loud_model(MODEL), ids, "own", client, chunk_tokens=CHUNK, model_name=MODEL_NAME
    )
    note, other = (client.resolve_document(name).document for name in ("note", "own"))
    assert own.token_count == len(ids) and note.hashes == other.hashes
    assert note.metadata == "m"


def test_an_engine_that_knows_only_prefixes_hits_the_whole_chunks(client, engine, documents):
    job = BlendJob((("a", 0), ("b", 0), ("c", 0)), QUESTION, 300)
    status = do(client, engine, "blend", job)
    assert status.state is JobState.DONE, status.reason
    result = jobs.decode_result(status.result)
    ids = prompt_of(documents, "a", "b", "c")
    whole = len(ids) // CHUNK * CHUNK
    assert (result.tokens, result.stored_tokens, result.exact_tokens) == (len(ids), whole, 0)
    assert retrieved(client, ids).tokens == whole
    buffer = bytearray(4 * len(ids))
    found = client.get_into([Get(key=jobs.prompt_key(result.prompt), buffer=buffer)])[0]
    assert found.hit and memoryview(buffer).cast("I").tolist() == ids


def test_what_is_stored_is_the_blend_and_its_first_document_exact(client, engine, documents):
    do(client, engine, "blend", BlendJob((("a", 0), ("b", 0)), QUESTION, 200))
    ids = prompt_of(documents, "a", "b")
    found = retrieved(client, ids)
    exact = full_prefill(loud_model(MODEL), ids)
    length = len(documents["a"])
    for mine, own in zip(found.cache.layers, exact.layers, strict=True):
        assert torch.allclose(
            mine.keys[:, :, :length], own.keys[:, :, :length], rtol=1e-4, atol=1e-5
        )
    blended = transformers_blend.blend(
        loud_model(MODEL), ["a", "b"], client, recompute=0.2, drop_first=False,
        model_name=MODEL_NAME,
    )
    for mine, own in zip(found.cache.layers, blended.cache.layers, strict=True):
        rows = min(own.keys.shape[2], found.tokens)
        assert torch.equal(mine.values[:, :, :rows], own.values[:, :, :rows])


@pytest.mark.parametrize("recompute", [0, 1])
def test_first_tokens_are_recomputed_whatever_the_budget(client, engine, documents, recompute):
    job = BlendJob((("a", 0), ("b", 0), ("c", 0)), (), recompute)
    result = jobs.decode_result(do(client, engine, "blend", job).result)
    assert result.recomputed >= 2 * FIRST_TOKENS


def test_a_blend_computed_anew_in_full_is_the_full_prefill(client, engine, documents):
    do(client, engine, "blend", BlendJob((("a", 0), ("b", 0), ("c", 0)), QUESTION, 1000))
    ids = prompt_of(documents, "a", "b", "c")
    found = retrieved(client, ids)
    exact = full_prefill(loud_model(MODEL), ids[: found.tokens])
    for mine, own in zip(found.cache.layers, exact.layers, strict=True):
        assert torch.allclose(mine.keys, own.keys, rtol=1e-3, atol=1e-4)
        assert torch.allclose(mine.values, own.values, rtol=1e-3, atol=1e-4)


def test_a_salt_keeps_blended_prompts_apart(client, engine, documents):
    do(client, engine, "blend", BlendJob((("a", 0), ("b", 0)), QUESTION, chain_salt="blends"))
    ids = prompt_of(documents, "a", "b")
    assert retrieved(client, ids).tokens == 0
    assert retrieved(client, ids, salt=b"blends").tokens == len(ids) // CHUNK * CHUNK


def test_edits_of_documents_are_left_out_of_what_engines_find(client, engine, documents):
    job = BlendJob((("a", 0), ("b", 0)), QUESTION, 200, chain_salt="before")
    do(client, engine, "blend", job)
    client.add_edit("a", kdn.Edit.emphasise([(3, 9)]))
    client.add_edit("b", kdn.Edit.drop([(1, 20)]))
    edited = BlendJob(job.pieces, QUESTION, 200, chain_salt="after")
    status = do(client, engine, "blend", edited)
    assert status.state is JobState.DONE, status.reason
    ids = prompt_of(documents, "a", "b")
    assert jobs.decode_result(status.result).tokens == len(ids)
    before, after = (retrieved(client, ids, salt=salt) for salt in (b"before", b"after"))
    assert before.tokens == after.tokens > 0
    for mine, own in zip(before.cache.layers, after.cache.layers, strict=True):
        assert torch.equal(mine.keys, own.keys) and torch.equal(mine.values, own.values)


def test_what_is_there_exactly_stays_as_it_is(client, engine, documents):
    ids = prompt_of(documents, "a", "b")
    model = loud_model(MODEL)
    kept = 2 * CHUNK
    transformers.learn(
        model, ids[:kept], client=client, chunk_tokens=CHUNK, model_name=MODEL_NAME
    )
    result = jobs.decode_result(
        do(client, engine, "blend", BlendJob((("a", 0), ("b", 0)), QUESTION)).result
    )
    assert result.exact_tokens == kept
    assert retrieved(client, ids).tokens == result.stored_tokens


@pytest.mark.parametrize(
    "job, reason",
    [
        (BlendJob((("nothing", 0),)), "not_found"),
        (BlendJob((("a", 99),)), "epoch"),
        (BlendJob((("a", 0),), without=("a*",)), "forbidden"),
        (BlendJob((("a", 0),), (4000,)), "tokens"),
    ],
)
def test_a_job_that_cannot_be_done_fails_for_good(client, engine, documents, job, reason):
    status = do(client, engine, "blend", job)
    assert status.state is JobState.FAILED
    assert reason in status.reason.lower() and status.facts.attempts == 1


class StoppingWatch(Watch):
    """Asks for an end at one of the steps."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._steps_left = step

    def step(self, count: int = 1) -> None:
        self._steps_left -= count
        if self._steps_left < 0:
            self.stop("told to")
        super().step(count)


@pytest.mark.parametrize("step", [0, 3, 5, 9, 11, 13])
def test_wherever_it_is_stopped_nobody_finds_a_part(client, engine, documents, step):
    job = BlendJob((("a", 0), ("b", 0), ("c", 0)), QUESTION)
    ids = prompt_of(documents, "a", "b", "c")
    with pytest.raises(Stopped):
        engine.blend(job, StoppingWatch(step))
    assert retrieved(client, ids).tokens == 0
    result = engine.blend(job, Watch())
    assert retrieved(client, ids).tokens == result.stored_tokens


class StallingEngine:
    """Waits in the middle of a job until it is stopped."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    def blend(self, job: Any, watch: Watch) -> Any:
        self.begun.set()
        pause = threading.Event()
        while True:
            watch.check()
            pause.wait(0.01)


def test_a_cancelled_job_is_stopped(client):
    engine = StallingEngine()
    worker = Worker(client, engine, ["blend"], lease_ms=1000)
    number = client.submit_job("blend", jobs.encode(BlendJob((("a", 0),))))
    working = threading.Thread(target=worker.run_once, args=(0,))
    working.start()
    assert engine.begun.wait(10)
    client.cancel_job(number)
    working.join(10)
    assert not working.is_alive()
    assert client.job_status(number).state is JobState.CANCELLED


def test_a_worker_that_ends_gives_its_job_back(client):
    engine = StallingEngine()
    worker = Worker(client, engine, ["blend"])
    number = client.submit_job("blend", jobs.encode(BlendJob((("a", 0),))))
    working = threading.Thread(target=worker.run)
    working.start()
    assert engine.begun.wait(10)
    worker.end()
    working.join(10)
    assert not working.is_alive()
    status = client.job_status(number)
    assert (status.state, status.reason) == (JobState.QUEUED, "the worker ends")
    client.cancel_job(number)


@pytest.mark.parametrize("objects", [0, 1, 4])
def test_a_job_whose_worker_is_killed_is_done_by_another(
    client, engine, documents, kdnd, objects
):
    """`objects` are stored before the first worker dies: the prompt's tokens, then chunks."""
    path = os.pathsep.join([str(HERE), str(HERE.parents[1] / "Sources" / "Python")])
    number = client.submit_job(
        "blend", jobs.encode(BlendJob((("a", 0), ("b", 0), ("c", 0)), QUESTION))
    )
    ids = prompt_of(documents, "a", "b", "c")
    died = subprocess.run(
        [sys.executable, str(HERE / "blend_worker_parts.py"), kdnd.tcp, str(objects)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, timeout=120,
        stdout=subprocess.DEVNULL,
    )
    assert died.returncode == -9
    assert retrieved(client, ids).tokens == 0
    assert Worker(client, engine, ["blend"]).run_once(20_000)
    status = client.job_status(number)
    assert (status.state, status.facts.attempts) == (JobState.DONE, 2)
    assert retrieved(client, ids).tokens == jobs.decode_result(status.result).stored_tokens
