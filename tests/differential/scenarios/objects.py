# SPDX-License-Identifier: MIT
"""Sockets as objects: with, detach, files, attributes, the default time-out, names of ends."""


def alone_with(port):
    with made() as sock:
        sock.bind((ANY, port))
        print(sock.fileno() >= 0)
    print(sock.fileno())
    with made() as sock:
        tell("bound again", sock.bind, (ANY, port))


def alone_attributes(port):
    for name, kind in KINDS:
        sock = made(kind)
        print(name, sock.family == 40, sock.type == kind, sock.proto)
        sock.setblocking(False)
        print(sock.type == kind, sock.gettimeout())


def alone_names(port):
    one, other = pair(port)
    print(one.getpeername() == (1, port), other.getsockname() == (1, port))
    print(one.getsockname()[1] == other.getpeername()[1], other.getpeername()[0])
    listener = listening(port + 1)
    print(listener.getsockname() == (ANY, port + 1))
    tell("peer", listener.getpeername)
    print(made().getsockname() == (ANY, ANY))


def alone_default_time_out(port):
    socket.setdefaulttimeout(0.05)
    sock = socket.socket(socket.AF_VSOCK, STREAM)
    print(sock.gettimeout(), socket.getdefaulttimeout())
    sock.bind((ANY, port))
    sock.listen(1)
    tell("accept", sock.accept)
    dialled(1, port)
    end, _ = sock.accept()
    print(end.gettimeout())
    socket.setdefaulttimeout(None)
    print(socket.socket(socket.AF_VSOCK, STREAM).gettimeout())
    tell("negative", socket.setdefaulttimeout, -1)


def alone_accepted_ones_block(port):
    listener = listening(port)
    listener.setblocking(False)
    tell("nobody", listener.accept)
    keep(dialled(1, port))
    settle()
    end, address = listener.accept()
    print(end.gettimeout(), end.getblocking(), address[0], end.type == STREAM)


def alone_detach(port):
    one, other = pair(port)
    number = one.detach()
    print(number >= 0, one.fileno(), one.detach())
    tell("send", one.send, b"x")
    tell("peer", other.recv, 1, socket.MSG_DONTWAIT)


def alone_lines(port):
    one, other = pair(port)
    one.sendall(b"first\nsecond\nrest")
    one.close()
    with other.makefile("rb") as file:
        print(file.readline(), file.read(3), file.readline(), file.read())
    tell("still open", other.recv, 1)


def alone_text_file(port):
    one, other = pair(port)
    with one.makefile("w") as file:
        file.write("words\n")
        file.flush()
    tell("recv", other.recv, 10)
    tell("open", one.send, b"x")


def alone_written_file(port):
    one, other = pair(port)
    file = one.makefile("wb")
    print(file.write(b"abc"))
    file.flush()
    tell("recv", other.recv, 10)
    one.close()
    tell("the file keeps it", lambda: (file.write(b"d"), file.flush()))
    tell("recv", other.recv, 10, socket.MSG_DONTWAIT)
    file.close()
    settle()
    tell("end", other.recv, 10)


def alone_closed_twice(port):
    one, other = pair(port)
    tell("close", one.close)
    tell("close", one.close)
    settle()
    tell("other", other.recv, 1)


def alone_garbage(port):
    import gc

    one, other = pair(port)
    one.send(b"left")
    one = None
    gc.collect()
    settle()
    tell("recv", other.recv, 10)


def alone_equal_and_hashed(port):
    one, other = made(), made()
    print(one == one, one == other, len({one, other}), one in [other])


def alone_clock_is_finer_than_a_second(port):
    settle()
    print(any(time.time() % 1 for _ in range(5)))
