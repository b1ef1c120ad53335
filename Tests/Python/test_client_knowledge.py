"""Both clients' verbs of blending against a scripted server that speaks the vectors."""

import pytest
from blending_bodies import composed_json, edit_json, facts_json
from fake_server import CLIENTS, FakeServer
from test_wire_vectors import FRAMES, split

from kdn import BlendPiece, ConnectionLost, Edit, JobHold, JobState, ServerError, Status, TakenJob

JOB = TakenJob(9, 2, "learn", b"")
PAYLOAD = b'{"name":"handbook"}'
LAYOUT_ID = bytes.fromhex("00112233445566778899aabbccddeeff")
PIECES = [BlendPiece("handbook", 5, 1024), "Prüfung/№ 1", BlendPiece("handbook", 2**64 - 1, 600)]


@pytest.fixture(params=CLIENTS)
def make(request):
    return CLIENTS[request.param]


def body_of(name):
    return bytes.fromhex(FRAMES[name]["hex"])[64:]


# A call, the vectors of what it sends and of what comes back, and what that becomes.
CALLS = {
    "compose": (
        lambda client: composed_json(client.compose(
            LAYOUT_ID, PIECES, first_position=2**31 - 1, recompute_permille=1000,
            forbidden=["secret", "Prüfung/№ 2"])),
        "COMPOSE request of three", "COMPOSE response of three",
        FRAMES["COMPOSE response of three"]["fields"]["body"]),
    "add": (
        lambda client: client.add_edit("handbook", Edit.drop([(0, 1), (7, 12)]), 7),
        "EDIT add, drop", "EDIT added", 3),
    "edits": (
        lambda client: [{"id": row.id, **edit_json(row.edit)}
                        for row in client.list_edits("Prüfung/№ 1")],
        "EDIT list", "EDIT listed, many", FRAMES["EDIT listed, many"]["fields"]["body"]["edits"]),
    "revert": (
        lambda client: client.revert_edits("handbook"), "EDIT revert of 0", "EDIT reverted", 64),
    "submit": (
        lambda client: client.submit_job("learn", PAYLOAD, 600000, 3),
        "WORK submit of 19", "WORK submitted", 9),
    "take": (
        lambda client: client.take_job(["blend", "k" * 32], 60000, 600000),
        "WORK take of 2", "WORK taken", TakenJob(9, 10, "learn", PAYLOAD)),
    "take none": (
        lambda client: client.take_job(["learn"], 0, 1000),
        "WORK take of 1", "WORK taken, none", None),
    "renew": (
        lambda client: client.renew_job(JOB, 250), "WORK renew", "WORK renewed, 2",
        JobHold.CANCELLED),
    "finish": (
        lambda client: client.finish_job(JOB, PAYLOAD), "WORK finish", "WORK finished, 1",
        JobHold.HELD),
    "fail": (
        lambda client: client.fail_job(JOB, "no model, prüfen", again=False),
        "WORK fail, again 0", "WORK failed, 3", JobHold.LOST),
    "status": (
        lambda client: (lambda status: (status.state, status.reason, status.result))(
            client.job_status(9)),
        "WORK status", "WORK status, state 3", (JobState.DONE, "", PAYLOAD)),
    "cancel": (
        lambda client: client.cancel_job(9), "WORK cancel", "WORK cancelled", JobState.CANCELLED),
    "jobs": (
        lambda client: [facts_json(row) for row in client.list_jobs()],
        "WORK list", "WORK listed", FRAMES["WORK listed"]["fields"]["body"]["jobs"]),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_verb_sends_and_takes_what_the_vectors_say(make, name):
    call, asked, answered, expected = CALLS[name]

    def script(peer):
        peer.hello()
        request = peer.expect(FRAMES[asked]["fields"]["op"])
        assert request.body == body_of(asked)
        peer.reply(request, split(FRAMES[answered])[1])

    with FakeServer(script) as server, make(server.address) as client:
        assert call(client) == expected


def test_a_forbidden_document_is_told_as_such(make):
    def script(peer):
        peer.hello()
        peer.refuse(peer.expect("COMPOSE"), Status.FORBIDDEN, "name", 1)

    with FakeServer(script) as server, make(server.address) as client:
        with pytest.raises(ServerError) as caught:
            client.compose(LAYOUT_ID, ["a", "b"])
        assert (caught.value.status, caught.value.field) == (Status.FORBIDDEN, "name")


@pytest.mark.parametrize("name", ["add", "revert", "submit", "take", "finish", "fail"])
def test_what_must_not_happen_twice_is_not_sent_twice(make, name):
    def script(peer):
        peer.hello()
        peer.receive()

    with FakeServer(script) as server, make(server.address) as client:
        with pytest.raises(ConnectionLost):
            CALLS[name][0](client)
        assert server.connections == 1


def test_the_wait_for_a_job_is_part_of_its_deadline(make):
    def script(peer):
        peer.hello()
        request = peer.expect("WORK")
        assert 20_000 < request.deadline_ms <= 22_000
        peer.reply(request, split(FRAMES["WORK taken, none"])[1])

    with FakeServer(script) as server, make(server.address) as client:
        assert client.take_job(["learn"], 20_000, 1000, timeout=2) is None
