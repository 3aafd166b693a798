# SPDX-License-Identifier: MIT
"""One direction of a connection ends and the other goes on, as the kernel's device shows it."""

import errno
import socket

from prelude import accept, dial, errno_of, pattern, receive_all

GUEST, HOST = 33, 2
PORT = 5000
LENGTH = 300_000  # more than either side's 256 KiB window


def connect_send_stop_receive(cid, port, length):
    sock = dial(cid, port)
    sock.sendall(pattern(length))
    sock.shutdown(socket.SHUT_WR)
    answer = receive_all(sock)
    sock.close()
    return answer == pattern(length + 1)


def accept_receive_then_send(port, length):
    sock = accept(port)
    question = receive_all(sock)
    sock.sendall(pattern(length + 1))
    sock.close()
    return question == pattern(length)


def test_host_that_stops_sending_still_receives(guest_side, host_side):
    guest_side.start(accept_receive_then_send, PORT, LENGTH)
    assert host_side.call(connect_send_stop_receive, GUEST, PORT, LENGTH)
    assert guest_side.result()


def test_guest_that_stops_sending_still_receives(guest_side, host_side):
    host = host_side.start(accept_receive_then_send, PORT, LENGTH)
    assert guest_side.call(connect_send_stop_receive, HOST, PORT, LENGTH)
    assert host.result()


def connect_stop_receiving_then_send(cid, port):
    sock = dial(cid, port)
    sock.shutdown(socket.SHUT_RD)
    assert sock.recv(1) == b""
    sock.sendall(b"still sending")
    sock.close()


def accept_and_send_to_deaf_peer(port):
    sock = accept(port)
    heard = receive_all(sock)
    failure = errno_of(sock.send, b"x")
    sock.close()
    return heard, failure


def test_host_that_stops_receiving_breaks_the_guests_send_only(guest_side, host_side):
    guest_side.start(accept_and_send_to_deaf_peer, PORT)
    host_side.call(connect_stop_receiving_then_send, GUEST, PORT)
    assert guest_side.result() == (b"still sending", errno.EPIPE)


def test_guest_that_stops_receiving_breaks_the_hosts_send_only(guest_side, host_side):
    host = host_side.start(accept_and_send_to_deaf_peer, PORT)
    guest_side.call(connect_stop_receiving_then_send, HOST, PORT)
    assert host.result() == (b"still sending", errno.EPIPE)
