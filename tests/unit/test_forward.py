# SPDX-License-Identifier: MIT
"""`mpfw forward` between TCP, Unix sockets and a hybrid vsock socket played here; no guest."""

import hashlib
import itertools
import os
import random
import signal
import socket
import stat
import struct
import subprocess
import threading
import time
from contextlib import ExitStack

import pytest
from forwarding import command, forwarding, receive_all, serving, unix_listener

CONNECTIONS = 1000


def echo(connection):
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def answer_with_a_digest(connection):
    """Needs half-close: the answer comes when the question has ended."""
    with connection:
        connection.sendall(hashlib.sha256(receive_all(connection)).hexdigest().encode())


def hybrid(connection):
    """vhost-device-vsock's side of its socket; guest port 7 echoes, nobody else listens."""
    line = b""
    while not line.endswith(b"\n"):
        line += connection.recv(1)
    if line != b"CONNECT 7\n":
        connection.close()
        return
    connection.sendall(b"OK 1024\nand the guest speaks first\n")
    echo(connection)


@pytest.fixture
def service(tmp_path):
    """service(serve): a Unix socket where `serve` answers."""
    numbers = itertools.count()
    with ExitStack() as stack:

        def service(serve):
            path = tmp_path / f"service{next(numbers)}"
            stack.enter_context(serving(unix_listener(path), serve))
            return path

        yield service


def test_half_close_passes(service):
    with forwarding("tcp:0", f"unix:{service(answer_with_a_digest)}") as forward:
        data = random.Random(1).randbytes(1 << 20)
        with forward.dial() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(connection) == hashlib.sha256(data).hexdigest().encode()


def test_1000_connections_at_once_get_what_is_theirs(service):
    with forwarding("tcp:0", f"unix:{service(echo)}") as forward:
        connections = [forward.dial() for _ in range(CONNECTIONS)]
        for number, connection in enumerate(connections):
            connection.sendall(b"%d" % number * 1000)
        for number, connection in enumerate(connections):
            connection.shutdown(socket.SHUT_WR)
            assert receive_all(connection) == b"%d" % number * 1000
            connection.close()


def test_whoever_does_not_read_holds_the_sender_up(service):
    go = threading.Event()
    digests = []

    def read_later(connection):
        go.wait(60)
        digests.append(hashlib.sha256(receive_all(connection)).hexdigest())
        connection.close()

    with forwarding("tcp:0", f"unix:{service(read_later)}") as forward:
        data = random.Random(2).randbytes(64 << 20)
        memory = resident(forward.process.pid)
        with forward.dial() as connection:
            connection.settimeout(1)
            sent = 0
            with pytest.raises(TimeoutError):
                while True:
                    sent += connection.send(data[sent : sent + (1 << 20)])
            assert sent < len(data) // 2
            assert resident(forward.process.pid) - memory < 8 << 20
            go.set()
            connection.settimeout(60)
            connection.sendall(data[sent:])
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
        assert digests == [hashlib.sha256(data).hexdigest()]


def resident(pid):
    """Bytes of memory that a process has."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_broken_connection_is_a_reset_at_the_other_side(service):
    def break_off(connection):
        connection.recv(1)
        connection.close()  # with bytes unread: a Unix socket's peer gets ECONNRESET

    target = f"unix:{service(break_off)}"
    with forwarding("tcp:0", target) as forward, forward.dial() as connection:
        connection.sendall(bytes(1000))
        with pytest.raises(ConnectionResetError):
            while connection.recv(1):
                pass


def test_an_answer_comes_whole_from_a_server_that_does_not_read_the_question(service):
    asked = threading.Event()
    answer = random.Random(3).randbytes(1 << 20)

    def refuse(connection):
        with connection:
            connection.shutdown(socket.SHUT_RD)  # whoever sends gets EPIPE
            asked.wait(10)
            time.sleep(0.2)
            connection.sendall(answer)

    target = f"unix:{service(refuse)}"
    with forwarding("tcp:0", target) as forward, forward.dial() as connection:
        time.sleep(0.2)
        connection.sendall(bytes(8 << 20))
        asked.set()
        assert receive_all(connection) == answer


def test_the_guests_port_behind_a_hybrid_socket(service):
    target = f"uds:{service(hybrid)}:7"
    with forwarding("tcp:0", target) as forward, forward.dial() as connection:
        connection.sendall(b"question")
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection) == b"and the guest speaks first\nquestion"


def test_the_guests_calls_arrive_at_the_hybrid_sockets_name(service, tmp_path):
    path = tmp_path / "guest.vsock"
    with forwarding(f"uds:{path}:5000", f"unix:{service(echo)}") as forward:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as call:
            call.connect(f"{path}_5000")
            call.sendall(b"the guest calls")
            call.shutdown(socket.SHUT_WR)
            assert receive_all(call) == b"the guest calls"
        assert forward.end() == 0
    assert not (tmp_path / "guest.vsock_5000").exists()


def test_pairs_work_side_by_side(service, tmp_path):
    here = f"unix:{tmp_path / 'here'}"
    pairs = ("tcp:0", here, here, f"unix:{service(echo)}")
    with forwarding(*pairs) as forward, forward.dial() as connection:
        connection.sendall(b"through two")
        assert connection.recv(100) == b"through two"


def test_a_path_of_250_letters_works(service, tmp_path):
    folder = tmp_path / ("long and wide " * 10)
    folder.mkdir()
    path = folder / ("f" * 90)
    with forwarding(f"unix:{path}", f"unix:{service(echo)}", "tcp:0", f"unix:{path}") as forward:
        assert stat.S_ISSOCK(path.stat().st_mode)
        with forward.dial(1) as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
def test_a_signal_ends_it_and_leaves_nothing(service, tmp_path, number):
    path = tmp_path / "here"
    with forwarding(f"unix:{path}", f"unix:{service(echo)}", "tcp:0", f"unix:{path}") as forward:
        with forward.dial(1) as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
            assert forward.end(number) == 0
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        assert forward.stderr.read() == ""
    assert not path.exists()


def test_a_socket_that_a_dead_program_left_is_taken_over(service, tmp_path):
    path = tmp_path / "left"
    unix_listener(path).close()
    with forwarding(f"unix:{path}", f"unix:{service(echo)}"):
        assert path.exists()


def is_reset(forward):
    """A connection is made and reset; a reset that is quicker than we are meets connect()."""
    with pytest.raises(ConnectionResetError), forward.dial() as connection:
        connection.recv(1)


def test_nobody_listening_is_said_once_and_the_client_is_reset(tmp_path):
    with forwarding("tcp:0", f"unix:{tmp_path}/nobody") as forward:
        for _ in range(3):
            is_reset(forward)
        assert forward.said() == f"mpfw forward: nobody listens on unix:{tmp_path}/nobody\n"
        forward.end()
        assert forward.stderr.read() == ""


def test_a_guests_port_where_nobody_listens(service):
    path = service(hybrid)
    with forwarding("tcp:0", f"uds:{path}:8") as forward:
        is_reset(forward)
        assert forward.said() == f"mpfw forward: nobody in the guest listens on uds:{path}:8\n"


def refused(*addresses):
    """What is said about addresses that cannot be; the status must not be 0."""
    done = subprocess.run(command(*addresses), capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and done.stdout == ""
    return done.stderr


def test_a_port_in_use_is_one_sentence(service, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"tcp:127.0.0.1:{server.getsockname()[1]}"
        assert refused(place, "tcp:9") == (
            f"Error: {place} is in use: choose another, or end the program that listens there\n"
        )
    path = service(echo)
    assert refused(f"unix:{path}", "tcp:9").startswith(f"Error: unix:{path} is in use")
    assert path.exists()


def test_an_address_alone_is_a_sentence():
    assert "addresses come in pairs, LISTEN TARGET: tcp:1 is alone" in refused("tcp:1")


def test_a_guest_that_does_not_run_is_a_sentence():
    with forwarding("tcp:0", "vsock:987654:1") as forward:
        is_reset(forward)
        assert "vsock:987654:1: no guest with CID 987654 runs here" in forward.said()


def test_connections_that_do_not_fit_wait(service):
    few = 40  # descriptors: room for four connections
    with forwarding("tcp:0", f"unix:{service(echo)}", descriptors=few) as forward:
        connections = [forward.dial() for _ in range(20)]
        assert "4 connections are open, as many as fit: others wait" in forward.said()
        for connection in connections:
            connection.sendall(b"x")
        for connection in connections:
            assert connection.recv(1) == b"x"
            connection.close()


def test_a_client_that_resets_ends_the_other_side_too(service):
    ended = threading.Event()

    def note(connection):
        with connection:
            try:
                receive_all(connection)
            except ConnectionError:
                pass
        ended.set()

    with forwarding("tcp:0", f"unix:{service(note)}") as forward:
        connection = forward.dial()
        connection.sendall(b"x")
        linger = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close()
        assert ended.wait(10)
