"""A hostile client of shared memory uses up descriptors: others are served all the same."""

from __future__ import annotations

import contextlib
import os
import socket
import struct

from kdn import Status, bodies, link_bodies, wire
from kdn.wire import Op
from shared_memory_client import SharedMemoryClient
from shared_memory_site import Prey, hostile, shared_site, site, start_plain

__all__ = ["hostile", "shared_site", "site"]

# Few, so that not many descriptors are needed to reach the limit.
OPEN_FILES = 512
# So many that not each can have a window beside its socket.
CONNECTIONS = 220



def test_slabs_asked_for_and_never_read_are_bounded(site, hostile):
    prey = Prey(hostile, 1000)
    ask = link_bodies.encode_map_slab(prey.hit.slab_id)
    asked = 3000
    frames = [wire.encode_frame(Op.MAP_SLAB, 10_000 + number, ask) for number in range(asked)]
    limit = hostile.limits.requests_in_flight
    given = refused = 0
    for start in range(0, asked, limit):
        some = frames[start : start + limit]
        hostile.send(b"".join(some))
        site.check()
        kept = len(hostile.descriptors)
        for _ in some:
            status = hostile.receive().status
            assert status in (Status.OK, Status.BUSY)
            given += status == Status.OK
            refused += status == Status.BUSY
        came = hostile.descriptors[kept:]
        del hostile.descriptors[kept:]
        for descriptor in came:
            os.close(descriptor)
        given -= len(came)
    assert given == 0, "each grant brings one descriptor, each refusal none"
    prey.drop()


def test_slabs_never_read_do_not_cut_others_off():
    """What is in flight counts for the daemon's user as a whole, unless that is root."""
    with contextlib.ExitStack() as stack:
        daemon, path = stack.enter_context(start_plain(OPEN_FILES))
        victim = stack.enter_context(SharedMemoryClient(path).hello())
        prey = Prey(victim, 1000)
        ask = link_bodies.encode_map_slab(prey.hit.slab_id)
        for _ in range(8):
            greedy = stack.enter_context(SharedMemoryClient(path).hello())
            greedy.lease(prey.key, 60_000)
            for number in range(200):
                with contextlib.suppress(ConnectionError):
                    greedy.send(wire.encode_frame(Op.MAP_SLAB, 1000 + number, ask))
                # By its answer the daemon has dealt with all that came before on any connection.
                victim.synchronise()
            assert victim.try_map(prey.hit.slab_id)[0] in (Status.OK, Status.BUSY)
            assert victim.fetch(prey.key) == prey.data
        assert daemon.process.poll() is None


def test_windows_leave_descriptors_for_connections():
    """As many connections as are allowed come in, whatever windows those before have opened."""
    with contextlib.ExitStack() as stack:
        daemon, path = stack.enter_context(
            start_plain(OPEN_FILES, "--set", f"max_connections={CONNECTIONS}"))
        opened = 0
        for _ in range(CONNECTIONS):
            client = stack.enter_context(SharedMemoryClient(path).hello())
            frame = client.call(Op.OPEN_WINDOW, link_bodies.encode_open_window(4096))
            assert frame.status in (Status.OK, Status.BUSY)
            opened += frame.status == Status.OK
            while client.descriptors:
                os.close(client.descriptors.pop())
        assert 0 < opened < CONNECTIONS, "there are descriptors for some windows, not for all"
        assert "cannot accept" not in daemon.log


def test_descriptors_that_a_client_sends_are_not_kept(site, hostile):
    before = site.daemon.open_files()
    own = [os.memfd_create("unwanted") for _ in range(50)]
    ping = bodies.encode_keys([])
    try:
        for _ in range(40):
            number = hostile.next_id()
            frame = wire.encode_frame(Op.EXISTS, number, ping)
            rights = struct.pack(f"{len(own)}i", *own)
            hostile.socket.sendmsg(
                [frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            assert hostile.receive().request_id == number
    finally:
        for descriptor in own:
            os.close(descriptor)
    assert site.daemon.open_files() == before
