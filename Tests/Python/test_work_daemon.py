"""WORK against a real daemon: waiting, handing over, ending."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

import kdn
from kdn.errors import ServerError, Status
from kdn.work import JobHold, JobState

LONG_MS = 20_000


@pytest.fixture
def client(kdnd):
    with kdn.Client(kdnd.tcp) as client:
        for facts in client.list_jobs():
            client.cancel_job(facts.id)
        yield client


class Taking(threading.Thread):
    """Waits for a job in a thread of its own."""

    def __init__(self, client: kdn.Client, *kinds: str, wait_ms: int = LONG_MS) -> None:
        super().__init__(daemon=True)
        self._arguments = (client, kinds, wait_ms)
        self.job: Any = None
        self.start()

    def run(self) -> None:
        client, kinds, wait_ms = self._arguments
        self.job = client.take_job(kinds, wait_ms)

    def result(self) -> Any:
        self.join(LONG_MS / 1000)
        assert not self.is_alive()
        return self.job


def waiting(client: kdn.Client) -> int:
    return client.stats()["work"]["waiting_workers"]


def until_waiting(client: kdn.Client, count: int) -> None:
    pause = threading.Event()
    for _ in range(2000):
        if waiting(client) == count:
            return
        pause.wait(0.005)
    raise AssertionError("nobody came to wait")


def test_a_job_goes_to_a_worker_that_waits(client, kdnd):
    with kdn.Client(kdnd.tcp) as other:
        taking = Taking(other, "learn")
        until_waiting(client, 1)
        number = client.submit_job("learn", b"payload")
        job = taking.result()
        assert (job.id, job.kind, job.payload, job.attempt) == (number, "learn", b"payload", 1)
        assert other.renew_job(job, 250) is JobHold.HELD
        status = client.job_status(number)
        assert (status.state, status.facts.progress) == (JobState.RUNNING, 250)
        assert other.finish_job(job, b"made") is JobHold.HELD
        status = client.job_status(number)
        assert (status.state, status.result) == (JobState.DONE, b"made")


def test_one_of_many_waiting_workers_gets_a_job(client, kdnd):
    with kdn.Client(kdnd.tcp, streams=4) as other:
        takings = [Taking(other, "learn", wait_ms=1500) for _ in range(4)]
        until_waiting(client, 4)
        number = client.submit_job("learn", b"")
        jobs = [taking.result() for taking in takings]
        assert [job.id for job in jobs if job is not None] == [number]
    client.cancel_job(number)


def test_a_job_of_another_kind_wakes_nobody(client):
    number = client.submit_job("blend", b"")
    assert client.take_job(["learn"], 50) is None
    assert client.take_job(["learn", "blend"]).id == number
    client.cancel_job(number)


def test_a_job_goes_on_with_another_when_its_worker_is_gone(client, kdnd):
    number = client.submit_job("learn", b"x")
    dying = kdn.Client(kdnd.tcp)
    assert dying.take_job(["learn"]).attempt == 1
    taking = Taking(client, "learn")
    with kdn.Client(kdnd.tcp) as other:
        until_waiting(other, 1)
    dying.close()
    again = taking.result()
    assert (again.id, again.attempt, again.payload) == (number, 2, b"x")
    assert client.finish_job(again) is JobHold.HELD


def test_a_lease_that_runs_out_gives_the_job_back(client, kdnd):
    number = client.submit_job("learn", b"x")
    with kdn.Client(kdnd.tcp) as slow:
        late = slow.take_job(["learn"], lease_ms=1000)
        again = client.take_job(["learn"], LONG_MS)
        assert (again.id, again.attempt) == (number, 2)
        assert slow.finish_job(late) is JobHold.LOST
        assert client.finish_job(again) is JobHold.HELD


def test_a_cancelled_job_is_told_to_its_worker(client):
    number = client.submit_job("learn", b"x")
    job = client.take_job(["learn"])
    assert client.cancel_job(number) is JobState.CANCELLED
    assert client.renew_job(job) is JobHold.CANCELLED
    assert client.finish_job(job, b"late") is JobHold.CANCELLED
    assert client.job_status(number).result == b""


def test_a_job_that_nobody_takes_ends_at_its_deadline(client):
    number = client.submit_job("never", b"x", deadline_ms=1)
    assert client.take_job(["learn"], 100) is None
    assert client.job_status(number).state is JobState.EXPIRED


def test_a_job_that_fails_for_good_is_not_tried_again(client):
    number = client.submit_job("learn", b"x")
    assert client.fail_job(client.take_job(["learn"]), "no such", again=False) is JobHold.HELD
    status = client.job_status(number)
    assert (status.state, status.reason) == (JobState.FAILED, "no such")


def test_an_unknown_job_is_not_found(client):
    for ask in (client.job_status, client.cancel_job):
        with pytest.raises(ServerError) as caught:
            ask(1)
        assert (caught.value.status, caught.value.field) == (Status.NOT_FOUND, "id")


def test_more_jobs_than_the_queue_holds_are_refused(client):
    numbers = []
    with pytest.raises(ServerError) as caught:
        for _ in range(1001):
            numbers.append(client.submit_job("never", b""))
    assert caught.value.status is Status.BUSY
    assert (caught.value.field, caught.value.limit, len(numbers)) == ("jobs", 1000, 1000)
    listed = client.list_jobs(after=numbers[0] - 1)
    assert [facts.id for facts in listed] == numbers
    for number in numbers:
        client.cancel_job(number)


def test_a_daemon_that_goes_away_keeps_no_worker_waiting(own_kdnd):
    with kdn.Client(own_kdnd.tcp) as client:
        taking = Taking(client, "learn")
        with kdn.Client(own_kdnd.tcp) as other:
            until_waiting(other, 1)
        own_kdnd.process.send_signal(signal.SIGTERM)
        assert taking.result() is None
    assert own_kdnd.process.wait(10) == 0


def test_payloads_count_against_the_daemons_memory_until_their_job_is_over(client):
    def charged() -> int:
        return client.stats()["pool"]["buffer_bytes"]

    before = charged()
    number = client.submit_job("never", bytes(1_000_000))
    assert charged() - before > 1_000_000
    client.cancel_job(number)
    # The job itself is still told of.
    assert charged() - before < 100_000


def test_more_workers_than_may_wait_are_refused(client, kdnd):
    with kdn.Client(kdnd.tcp, streams=300, timeout=60) as other:
        takings = [Taking(other, "never", wait_ms=5000) for _ in range(256)]
        until_waiting(client, 256)
        with pytest.raises(ServerError) as caught:
            client.take_job(["never"], 5000)
        assert (caught.value.status, caught.value.field) == (Status.BUSY, "waiters")
        assert caught.value.limit == 256
        for taking in takings:
            assert taking.result() is None
