# SPDX-License-Identifier: MIT
"""`mpfw forward` between programs of the host and a guest, either way."""

import hashlib
import socket

import pytest
from forwarder import bridge
from prelude import accept, dial, receive_all
from streams import SECONDS, Background, blocks, echo_and_hash, receive, send_blocks
from streams import accept as accept_here

GUEST, HOST = 33, 2
PORT = 7700
ECHO_PORT = 1234
GREETING = b"hello from micropython\n"
CONNECTIONS = 1000


@pytest.fixture
def quiet_echo(boot):
    """A guest that echoes on ECHO_PORT and calls nobody."""
    script = "from apps.echo import Echo\ne = Echo(dial=False)\nprint('listening')\ne.run()\n"
    guest = boot(vsock=True, fw_cfg={"opt/micropython/main.py": script})
    guest.console.expect("listening\r\n", 30)
    return guest


@pytest.mark.timeout(300)
def test_1000_connections_at_once_each_get_what_is_theirs(quiet_echo, host):
    """All are open before the first one sends; each sends 4 KiB of its own."""
    many = 200 if host.kind == "lab" else CONNECTIONS  # the lab's agent is no match for more
    with bridge(quiet_echo, ("here", ECHO_PORT)) as forward:
        connections = [forward.dial("here") for _ in range(many)]
        data = [hashlib.shake_128(b"%d" % n).digest(4096) for n in range(many)]
        for connection, mine in zip(connections, data, strict=True):
            connection.sendall(mine)
        for connection, mine in zip(connections, data, strict=True):
            got = b""
            while len(got) < len(mine):
                part = connection.recv(4096)
                assert part
                got += part
            assert got == mine
            connection.close()
        with forward.dial("here") as connection:
            connection.sendall(b"and one more")
            assert connection.recv(100) == b"and one more"


def test_bytes_pass_whole_both_ways(quiet_echo, mebibytes):
    with bridge(quiet_echo, ("here", ECHO_PORT)) as forward, forward.dial("here") as connection:
        sent, received = echo_and_hash(connection, blocks(mebibytes // 8 << 20))
        assert sent == received


def serve_a_digest(port):
    """Answers with the digest of a question, once the question has ended."""
    import hashlib

    sock = accept(port)
    digest = hashlib.sha256(receive_all(sock)).digest()
    sock.sendall(digest)
    sock.close()
    return digest


@pytest.mark.needs("half-close")
def test_half_close_passes_to_the_guest(guest_side):
    guest_side.start(serve_a_digest, PORT)
    with bridge(guest_side.guest, ("here", PORT)) as forward, connected(forward) as connection:
        digest = send_blocks(connection, 1 << 20)
        connection.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: connection.recv(4096), b"")).hex() == digest
    assert guest_side.result().hex() == digest


def connected(forward):
    """A connection that the guest has accepted: it may not listen yet when we begin."""
    while True:
        connection = forward.dial("here")
        connection.settimeout(0.5)
        try:
            if connection.recv(1) == b"":
                connection.close()
                continue
        except TimeoutError:
            connection.settimeout(SECONDS)
            return connection
        except ConnectionError:
            connection.close()


def call_host(port, half_close):
    sock = dial(2, port)
    sock.sendall(b"the guest calls")
    if half_close:
        sock.shutdown(socket.SHUT_WR)
    answer = receive_all(sock)
    sock.close()
    return answer


def test_the_guests_call_is_handed_on_and_answered(guest_side):
    with bridge(guest_side.guest, (PORT, "service")) as forward, forward.listen("service") as here:
        here.settimeout(SECONDS)
        for number in range(3):
            guest_side.start(call_host, PORT, False)
            with accept_here(here) as connection:
                assert receive(connection, 15) == b"the guest calls"
                connection.sendall(b"answer %d" % number)
            assert guest_side.result() == b"answer %d" % number


@pytest.mark.needs("half-close")
def test_half_close_passes_from_the_guest(guest_side):
    with bridge(guest_side.guest, (PORT, "service")) as forward, forward.listen("service") as here:
        guest_side.start(call_host, PORT, True)
        with accept_here(here) as connection:
            assert b"".join(iter(lambda: connection.recv(4096), b"")) == b"the guest calls"
            connection.sendall(b"and is answered")
        assert guest_side.result() == b"and is answered"


def test_both_directions_work_at_once(echo):
    """One forwarder, two pairs: to the guest's echo, and from the guest, which echoes there."""
    pairs = (("here", ECHO_PORT), (ECHO_PORT, "service"))
    with bridge(echo, *pairs) as forward, forward.listen("service") as here:
        here.settimeout(SECONDS)
        with accept_here(here) as called, forward.dial("here") as dialled:
            assert receive(called, len(GREETING)) == GREETING
            ends = (called, dialled)
            workers = [Background(echo_and_hash, each, blocks(4 << 20)) for each in ends]
            for worker in workers:
                sent, received = worker.result()
                assert sent == received


def test_a_port_where_the_guest_does_not_listen(quiet_echo):
    with bridge(quiet_echo, ("here", 4321)) as forward:
        with forward.dial("here") as connection:
            assert connection.recv(1) == b""
        said = forward.said()
        assert "nobody" in said and "4321" in said and said.count("\n") == 1
