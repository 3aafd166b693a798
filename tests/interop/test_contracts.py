# SPDX-License-Identifier: MIT
"""The contracts that other people's scripts rely on: READY, echo, greeting, calls, fw_cfg."""

import re
import selectors
import time

import pytest
from streams import SECONDS, accept, exchange, receive

ECHO_PORT = 1234
GREETING = b"hello from micropython\n"


def test_ready_line_stands_alone(boot):
    guest = boot(vsock=True)
    guest.console.expect(r"(?:^|\n)READY vsock cid=33 port=1234\r\n", 30)


def test_echo_goes_on_until_the_peer_stops_and_then_closes(echo):
    with echo.vsock.dial(ECHO_PORT) as connection:
        connection.settimeout(SECONDS)
        for size in (1, 10, 1000, 100_000):
            assert exchange(connection, bytes([size & 0xFF]) * size) == bytes([size & 0xFF]) * size
        connection.shutdown(1)
        assert connection.recv(1) == b""


def test_peer_that_stops_sending_gets_everything_it_sent(echo, lacks):
    # A Unix socket takes the less of it, whether the peer reads or not.
    data = bytes(range(256)) * (300 if "slow reader" in lacks else 2000)
    with echo.vsock.dial(ECHO_PORT) as connection:
        connection.settimeout(SECONDS)
        connection.sendall(data)
        connection.shutdown(1)
        assert b"".join(iter(lambda: connection.recv(65536), b"")) == data


def test_echo_serves_200_connections_at_once(echo):
    connections = [echo.vsock.dial(ECHO_PORT) for _ in range(200)]
    for number, connection in enumerate(connections):
        connection.settimeout(SECONDS)
        connection.sendall(b"%d" % number)
    for number, connection in enumerate(connections):
        assert connection.recv(100) == b"%d" % number
        connection.close()


def test_200_busy_connections_all_get_round(echo, mebibytes):
    """More than there are slots in the transmit ring: whoever waits for one is woken again."""
    size = 16384
    rounds = 5 * mebibytes // 8
    watch = selectors.DefaultSelector()
    left = {}
    for number in range(200):
        connection = echo.vsock.dial(ECHO_PORT)
        connection.settimeout(SECONDS)
        watch.register(connection, selectors.EVENT_READ, (connection, bytes([number]) * size))
        left[connection] = rounds
    for key in list(watch.get_map().values()):
        connection, message = key.data
        connection.sendall(message)
    while left:
        ready = watch.select(timeout=SECONDS)
        assert ready, f"no answer on {len(left)} connections, {sorted(left.values())} rounds left"
        for key, _ in ready:
            connection, message = key.data
            assert receive(connection, size) == message
            left[connection] -= 1
            if left[connection]:
                connection.sendall(message)
            else:
                watch.unregister(connection)
                del left[connection]
                connection.close()


def test_guest_greets_the_host_and_echoes_and_calls_again(echo):
    with echo.vsock.listen(ECHO_PORT) as listener:
        listener.settimeout(SECONDS)
        for _ in range(3):
            with accept(listener) as connection:
                assert receive(connection, len(GREETING)) == GREETING
                assert exchange(connection, b"hello, firmware\n") == b"hello, firmware\n"


def test_guest_calls_about_once_a_second(echo):
    """However long nobody has listened: a listener is called within little more than a second."""
    for pause in (0.3, 2.5):
        time.sleep(pause)
        started = time.monotonic()
        with echo.vsock.listen(ECHO_PORT) as listener:
            listener.settimeout(10)
            with accept(listener) as connection:
                waited = time.monotonic() - started
                assert receive(connection, len(GREETING)) == GREETING
        print(f"called after {waited:.2f} s")
        assert waited < 2.5


def time_of_four_calls(guest, listen_to):
    """Seconds that a host takes to be called four times if it hangs up each time."""
    with guest.vsock.listen(ECHO_PORT) as listener:
        listener.settimeout(10)
        started = time.monotonic()
        for _ in range(4):
            with accept(listener) as connection:
                receive(connection, listen_to)
        return time.monotonic() - started


def test_guest_does_not_flood_a_host_that_hangs_up(echo):
    assert 2 < time_of_four_calls(echo, len(GREETING)) < 10


@pytest.mark.needs("unread end")
def test_guest_calls_again_when_the_host_hangs_up_without_reading(echo):
    assert 2 < time_of_four_calls(echo, 0) < 10


def socat(host, address):
    return host.spawn(["socat", "-", address])


def test_socat_that_listens_is_greeted_and_echoed(echo, host):
    process = socat(host, echo.vsock.socat_listen(ECHO_PORT))
    process.stdio.settimeout(20)
    with process.stdio.makefile("rb") as lines:
        assert lines.readline() == GREETING
        for line in (b"one\n", b"two\n"):
            process.stdio.sendall(line)
            assert lines.readline() == line
    process.close()


def test_socat_that_connects_is_echoed(echo, host):
    address, first = echo.vsock.socat_dial(ECHO_PORT)
    process = socat(host, address)
    process.stdio.settimeout(20)
    with process.stdio.makefile("rb") as lines:
        if first:
            process.stdio.sendall(first)
            assert re.fullmatch(rb"OK \d+\n", lines.readline())
        for line in (b"one\n", b"two\n"):
            process.stdio.sendall(line)
            assert lines.readline() == line
    process.close()


SERVER = """
import socket, sys
listener = socket.create_server((socket.VMADDR_CID_ANY, int(sys.argv[1])))
print("serving", sys.argv[1:])
sock, peer = listener.accept()
sock.sendall(" ".join(sys.argv[2:]).encode())
sock.close()
"""


def test_script_from_fw_cfg_serves_in_place_of_the_echo(boot):
    entries = {
        "opt/micropython/main.py": SERVER,
        "opt/micropython/argv": "7900\0two words\0three\0",
    }
    guest = boot(vsock=True, fw_cfg=entries)
    printed = guest.console.expect(r"serving (\[.*?\])\r\n", 30).group(1)
    assert printed == b"['7900', 'two words', 'three']"
    with guest.vsock.dial(7900) as connection:
        connection.settimeout(SECONDS)
        assert receive(connection, 15) == b"two words three"
    guest.console.wait_prompt()
    assert b"READY" not in guest.console.transcript
