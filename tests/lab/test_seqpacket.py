# SPDX-License-Identifier: MIT
"""SOCK_SEQPACKET over the kernel's device: every message arrives as it was sent."""

import errno
import socket

from prelude import accept, dial, errno_of, listen, pattern

GUEST, HOST = 33, 2
PORT = 5200
SEQPACKET = 5
LENGTHS = [1, 44, 4096, 4097, 65536, 65537, 200_000, 3]


def connect_and_send_messages(cid, port, kind, lengths):
    sock = dial(cid, port, kind)
    for length in lengths:
        sock.send(pattern(length))
    sock.shutdown(socket.SHUT_WR)
    rest = sock.recv(10)
    sock.close()
    return rest


def accept_and_receive_messages(port, kind):
    sock = accept(port, kind)
    lengths = []
    while True:
        message = sock.recv(262144)
        if not message:
            break
        assert message == pattern(len(message))
        lengths.append(len(message))
    sock.close()
    return lengths


def test_messages_to_the_guest_keep_their_boundaries(guest_side, host_side):
    guest_side.start(accept_and_receive_messages, PORT, SEQPACKET)
    assert host_side.call(connect_and_send_messages, GUEST, PORT, SEQPACKET, LENGTHS) == b""
    assert guest_side.result() == LENGTHS


def test_messages_to_the_host_keep_their_boundaries(guest_side, host_side):
    host = host_side.start(accept_and_receive_messages, PORT, SEQPACKET)
    assert guest_side.call(connect_and_send_messages, HOST, PORT, SEQPACKET, LENGTHS) == b""
    assert host.result() == LENGTHS


def accept_and_receive_short(port, kind):
    sock = accept(port, kind)
    got = [sock.recv(5), sock.recv(100)]
    sock.close()
    return got


def connect_and_send_two(cid, port, kind):
    sock = dial(cid, port, kind)
    sock.send(b"first and its rest")
    sock.send(b"second")
    sock.recv(1)
    sock.close()


def test_short_receive_drops_the_rest_of_the_message(guest_side, host_side):
    guest_side.start(accept_and_receive_short, PORT, SEQPACKET)
    host_side.call(connect_and_send_two, GUEST, PORT, SEQPACKET)
    assert guest_side.result() == [b"first", b"second"]
    host = host_side.start(accept_and_receive_short, PORT, SEQPACKET)
    guest_side.call(connect_and_send_two, HOST, PORT, SEQPACKET)
    assert host.result() == [b"first", b"second"]


def connect_to_the_other_type(cid, port):
    sock = socket.socket(socket.AF_VSOCK, socket.SOCK_SEQPACKET)
    sock.settimeout(5)
    number = errno_of(sock.connect, (cid, port))
    sock.close()
    return number


def listen_until_told(port):
    listener = listen(port)
    print("listening")
    listener.settimeout(15)
    sock, _ = listener.accept()
    sock.close()
    listener.close()


def connect_once(cid, port):
    dial(cid, port).close()


def test_stream_listener_resets_a_seqpacket_client(guest_side, host_side):
    guest_side.start(listen_until_told, PORT)
    guest_side.expect("listening")
    assert host_side.call(connect_to_the_other_type, GUEST, PORT) == errno.ECONNRESET
    host_side.call(connect_once, GUEST, PORT)
    guest_side.result()


def connect_and_send_too_much(cid, port, kind, length):
    sock = dial(cid, port, kind)
    number = errno_of(sock.send, bytes(length))
    sock.close()
    return number


def test_message_beyond_the_buffer_is_refused_whole(guest_side, host_side):
    host = host_side.start(accept_and_receive_messages, PORT, SEQPACKET)
    number = guest_side.call(connect_and_send_too_much, HOST, PORT, SEQPACKET, 262_145)
    assert number == errno.EMSGSIZE
    assert host.result() == []
