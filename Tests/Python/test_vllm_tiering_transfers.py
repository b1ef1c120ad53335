"""Queue and threads of the vLLM tier's transfers, without vLLM and without a server."""

from __future__ import annotations

import threading

import pytest

import kdn
from kdn.engines.vllm import tiering_transfers
from kdn.engines.vllm.tiering_transfers import Job, JobQueue, Transfers
from kdn.errors import Status
from kdn.results import GetResult, MissCause, PutResult

WAIT = 20.0


def key(number: int) -> kdn.Key:
    return kdn.Key.opaque(number.to_bytes(4, "big"))


# Queues


def job(number: int, is_load: bool, nbytes: int = 10) -> Job:
    return Job(number, is_load, [key(number)], [memoryview(bytearray(nbytes))])


def test_loads_run_before_stores_and_stores_leave_a_worker_free():
    queue = JobQueue(workers=2, pending_bytes=100)
    jobs = [job(1, False), job(2, False), job(3, True)]
    assert all(queue.offer(one) for one in jobs)
    assert queue.take() is jobs[2] and queue.take() is jobs[0]
    assert queue.take() is None
    queue.ended(jobs[0])
    assert queue.take() is jobs[1]


def test_stores_over_the_limit_are_refused_and_loads_are_not():
    queue = JobQueue(workers=2, pending_bytes=25)
    assert queue.offer(job(1, False, 1000))
    assert not queue.offer(job(2, False))
    assert queue.offer(job(3, True, 1000))
    assert [one.job_id for one in queue.cancel()] == [3, 1]
    assert [queue.offer(job(n, False)) for n in (4, 5, 6)] == [True, True, False]
    running = queue.take()
    queue.ended(running)
    assert queue.offer(job(7, False))


def test_the_number_of_jobs_is_bounded(monkeypatch):
    monkeypatch.setattr(tiering_transfers, "JOBS_MAX", 2)
    queue = JobQueue(workers=2, pending_bytes=100)
    assert [queue.offer(job(n, True)) for n in range(3)] == [True, True, False]


# Transfers


class Server:
    """Answers as a client would, from a dictionary; can be held up."""

    def __init__(self) -> None:
        self.objects: dict[kdn.Key, bytes] = {}
        self.calls = 0
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.gate.set()
        self.cause = MissCause.NEVER_STORED
        self.refusals: dict[kdn.Key, kdn.KDNError] = {}
        self.sent: list[kdn.Key] = []

    def get_into(self, items, timeout):
        self.calls += 1
        self.entered.release()
        assert self.gate.wait(WAIT)
        return [self._get(item) for item in items]

    def exists(self, keys, timeout):
        return [key in self.objects for key in keys]

    def put_from(self, items, timeout):
        self.sent += [item.key for item in items]
        return [self._put(item) for item in items]

    def _put(self, item):
        error = self.refusals.get(item.key)
        if error is not None:
            return PutResult("failed", error)
        self.objects[item.key] = bytes(item.buffers)
        return PutResult("published")

    def _get(self, item):
        data = self.objects.get(item.key)
        if data is None:
            return GetResult(False, self.cause)
        item.buffer[: len(data)] = data
        return GetResult(True, nbytes=len(data))


def outcomes(transfers: Transfers, count: int):
    done = []
    with transfers._changed:
        while len(done) < count:
            done += list(transfers._finished)
            transfers._finished.clear()
            assert len(done) >= count or transfers._changed.wait(WAIT)
    return sorted(done, key=lambda one: one.job.job_id)


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def transfers(server):
    made = Transfers(server, workers=2, pending_bytes=100, timeout=1.0)
    yield made
    server.gate.set()
    made.close()


def load_job(number, *keys, nbytes=4):
    return Job(number, True, list(keys), [memoryview(bytearray(nbytes)) for _ in keys])


def test_a_part_that_is_missing_fails_alone(server, transfers):
    server.objects = {key(1): b"aaaa", key(3): b"cccc"}
    wanted = load_job(7, key(1), key(2), key(3))
    transfers.submit(wanted)
    (done,) = outcomes(transfers, 1)
    assert done.good == [True, False, True] and done.nbytes == 8
    assert [bytes(row) for row in wanted.rows] == [b"aaaa", bytes(4), b"cccc"]
    assert transfers.take_counts().loads == {"loaded": 2, "never_stored": 1}


def test_an_object_of_another_size_is_not_loaded(server, transfers):
    server.objects = {key(1): b"aa"}
    transfers.submit(load_job(1, key(1)))
    (done,) = outcomes(transfers, 1)
    assert done.good == [False]
    assert transfers.take_counts().loads == {"wrong_size": 1}


def test_after_trouble_the_rest_of_a_job_is_not_tried(server, transfers, monkeypatch):
    monkeypatch.setattr(tiering_transfers, "BATCH_BYTES", 4)
    server.cause = MissCause.UNREACHABLE
    transfers.submit(load_job(1, *(key(n) for n in range(5))))
    (done,) = outcomes(transfers, 1)
    assert done.good == [False] * 5 and server.calls == 1


def store_job(number, *keys):
    return Job(number, False, list(keys), [memoryview(bytes(one.data[8:12])) for one in keys])


def test_only_what_is_missing_is_stored(server, transfers):
    server.objects = {key(2): b"here"}
    job = store_job(1, key(1), key(2), key(3))
    transfers.submit(job)
    (done,) = outcomes(transfers, 1)
    assert done.good == [True] * 3 and done.nbytes == 8
    assert server.sent == [key(1), key(3)]
    assert [server.objects[key(n)] for n in (1, 2, 3)] == [job.rows[0], b"here", job.rows[2]]
    assert transfers.take_counts().stores == {"present": 1, "stored": 2}


def test_an_object_refused_fails_alone_and_other_bytes_of_the_same_chunk_are_as_good(
    server, transfers, monkeypatch
):
    monkeypatch.setattr(tiering_transfers, "BATCH_BYTES", 4)
    server.refusals = {
        key(1): kdn.ServerError(Status.CONFLICT), key(2): kdn.ServerError(Status.TOO_LARGE)
    }
    transfers.submit(store_job(1, key(1), key(2), key(3)))
    (done,) = outcomes(transfers, 1)
    assert done.good == [True, False, True]
    assert transfers.take_counts().stores == {"present": 1, "failed": 1, "stored": 1}


@pytest.mark.parametrize("error", [kdn.ConnectionLost("gone"), kdn.DeadlineExceeded("late")])
def test_a_store_ends_with_its_link(server, transfers, monkeypatch, error):
    monkeypatch.setattr(tiering_transfers, "BATCH_BYTES", 4)
    server.refusals = {key(1): error}
    transfers.submit(store_job(1, key(1), key(2)))
    (done,) = outcomes(transfers, 1)
    assert done.good == [False, False] and server.sent == [key(1)]


def test_a_client_that_breaks_is_a_failed_job(transfers):
    wrong = load_job(1, key(1))
    wrong.rows = [memoryview(b"read-only")]
    transfers._client = None
    transfers.submit(wrong)
    (done,) = outcomes(transfers, 1)
    assert done.good == [False]


def test_a_drain_ends_what_runs_and_gives_up_what_waits(server, transfers, monkeypatch):
    monkeypatch.setattr(tiering_transfers, "BATCH_BYTES", 4)
    server.objects = {key(1): b"aaaa", key(2): b"bbbb"}
    server.gate.clear()
    transfers.submit(load_job(1, key(1), key(2)))
    transfers.submit(load_job(2, key(1), key(2)))
    assert all(server.entered.acquire(timeout=WAIT) for _ in range(2))
    waiting = [load_job(n, key(1)) for n in (3, 4)]
    for one in waiting:
        transfers.submit(one)
    drainer = threading.Thread(target=transfers.drain)
    drainer.start()
    gave_up = outcomes(transfers, 2)
    assert [one.job.job_id for one in gave_up] == [3, 4] and drainer.is_alive()
    server.gate.set()
    drainer.join(WAIT)
    assert not drainer.is_alive()
    ended = [*gave_up, *transfers.finished()]
    assert sorted(one.job.job_id for one in ended) == [1, 2, 3, 4]
    # A running job ended with its batch: the second part was not begun.
    assert [one.good for one in ended if one.job.job_id in (1, 2)] == [[True, False]] * 2
    transfers.submit(load_job(5, key(1)))
    assert outcomes(transfers, 1)[0].good == [True]


def test_after_close_jobs_fail_at_once(server):
    transfers = Transfers(server, workers=2, pending_bytes=100, timeout=1.0)
    transfers.close()
    transfers.submit(load_job(1, key(1)))
    assert [one.good for one in transfers.finished()] == [[False]]
