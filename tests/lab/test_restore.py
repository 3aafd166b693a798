# SPDX-License-Identifier: MIT
"""What outlives what: a restored guest under another CID, a restarted host, two guests at once."""

import errno
import socket
import time

import pytest
from prelude import accept, dial, errno_of, listen, receive_all

from mpfw.guest.driven import AGENT

GUEST, RESTORED = 33, 44
PORT = 5300
ECHO_PORT = 1234
GREETING = b"hello from micropython\n"


def outlive_a_restore(port):
    listener = listen(port)
    old, _ = listener.accept()
    print("connected")
    broken = errno_of(old.recv, 1)
    old.close()
    new, _ = listener.accept()
    word = new.recv(100)
    cid = new.getsockname()[0]
    new.sendall(b"from %d" % cid)
    new.close()
    return broken, word, cid


def hold(cid, port):
    sock = dial(cid, port)
    sock.settimeout(60)
    try:
        return sock.recv(1)
    except OSError as error:
        return error.errno


def greet(cid, port):
    sock = dial(cid, port)
    sock.sendall(b"after the restore")
    answer = sock.recv(100)
    sock.close()
    return answer


def save(guest, path):
    """Write a guest's state to a file on its host; the guest ends."""
    guest.qmp("stop")
    guest.qmp("migrate", uri=f"exec:cat >{path}")
    wait_for_migration(guest)
    guest.qmp("quit")
    guest.wait()


def wait_for_migration(guest):
    deadline = time.monotonic() + 60
    while (status := guest.qmp("query-migrate").get("status")) != "completed":
        assert status != "failed" and time.monotonic() < deadline, status
        time.sleep(0.1)


@pytest.fixture
def state_file(kernel):
    """A path on the host for a guest's saved state."""
    path = kernel.run(["mktemp"]).out.decode().strip()
    yield path
    kernel.run(["rm", "-f", path])


def test_restore_under_another_cid_breaks_connections_and_keeps_listeners(
    guest_side, host_side, boot_kernel, state_file
):
    guest_side.start(outlive_a_restore, PORT)
    old = host_side.start(hold, GUEST, PORT)
    guest_side.expect("connected", 30)
    save(guest_side.guest, state_file)
    assert old.result() == errno.ECONNRESET
    restored = boot_kernel(
        cid=RESTORED, drive=AGENT, extra=("-incoming", f"exec:cat {state_file}")
    )
    saved = restored.agent.resume()
    wait_for_migration(restored)
    if restored.qmp("query-status")["status"] != "running":
        restored.qmp("cont")
    assert host_side.call(greet, RESTORED, PORT) == b"from %d" % RESTORED
    outcome = saved.result()
    assert outcome == (errno.ECONNRESET, b"after the restore", RESTORED)


def echoed(cid, port, word):
    sock = dial(cid, port)
    sock.settimeout(15)
    sock.sendall(word)
    sock.shutdown(socket.SHUT_WR)
    answer = receive_all(sock)
    sock.close()
    return answer


def accept_two(port):
    listener = listen(port)
    listener.settimeout(15)
    pairs = [listener.accept() for _ in range(2)]
    greetings = [sock.recv(100) for sock, _ in pairs]
    return sorted(peer[0] for _, peer in pairs), greetings


def test_two_guests_at_once_answer_under_their_own_cids(boot_kernel, host_side):
    cids = (GUEST, GUEST + 1)
    guests = [boot_kernel(cid=cid) for cid in cids]
    for guest, cid in zip(guests, cids, strict=True):
        guest.console.expect(f"READY vsock cid={cid} port=1234", 30)
    calls = [host_side.start(echoed, cid, ECHO_PORT, b"to %d" % cid) for cid in cids]
    assert [call.result() for call in calls] == [b"to 33", b"to 34"]
    assert host_side.call(accept_two, ECHO_PORT) == (list(cids), [GREETING] * 2)
    guests[0].close()
    assert host_side.call(echoed, cids[1], ECHO_PORT, b"still there") == b"still there"


def serve_once(port):
    sock = accept(port)
    greeting = sock.recv(100)
    sock.sendall(b"echo me")
    answer = sock.recv(100)
    sock.close()
    return greeting, answer


def test_guest_finds_a_restarted_host_program_again(echo, host_side):
    for pause in (0, 2.5, 0.5):
        time.sleep(pause)
        assert host_side.call(serve_once, ECHO_PORT) == (GREETING, b"echo me")
