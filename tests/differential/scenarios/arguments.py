# SPDX-License-Identifier: MIT
"""What CPython refuses by itself: wrong types, sizes, addresses."""

import array


def alone_send(port):
    one, other = pair(port)
    for data in ("text", None, 5, [1], 1.5, object()):
        tell("send", one.send, data)
        tell("sendall", one.sendall, data)
    tell("no argument", one.send)
    tell("flags", one.send, b"x", "y")
    tell("recv", other.recv, 10, socket.MSG_DONTWAIT)


def alone_recv(port):
    one, other = pair(port)
    one.send(b"0123456789")
    for size in (-1, "5", None, 2.0, b"1"):
        tell("recv", other.recv, size)
    tell("flags", other.recv, 3, "x")
    tell("no argument", other.recv)
    tell("recv", other.recv, 20)


def alone_recv_into(port):
    one, other = pair(port)
    one.send(b"0123456789")
    buffer = bytearray(4)
    tell("beyond", other.recv_into, buffer, 5)
    tell("negative", other.recv_into, buffer, -1)
    tell("bytes", other.recv_into, b"abcd")
    tell("str", other.recv_into, "abcd")
    tell("none", other.recv_into, None)
    tell("some", other.recv_into, buffer, 3)
    tell("zero is all", other.recv_into, buffer, 0)
    print(bytes(buffer))
    tell("an empty one", other.recv_into, bytearray())


def alone_connect_address(port):
    for address in (1, "1:2", (1,), (1, 2, 3), [1, port], ("1", port), (1, "2"), (1, None), None):
        tell("connect", made().connect, address)
        tell("connect_ex", made().connect_ex, address)


def alone_bind_address(port):
    for address in (1, (1,), (1, 2, 3), [ANY, port], ("", port), (ANY, b"2"), (1.0, port)):
        tell("bind", made().bind, address)
    tell("no argument", made().bind)


def alone_numbers_of_ports(port):
    for number in (-1, 1 << 32, (1 << 32) + port, -(1 << 31), 1 << 64, 1 << 31):
        sock = made()
        tell("bind", sock.bind, (ANY, number))
        if number > 0:
            tell("connect", made().connect, (1, number))


def alone_numbers_of_cids(port):
    for number in (-1, 1 << 32, (1 << 32) + 1, 1 << 64, -2):
        tell("bind", made().bind, (number, port))


def alone_backlogs(port):
    sock = made()
    sock.bind((ANY, port))
    for backlog in (0, -1, -(1 << 31), (1 << 31) - 1, 1 << 31, 1 << 64, "1", 1.0, None):
        tell("listen", sock.listen, backlog)
    tell("without", sock.listen)


def alone_time_outs(port):
    sock = made()
    for seconds in (-1, -0.001, "1", 1e300, float("nan"), 0, 0.0, 1, None, 1e-9, True):
        tell("settimeout", sock.settimeout, seconds)
        print(sock.gettimeout() is None, sock.getblocking())


def alone_blocking(port):
    sock = made()
    for flag in (True, False, 1, 0, None, 2):
        tell("setblocking", sock.setblocking, flag)
        print(sock.gettimeout(), sock.getblocking())


def alone_shutdown(port):
    one, _ = pair(port)
    for how in (-1, 3, 100, "1", None, 1.0):
        tell("shutdown", one.shutdown, how)
    tell("no argument", one.shutdown)
    tell("then", one.shutdown, 2)


def alone_options(port):
    sock = made()
    size = socket.SO_VM_SOCKETS_BUFFER_SIZE
    tell("str", sock.setsockopt, socket.AF_VSOCK, size, "x")
    tell("float", sock.setsockopt, socket.AF_VSOCK, size, 1.0)
    tell("two", sock.setsockopt, socket.AF_VSOCK, size)
    tell("beyond", sock.setsockopt, socket.AF_VSOCK, size, 1 << 64)
    tell("name", sock.getsockopt, socket.AF_VSOCK, "x")
    tell("level", sock.getsockopt, "x", 1)
    tell("one", sock.getsockopt, 1)
    tell("length", sock.getsockopt, socket.SOL_SOCKET, socket.SO_TYPE, -1)
    tell("long", sock.getsockopt, socket.SOL_SOCKET, socket.SO_TYPE, 2000)


def alone_what_can_be_sent(port):
    one, other = pair(port)
    numbers = array.array("H", [1, 2, 3])
    kept = bytearray(b"0123456789")
    for data in (numbers, kept, memoryview(kept), memoryview(kept)[2:5], memoryview(numbers)):
        tell("send", one.send, data)
        tell("recv", other.recv, 100)


def alone_what_can_be_received_into(port):
    one, other = pair(port)
    numbers = array.array("H", [0, 0, 0])
    kept = bytearray(10)
    for target in (numbers, kept, memoryview(kept)[2:5], memoryview(numbers)):
        one.send(b"abcdef")
        tell("recv_into", other.recv_into, target)
        tell("rest", other.recv, 100, socket.MSG_DONTWAIT)
    print(bytes(kept), list(numbers))


def alone_sendmsg(port):
    one, other = pair(port)
    for buffers in (
        b"abc",
        [],
        [b""],
        [b"a", bytearray(b"b"), memoryview(b"cd")],
        "abc",
        ["a"],
        5,
    ):
        tell("sendmsg", one.sendmsg, buffers)
    tell("tuple", one.sendmsg, (b"e", b"f"))
    tell("generator", one.sendmsg, (each for each in (b"g", b"h")))
    tell("flags", one.sendmsg, [b"i"], [], socket.MSG_DONTWAIT)
    tell("recv", other.recv, 100)


def alone_recvmsg(port):
    one, other = pair(port)
    one.send(b"0123456789")
    tell("negative", other.recvmsg, -1)
    tell("negative ancillary", other.recvmsg, 1, -1)
    tell("some", other.recvmsg, 3)
    tell("room", other.recvmsg, 3, 100)
    first, second = bytearray(2), bytearray(5)
    tell("into", other.recvmsg_into, [first, second])
    print(bytes(first), bytes(second))
    tell("into none", other.recvmsg_into, [])
    tell("into bytes", other.recvmsg_into, [b"ab"])


def alone_sendto(port):
    one, other = pair(port)
    tell("no address", one.sendto, b"x")
    tell("str", one.sendto, b"x", "y")
    tell("short", one.sendto, b"x", (1,))
    tell("connected", one.sendto, b"x", (1, port))
    tell("flags", one.sendto, b"x", 0, (1, port))
    tell("fresh", made().sendto, b"x", (1, port))
    tell("data", made().sendto, "x", (1, port))
    tell("recv", other.recv, 10, socket.MSG_DONTWAIT)


def alone_kinds(port):
    def made_of(*arguments):
        sock = socket.socket(*arguments)
        return int(sock.type), sock.proto, sock.family == socket.AF_VSOCK, sock.gettimeout()

    for arguments in (
        (40, 1, 0),
        (40, 5, 0),
        (40, 1, 40),
        (40, 1, 1),
        (40, 0),
        (40, 99),
        (40, -1),
    ):
        tell(arguments, lambda given=arguments: made_of(*given))
    for arguments in ((2000, 1), (40, 1 | 2048), (40, 1 | 524288), (40, 1 | 4096), (40, "1")):
        tell(arguments, lambda given=arguments: made_of(*given))
