# SPDX-License-Identifier: MIT
"""OSError's subclasses where a script catches them, as builtins without an import."""


def alone_nothing_there(port):
    one, _ = pair(port)
    one.setblocking(False)
    try:
        one.recv(1)
    except BlockingIOError as failure:
        print("BlockingIOError", failure.errno == errno.EAGAIN)


def alone_timed_out(port):
    one, _ = pair(port)
    one.settimeout(0.05)
    try:
        one.recv(1)
    except TimeoutError as failure:
        print("TimeoutError", str(failure), failure.errno)
    try:
        one.recv(1)
    except OSError as failure:
        print(isinstance(failure, TimeoutError), socket.timeout is TimeoutError, failure.args)


def alone_refused(port):
    try:
        made().connect((1, port))
    except ConnectionRefusedError:
        print("ConnectionRefusedError")
    except ConnectionResetError as failure:
        print("ConnectionResetError", failure.errno == errno.ECONNRESET)


def alone_broken_pipe(port):
    one, other = pair(port)
    other.close()
    settle()
    try:
        one.send(b"x")
    except BrokenPipeError as failure:
        print("BrokenPipeError", isinstance(failure, ConnectionError), failure.errno)


def alone_in_progress(port):
    listener = listening(port)
    sock = made()
    sock.setblocking(False)
    try:
        sock.connect((1, port))
    except BlockingIOError as failure:
        print("BlockingIOError", failure.errno == errno.EINPROGRESS)
    settle()
    accepted(listener)
    tell("again", sock.connect, (1, port))


def alone_not_connected(port):
    try:
        made().send(b"x")
    except ConnectionError:
        print("ConnectionError")
    except OSError as failure:
        print("OSError", type(failure) is OSError, failure.errno == errno.ENOTCONN)


def alone_closed(port):
    sock = made()
    sock.close()
    for call, *arguments in (("send", b"x"), ("recv", 1), ("accept",), ("listen", 1)):
        tell(call, getattr(sock, call), *arguments)
    tell("bind", sock.bind, (ANY, port))
    tell("option", sock.getsockopt, 1, 4)
    tell("again", sock.close)
    print(sock.fileno())


def alone_made_by_number(port):
    for number in (4, 11, 32, 103, 104, 110, 111, 115, 107):
        failure = OSError(number, "text")
        print(number, type(failure).__name__, failure.errno, failure.strerror)


def alone_made_by_name(port):
    for kind in (BrokenPipeError, ConnectionResetError, TimeoutError, InterruptedError):
        failure = kind(5, "text")
        print(type(failure).__name__, failure.errno, isinstance(failure, OSError))
        print(kind().args, kind("one").args)


def alone_seen_by_name(port):
    one, other = pair(port)
    one.close()
    settle()
    try:
        other.sendall(bytes(10))
    except (BrokenPipeError, ConnectionResetError):
        print("caught")
    finally:
        print("finally")
