# SPDX-License-Identifier: MIT
"""Guests beside each other: `--group`'s siblings, `--keep`, `--uds-path`, CIDs."""

import signal
import socket
import subprocess
import time

import pytest

PIPE = subprocess.PIPE

SERVER = """
import socket, sys
with socket.create_server((socket.VMADDR_CID_ANY, 99)) as server:
    print('listening on', socket.get_local_cid())
    while True:
        connection, peer = server.accept()
        data = connection.recv(100)
        print('from', peer[0], data)
        connection.sendall(data.upper())
        connection.recv(1)
        connection.close()
        if data == b'last':
            break
"""
CLIENT = """
import socket, sys
with socket.create_connection((int(sys.argv[1]), 99)) as s:
    s.sendall(sys.argv[2].encode())
    print(socket.get_local_cid(), s.recv(100))
"""


daemons = pytest.mark.hosts("vhost-user")


@daemons
@pytest.mark.parametrize("cids", [(None, None, None), (3, 4, 5), (100, 101, 33)])
def test_guests_of_a_group_reach_each_other(seat, write, cids):
    options = [["--group", "a, b"] + (["--cid", cid] if cid else []) for cid in cids]
    server = seat.start(*options[0], write("server.py", SERVER), stdout=PIPE)
    cid = int(server.stdout.readline().rpartition(b" ")[2])
    assert cid == cids[0] or cids[0] is None
    script = write("client.py", CLIENT)
    answers = [seat(*options[1], script, cid, "one"), seat(*options[2], script, cid, "last")]
    assert [(each.code, each.err) for each in answers] == [(0, b"")] * 2
    said = server.stdout.read().splitlines()
    server.stdout.close()
    assert server.wait(20) == 0
    for number, word in enumerate((b"one", b"last")):
        theirs, _, got = answers[number].out.partition(b" ")
        assert int(theirs) == cids[number + 1] or cids[number + 1] is None
        assert eval(got) == word.upper()
        assert said[number] == b"from %s %r" % (theirs, word)
    seat.wait_for_nothing()


@daemons
def test_a_group_ends_with_the_last_however_it_ends(seat, write):
    script = write("server.py", SERVER)
    runs = [seat.start("--group", "g", script, stdout=PIPE) for _ in range(4)]
    cids = [int(run.stdout.readline().rpartition(b" ")[2]) for run in runs]
    assert len(set(cids)) == 4
    for run, number in zip(runs, (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL), strict=False):
        run.send_signal(number)
        run.wait(20)
    last = runs[-1]
    assert last.poll() is None
    client = seat("--group", "g", write("client.py", CLIENT), cids[0], "nobody")
    assert client.code == 1  # which the keeper has answered: the daemon is there
    last.kill()
    last.wait(20)
    for run in runs:
        run.stdout.close()
    seat.wait_for_nothing()


@daemons
def test_groups_and_cids_that_cannot_be(seat, write):
    words = ["--group", "g", "--cid", 5]
    first = seat.start(*words, write("server.py", SERVER), stdout=PIPE)
    first.stdout.readline()
    taken = seat(*words, "-c", "")
    assert taken.code == 125 and b"CID 5 is another guest's" in taken.err
    none = seat("--group", "g", "--cid", 1000, "-c", "")
    assert none.code == 125 and b"none of the group's" in none.err
    assert b"3 to 15, 33 to 63\n" in none.err
    first.terminate()
    first.wait(20)
    first.stdout.close()
    seat.wait_for_nothing()


def test_a_group_on_another_device_is_a_sentence(quick):
    result = quick("--host", "vhost-vsock", "--group", "g", "-c", "")
    assert result.code == 125 and result.err.startswith(b"mpfw: --group")


@daemons
def test_a_socket_of_ones_choice(seat, write):
    path = seat.tmp / "guest.vsock"
    run = seat.start("--uds-path", path, write("server.py", SERVER), stdout=PIPE)
    run.stdout.readline()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"CONNECT 99\n")
        assert client.recv(100).startswith(b"OK ")
        client.sendall(b"last")
        assert client.recv(100) == b"LAST"
    assert run.stdout.read().startswith(b"from 2 ")
    run.stdout.close()
    assert run.wait(20) == 0
    assert not path.exists()


@pytest.mark.hosts("none", "vhost-user", "device", "vhost-vsock")
def test_a_guest_that_is_kept(seat):
    code = "import sys\nprint('done')\nsys.exit(4)"
    run = seat.start("--keep", "-c", code, stdout=PIPE, stderr=PIPE)
    assert run.stdout.readline() == b"done\n"
    places = {}
    while b"Ctrl-C" not in (line := run.stderr.readline()):
        what, _, where = line.decode().strip().removeprefix("mpfw: ").rpartition(": ")
        places[what] = where
    with socket.socket(socket.AF_UNIX) as console:
        console.connect(places["console"])
        console.sendall(b"\rprint(sys.version_info[:1], 40 + 2)\r")
        said = b""
        while b"(3,) 42" not in said:
            said += console.recv(1000)
    with socket.socket(socket.AF_UNIX) as console:  # a visitor who leaves while the guest speaks
        console.connect(places["console"])
        console.sendall(b"for i in range(2000): print('spoken to nobody', i)\r\r")
        said = b""
        while b"nobody 20" not in said:
            said += console.recv(1000)
    time.sleep(0.5)
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.connect(places["QEMU's monitor (QMP)"])
        assert b"QMP" in monitor.recv(1000)
    run.send_signal(signal.SIGINT)
    assert run.wait(20) == 4
    run.stdout.close()
    run.stderr.close()
    seat.wait_for_nothing()
