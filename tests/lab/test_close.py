# SPDX-License-Identifier: MIT
"""How connections end on the kernel's device: orderly, refused, with unread data, by power-off."""

import errno
import socket
import time

from prelude import accept, dial, errno_of, listen, pattern, receive_all

GUEST, HOST = 33, 2
PORT = 5100


def refused(cid, port, kind):
    sock = socket.socket(socket.AF_VSOCK, kind)
    sock.settimeout(5)
    number = errno_of(sock.connect, (cid, port))
    sock.close()
    return number


def test_connection_to_a_port_nobody_listens_on_is_reset(guest_side, host_side):
    assert guest_side.call(refused, HOST, PORT, 1) == errno.ECONNRESET
    assert host_side.call(refused, GUEST, PORT, 1) == errno.ECONNRESET


def accept_send_and_close_unread(port):
    sock = accept(port)
    sock.sendall(pattern(100_000))
    time.sleep(0.5)  # the peer's bytes have come by now and are never read
    sock.close()


def connect_and_meet_the_close(cid, port):
    sock = dial(cid, port)
    sock.sendall(b"never read")
    time.sleep(1)
    got = receive_all(sock)
    again = sock.recv(10)
    failure = errno_of(sock.send, b"x")
    pending = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    sock.close()
    return got == pattern(100_000), again, failure, pending


ORDERLY = (True, b"", errno.EPIPE, 0)


def test_guest_drains_what_a_closed_host_had_sent(guest_side, host_side):
    host = host_side.start(accept_send_and_close_unread, PORT)
    assert guest_side.call(connect_and_meet_the_close, HOST, PORT) == ORDERLY
    host.result()


def test_host_drains_what_a_closed_guest_had_sent(guest_side, host_side):
    guest_side.start(accept_send_and_close_unread, PORT)
    assert host_side.call(connect_and_meet_the_close, GUEST, PORT) == ORDERLY
    guest_side.result()


def connect_from_one_port_again_and_again(cid, port, local, times):
    for number in range(times):
        sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        sock.bind((socket.VMADDR_CID_ANY, local))
        sock.connect((cid, port))
        sock.sendall(b"%d" % number)
        sock.shutdown(socket.SHUT_WR)
        assert receive_all(sock) == b"%d" % number
        sock.close()
    return times


def echo_connections(port, times):
    listener = listen(port)
    listener.settimeout(15)
    print("listening")
    for _ in range(times):
        sock, _ = listener.accept()
        sock.sendall(receive_all(sock))
        sock.close()
    listener.close()


def test_port_pair_is_free_again_after_an_orderly_close(guest_side, host_side):
    guest_side.start(echo_connections, PORT, 20)
    guest_side.expect("listening")
    assert host_side.call(connect_from_one_port_again_and_again, GUEST, PORT, 6000, 20) == 20
    assert guest_side.result() is None


def accept_and_wait(port):
    sock = accept(port)
    print("accepted")
    return errno_of(sock.recv, 1), sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def connect_and_wait(cid, port):
    sock = dial(cid, port)
    sock.settimeout(30)
    try:
        return sock.recv(1)
    except OSError as error:
        return error.errno


def test_host_learns_that_the_guest_was_switched_off(guest_side, host_side):
    guest_side.start(accept_and_wait, PORT)
    host = host_side.start(connect_and_wait, GUEST, PORT)
    guest_side.expect("accepted")
    guest_side.guest.qmp("quit")
    assert host.result() == errno.ECONNRESET


def test_guest_learns_that_a_host_program_was_killed(guest_side, host_side):
    host = host_side.start(connect_and_wait, GUEST, PORT)
    guest_side.start(accept_and_wait, PORT)
    guest_side.expect("accepted")
    time.sleep(0.2)
    host.process.kill()
    assert guest_side.result() == (0, 0)
    host.process.close()
