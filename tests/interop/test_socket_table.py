# SPDX-License-Identifier: MIT
"""Each call of the BSD socket table, under its name there: the guest with a real host program."""

import errno
import socket
import struct
import time
from threading import Event

import pytest
from prelude import accept, dial, errno_of, listen, receive_all
from streams import answer_one, receive

GUEST, HOST = 33, 2
PORT = 7000


def echo_once(connection):
    connection.sendall(connection.recv(100))


def make_sockets():
    default = socket.socket()
    spelled = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM, 0, None)
    seqpacket = socket.socket(socket.AF_VSOCK, socket.SOCK_SEQPACKET)
    with socket.socket(type=socket.SOCK_STREAM, family=socket.AF_VSOCK) as named:
        facts = [(s.family, s.type, s.proto) for s in (default, spelled, seqpacket, named)]
        facts.append(named.getsockname())
    facts.append(errno_of(named.getsockname))  # closed by the with statement
    facts.append(errno_of(socket.socket, 2, socket.SOCK_STREAM))  # AF_INET
    facts.append(errno_of(socket.socket, socket.AF_VSOCK, 77))  # no type at all
    facts.append(errno_of(socket.socket, socket.AF_VSOCK, 3))  # SOCK_RAW
    facts.append(errno_of(socket.socket, socket.AF_VSOCK, socket.SOCK_DGRAM))
    return facts


def test_new_socket(guest_side):
    stream, seqpacket, any_ = (40, 1, 0), (40, 5, 0), 0xFFFFFFFF
    assert guest_side.call(make_sockets) == [
        *(stream, stream, seqpacket, stream),
        (any_, any_),
        errno.EBADF,
        errno.EAFNOSUPPORT,
        errno.EINVAL,
        errno.ESOCKTNOSUPPORT,
        errno.ENODEV,
    ]


def bind_in_all_ways(port):
    bound = socket.socket()
    bound.bind((socket.VMADDR_CID_ANY, port))
    own = socket.socket()
    own.bind((33, port + 1))
    automatic = socket.socket()
    automatic.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
    errors = [
        errno_of(bound.bind, (socket.VMADDR_CID_ANY, port + 2)),  # twice
        errno_of(socket.socket().bind, (socket.VMADDR_CID_ANY, port)),  # taken
        errno_of(socket.socket().bind, (12345, port + 3)),  # somebody else's CID
    ]
    names = bound.getsockname(), own.getsockname(), automatic.getsockname()
    print("bound")
    input()
    bound.listen()
    print("listening")
    sock, _ = bound.accept()
    return names, errors, sock.getsockname(), sock.recv(10)


def test_bind(guest_side, vsock):
    guest_side.start(bind_in_all_ways, PORT)
    guest_side.expect("bound")
    with pytest.raises(ConnectionError):
        vsock.dial_once(PORT)  # bound, but nobody listens yet
    guest_side.go_on()
    guest_side.expect("listening")
    with vsock.dial(PORT) as connection:
        connection.sendall(b"there")
        names, errors, accepted, data = guest_side.result()
    any_ = 0xFFFFFFFF
    assert names[:2] == ((any_, PORT), (GUEST, PORT + 1))
    assert names[2][0] == any_ and names[2][1] >= 1024
    assert errors == [errno.EINVAL, errno.EADDRINUSE, errno.EADDRNOTAVAIL]
    assert (accepted, data) == ((GUEST, PORT), b"there")


def listen_with_backlog(port):
    unbound = errno_of(socket.socket().listen)
    listener = listen(port)
    listener.listen(1)
    state = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    print("listening")
    input()
    waiting = [listener.accept()[0].recv(10) for _ in range(2)]
    listener.close()
    again = listen(port)
    again.close()
    return unbound, state, waiting


def test_listen(guest_side, vsock):
    with pytest.raises(ConnectionError):
        vsock.dial_once(PORT)
    guest_side.start(listen_with_backlog, PORT)
    guest_side.expect("listening")
    first, second = vsock.dial_once(PORT), vsock.dial_once(PORT)  # backlog + 1, nobody accepts
    with pytest.raises(ConnectionError):
        vsock.dial_once(PORT)
    first.sendall(b"first")
    second.sendall(b"second")
    guest_side.go_on()
    assert guest_side.result() == (errno.EINVAL, 1, [b"first", b"second"])
    with pytest.raises(ConnectionError):
        vsock.dial_once(PORT)
    first.close()
    second.close()


def accept_in_all_ways(port):
    not_listening = socket.socket()
    not_listening.bind((socket.VMADDR_CID_ANY, port + 1))
    errors = [errno_of(not_listening.accept)]
    listener = listen(port)
    listener.setblocking(False)
    errors.append(errno_of(listener.accept))
    listener.setblocking(True)
    print("listening")
    sock, peer = listener.accept()
    sock.sendall(sock.recv(10))
    facts = peer[0], peer == sock.getpeername(), sock.getsockname(), sock.gettimeout()
    sock.close()
    return errors, facts


def test_accept(guest_side, vsock):
    guest_side.start(accept_in_all_ways, PORT)
    guest_side.expect("listening")
    with vsock.dial(PORT) as connection:
        connection.sendall(b"back")
        assert receive(connection, 4) == b"back"
        errors, facts = guest_side.result()
    assert errors == [errno.EINVAL, errno.EAGAIN]
    assert facts == (HOST, True, (GUEST, PORT), None)


def connect_in_all_ways(cid, port):
    sock = socket.socket()
    unconnected = errno_of(sock.send, b"x"), errno_of(sock.recv, 1), errno_of(sock.getpeername)
    refused = errno_of(sock.connect, (cid, port + 1))
    sock.connect((cid, port))  # after a refusal a retry works
    again = errno_of(sock.connect, (cid, port))
    sock.sendall(b"hello")
    answer = sock.recv(10)
    names = sock.getpeername(), sock.getsockname()[0]
    sock.close()
    listener = listen(port + 2)
    return unconnected, refused, again, answer, names, errno_of(listener.connect, (cid, port))


def test_connect(guest_side, vsock, refusal):
    with vsock.listen(PORT) as listener:
        host = answer_one(listener, echo_once)
        outcome = guest_side.call(connect_in_all_ways, HOST, PORT)
        host.result()
    unconnected = errno.ENOTCONN, errno.ENOTCONN, errno.ENOTCONN
    assert outcome[:4] == (unconnected, refusal, errno.EISCONN, b"hello")
    assert outcome[4][0] == (HOST, PORT)
    assert outcome[4][1] in (GUEST, 0xFFFFFFFF)
    assert outcome[5] == errno.EINVAL


def shut_down(port):
    unconnected = errno_of(socket.socket().shutdown, socket.SHUT_WR)
    sock = accept(port)
    nonsense = errno_of(sock.shutdown, 3)
    first = sock.recv(10)
    sock.shutdown(socket.SHUT_RD)
    second = sock.recv(10)
    sock.sendall(b"the guest's last words")
    sock.shutdown(socket.SHUT_WR)
    return unconnected, nonsense, first, second, errno_of(sock.send, b"x")


def test_shutdown(guest_side, vsock):
    guest_side.start(shut_down, PORT)
    with vsock.dial(PORT) as connection:
        connection.sendall(b"one")
        assert receive_all(connection) == b"the guest's last words"
    results = guest_side.result()
    assert results == (errno.ENOTCONN, errno.EINVAL, b"one", b"", errno.EPIPE)


def shut_down_sending(cid, port):
    sock = dial(cid, port)
    sock.sendall(b"question")
    sock.shutdown(socket.SHUT_WR)
    answer = receive_all(sock)
    sock.close()
    return answer


def answer_after_the_end(connection):
    question = receive_all(connection)
    connection.sendall(b"answer to " + question)


@pytest.mark.needs("half-close")
def test_shutdown_of_one_direction_leaves_the_other(guest_side, vsock):
    with vsock.listen(PORT) as listener:
        host = answer_one(listener, answer_after_the_end)
        assert guest_side.call(shut_down_sending, HOST, PORT) == b"answer to question"
        host.result()


def send_in_all_ways(cid, port):
    sock = dial(cid, port)
    counts = [sock.send(b"bytes "), sock.send(bytearray(b"bytearray "))]
    counts.append(sock.send(memoryview(b"--memoryview--")[2:-2]))
    counts.append(sock.send(b""))
    counts.append(sock.send(b"flags ", socket.MSG_NOSIGNAL))
    counts.append(sock.sendall(b"all "))
    sock.setblocking(False)
    total = 0
    try:
        while True:
            total += sock.send(b"x" * 100000)
    except OSError as error:
        full = error.errno
    sock.setblocking(True)
    oob = errno_of(sock.send, b"x", socket.MSG_OOB)
    sock.close()
    return counts, total, full, oob


def wait_then_receive(connection, release):
    release.wait(30)
    return receive_all(connection)


def test_send(guest_side, vsock):
    release = Event()
    with vsock.listen(PORT) as listener:
        host = answer_one(listener, wait_then_receive, release)
        guest_side.start(send_in_all_ways, HOST, PORT)
        counts, total, full, oob = guest_side.result()
        release.set()
        received = host.result()
    assert counts == [6, 10, 10, 0, 6, None]
    assert (full, oob) == (errno.EAGAIN, errno.EOPNOTSUPP)
    assert received == b"bytes bytearray memoryviewflags all " + b"x" * total


def receive_in_all_ways(port):
    sock = accept(port)
    parts = [sock.recv(3), sock.recv(4, socket.MSG_PEEK), sock.recv(4)]
    buffer = bytearray(b"----------")
    parts += [sock.recv_into(memoryview(buffer)[2:], 3), bytes(buffer)]
    parts += [sock.recvfrom(2)]
    # A time-out makes the descriptor one that does not block: MSG_WAITALL would then take what
    # is there, and a call with MSG_DONTWAIT would wait for its first byte.
    sock.settimeout(None)
    parts += [sock.recv(9, socket.MSG_WAITALL), sock.recv(0)]
    print("read")
    parts += [errno_of(sock.recv, 1, socket.MSG_DONTWAIT), sock.recv(10), sock.recv(10)]
    return parts


def test_recv(guest_side, vsock):
    guest_side.start(receive_in_all_ways, PORT)
    with vsock.dial(PORT) as connection:
        connection.sendall(b"oneFOURfiveto")
        connection.sendall(b"wait")
        connection.sendall(b"more")
        guest_side.expect("read")
        time.sleep(0.3)
        connection.sendall(b"last")
    parts = guest_side.result()
    assert parts[:3] == [b"one", b"FOUR", b"FOUR"]
    assert parts[3:5] == [3, b"--fiv-----"]
    assert parts[5:8] == [(b"et", None), b"owaitmore", b""]
    assert parts[8:] == [errno.EAGAIN, b"last", b""]


def get_options(cid, port):
    sock = dial(cid, port)
    listener = listen(port + 1)
    level, vm = socket.SOL_SOCKET, socket.AF_VSOCK
    values = [sock.getsockopt(level, socket.SO_TYPE), sock.getsockopt(level, socket.SO_ERROR)]
    values += [s.getsockopt(level, socket.SO_ACCEPTCONN) for s in (sock, listener)]
    values += [sock.getsockopt(level, socket.SO_RCVLOWAT)]
    values += [sock.getsockopt(level, socket.SO_TYPE, 4)]
    values += [
        sock.getsockopt(vm, option, 8)
        for option in (
            socket.SO_VM_SOCKETS_BUFFER_SIZE,
            socket.SO_VM_SOCKETS_BUFFER_MIN_SIZE,
            socket.SO_VM_SOCKETS_BUFFER_MAX_SIZE,
        )
    ]
    values += [sock.getsockopt(vm, socket.SO_VM_SOCKETS_CONNECT_TIMEOUT, 16)]
    values += [errno_of(sock.getsockopt, level, 9999), errno_of(sock.getsockopt, 77, 0)]
    sock.close()
    return values


def test_getsockopt(guest_side, vsock):
    with vsock.listen(PORT) as listener:
        host = answer_one(listener, receive_all)
        values = guest_side.call(get_options, HOST, PORT)
        host.result()
    assert values == [
        *(1, 0, 0, 1, 1, struct.pack("<i", 1)),
        *(struct.pack("<Q", size) for size in (262144, 128, 262144)),
        struct.pack("<qq", 2, 0),
        *(errno.ENOPROTOOPT, errno.ENOPROTOOPT),
    ]


def set_options(port):
    import struct

    level, vm = socket.SOL_SOCKET, socket.AF_VSOCK
    size, least, most = 0, 1, 2  # SO_VM_SOCKETS_BUFFER_...
    listener = listen(port)
    values = []
    for option, value in ((size, 1 << 30), (most, 1 << 20), (size, 1 << 30), (least, 4096)):
        listener.setsockopt(vm, option, struct.pack("<Q", value))
        values.append(struct.unpack("<Q", listener.getsockopt(vm, size, 8))[0])
    listener.setsockopt(vm, size, struct.pack("<Q", 1))
    sock, _ = listener.accept()
    values += [struct.unpack("<Q", sock.getsockopt(vm, n, 8))[0] for n in (size, least, most)]
    sock.setsockopt(level, socket.SO_RCVLOWAT, 10)
    values.append(sock.getsockopt(level, socket.SO_RCVLOWAT))
    sock.setsockopt(level, socket.SO_REUSEADDR, 1)
    print("mark set")
    data = sock.recv(100)  # waits for ten bytes
    errors = [
        errno_of(sock.setsockopt, level, 9999, 1),
        errno_of(sock.setsockopt, 77, 0, 1),
        errno_of(sock.setsockopt, vm, size, b"\0"),
    ]
    return values, data, errors


def test_setsockopt(guest_side, vsock):
    guest_side.start(set_options, PORT)
    with vsock.dial(PORT) as connection:
        connection.sendall(b"1234")
        guest_side.expect("mark set")
        connection.sendall(b"567890")
        values, data, errors = guest_side.result()
    assert values[:4] == [262144, 262144, 1 << 20, 1 << 20]
    assert values[4:] == [4096, 4096, 1 << 20, 10]
    assert data == b"1234567890"
    assert errors == [errno.ENOPROTOOPT, errno.ENOPROTOOPT, errno.EINVAL]


def send_words(cid, port):
    sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    sock.connect((cid, port))
    sent = sock.send(b"hello from the guest")
    sock.shutdown(socket.SHUT_RDWR)
    sock.close()
    return sent


def receive_words(port):
    listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    listener.bind((socket.VMADDR_CID_ANY, port))
    listener.listen(1)
    sock, peer = listener.accept()
    words = sock.recv(100)
    sock.close()
    listener.close()
    return peer[0], words


def test_rust_firmware_scenario_client(guest_side, vsock):
    with vsock.listen(1234) as listener:
        host = answer_one(listener, receive_all)
        assert guest_side.call(send_words, HOST, 1234) == 20
        assert host.result() == b"hello from the guest"


def test_rust_firmware_scenario_server(guest_side, vsock):
    guest_side.start(receive_words, 1234)
    with vsock.dial(1234) as connection:
        connection.sendall(b"hello from the host")
        assert guest_side.result() == (HOST, b"hello from the host")
