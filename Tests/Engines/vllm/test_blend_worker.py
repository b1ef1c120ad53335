"""vLLM, unchanged, answers from a prompt that a blend worker put together: SmolLM2 in fp32."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest
import torch
from connector_engine import SOURCES, ConnectorEngine
from transformers import AutoModelForCausalLM, AutoTokenizer

import kdn
from kdn.blending import jobs
from kdn.blending.jobs import BlendJob, LearnJob
from kdn.engines import transformers as store
from kdn.engines.vllm.identity import folder_name
from kdn.work import JobState

CHUNK = 256
LENGTHS = {"one": 300, "two": 330}
QUESTION = 170  # tokens; the prompt has 800, three chunks and 32 tokens
ANSWER = 12
SALT = "blended"
JOB_SECONDS = 240.0


@pytest.fixture(scope="module")
def folder(material: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(os.environ.get("KDN_MODEL", material / "smollm2"))


@pytest.fixture(scope="module")
def text(material, folder) -> list[int]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return tokenizer((material / "lcet10.txt").read_text("utf-8", "replace"))["input_ids"]


@pytest.fixture(scope="module")
def documents(text) -> dict[str, list[int]]:
    return {name: text[5000 * n :][:length] for n, (name, length) in enumerate(LENGTHS.items())}


@pytest.fixture(scope="module")
def question(text) -> list[int]:
    return text[30_000 : 30_000 + QUESTION]


@pytest.fixture(scope="module")
def client(kdnd):
    with kdn.Client(kdnd.tcp, timeout=60) as client:
        client.purge(namespace=True)
        yield client


@pytest.fixture(scope="module")
def worker(folder, kdnd, tmp_path_factory):
    """The worker as an operator starts it; it must end well when it is told to."""
    log = tmp_path_factory.mktemp("worker") / "log"
    path = os.pathsep.join([str(SOURCES), os.environ.get("PYTHONPATH", "")])
    with log.open("w") as stream:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "kdn.blending.worker", "--server", kdnd.tcp,
                "--model", str(folder), "--threads", "2",
            ],
            env={"OMP_NUM_THREADS": "2", **os.environ, "PYTHONPATH": path},
            stdout=stream, stderr=stream,
        )
    yield log
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, log.read_text()


def result_of(client: kdn.Client, log: pathlib.Path, number: int) -> bytes:
    """Waits until a job is over; it must be done."""
    pause = threading.Event()
    for _ in range(int(JOB_SECONDS / 0.1)):
        status = client.job_status(number)
        if status.state.is_over:
            assert status.state is JobState.DONE, f"{status.reason}\n{log.read_text()}"
            return status.result
        pause.wait(0.1)
    raise AssertionError(f"the job is not over:\n{log.read_text()}")


@pytest.fixture(scope="module")
def blended(client, worker, documents, question) -> jobs.BlendResult:
    """The documents are learned and blended, by jobs alone."""
    learning = [
        client.submit_job("learn", jobs.encode(LearnJob(name, tuple(ids))))
        for name, ids in documents.items()
    ]
    for number in learning:
        result_of(client, worker, number)
    job = BlendJob(
        tuple((name, 0) for name in documents), tuple(question), chain_salt=SALT
    )
    number = client.submit_job("blend", jobs.encode(job))
    return jobs.decode_result(result_of(client, worker, number))


def test_vllm_counts_the_blended_prefix_as_cached_and_answers_from_it(
    blended, client, kdnd, folder, documents, question, tmp_path
):
    prompt = [token for ids in documents.values() for token in ids] + question
    whole = len(prompt) // CHUNK * CHUNK
    assert (blended.tokens, blended.stored_tokens) == (len(prompt), whole)
    with ConnectorEngine(folder, tmp_path, kdnd.tcp) as engine:
        answer = engine.generate(prompt, salt=SALT, max_tokens=ANSWER)
        assert answer["cached"] == [whole]
        assert engine("metrics")["vllm:external_prefix_cache_hits"] == whole
        # Without the salt nothing of the blend is found: the engine computes it all.
        exact = engine.generate(prompt, max_tokens=ANSWER)
        assert exact["cached"] == [0]
    assert answer["tokens"] == [continued(client, folder, prompt, whole)]


def continued(client: kdn.Client, folder: pathlib.Path, prompt: list[int], whole: int) -> list[int]:
    """What transformers answers from the same KV."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = store.retrieve(
        model, prompt, client=client, salt=SALT.encode(),
        model_name=folder_name(folder, "float32"), timeout=60, strict=True,
    )
    assert found.tokens == whole
    ids, answer = prompt[whole:], []
    with torch.inference_mode():
        for _ in range(ANSWER):
            logits = model(torch.tensor([ids]), past_key_values=found.cache).logits
            ids = [int(logits[0, -1].argmax())]
            answer += ids
    return answer
