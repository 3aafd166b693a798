# SPDX-License-Identifier: MIT
"""How errors, constants and sockets show themselves to a program."""


def alone_classes_of_errors(port):
    for kind in (
        BlockingIOError,
        BrokenPipeError,
        ConnectionAbortedError,
        ConnectionError,
        ConnectionRefusedError,
        ConnectionResetError,
        InterruptedError,
        PermissionError,
        TimeoutError,
    ):
        print(kind.__name__, issubclass(kind, OSError), issubclass(kind, ConnectionError))
    print(socket.error is OSError, socket.timeout is TimeoutError, IOError is OSError)
    print(issubclass(socket.gaierror, OSError), issubclass(socket.herror, OSError))


def alone_shown_errors(port):
    for failure in (
        OSError("x"),
        OSError(),
        OSError(5, "text"),
        TimeoutError("timed out"),
        ConnectionResetError("gone"),
        RuntimeError(1, 2),
        EOFError(),
    ):
        print(repr(failure), failure.args)
    print(str(OSError("x")), repr(str(OSError())), str(ValueError("v")))


def alone_shown_time_out(port):
    one, _ = pair(port)
    one.settimeout(0.01)
    try:
        one.recv(1)
    except socket.timeout as failure:
        print(repr(failure), failure, failure.errno, failure.strerror, failure.args)


def alone_numbers_of_errors(port):
    one, other = pair(port)
    other.close()
    settle()
    try:
        one.send(b"x")
    except socket.error as failure:
        number, text = failure.args
        print(number == errno.EPIPE, failure.args[0] == failure.errno, type(text).__name__)
        print(text == failure.strerror)


def alone_texts_of_errors(port):
    import os

    for number in (errno.EPIPE, errno.ECONNRESET, errno.EAGAIN, errno.EINVAL, errno.ENOTCONN):
        print(os.strerror(number))
    print(os.strerror(0), os.strerror(99999))


def alone_names_of_numbers(port):
    for name in (
        "EPERM ENOENT EINTR EIO EBADF EAGAIN EWOULDBLOCK ENOMEM EACCES EEXIST ENODEV "
        "EINVAL ENFILE EMFILE ENOTTY EFBIG ENOSPC ESPIPE EPIPE EDOM ERANGE ENAMETOOLONG ENOSYS "
        "ELOOP EPROTO EOVERFLOW ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT "
        "EPROTONOSUPPORT ESOCKTNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL "
        "ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN "
        "ESHUTDOWN ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ECANCELED"
    ).split():
        number = getattr(errno, name, None)
        print(name, number, errno.errorcode.get(number))


def alone_constants(port):
    for name in (
        "AF_VSOCK AF_INET AF_INET6 AF_UNIX SOCK_STREAM SOCK_DGRAM SOCK_SEQPACKET SOCK_RAW "
        "SOCK_NONBLOCK SOCK_CLOEXEC SOL_SOCKET SO_ERROR SO_TYPE SO_REUSEADDR SO_REUSEPORT "
        "SO_LINGER SO_RCVBUF SO_SNDBUF SO_RCVTIMEO SO_SNDTIMEO SO_RCVLOWAT SO_KEEPALIVE "
        "SO_DOMAIN SO_PROTOCOL SO_ACCEPTCONN MSG_PEEK MSG_WAITALL MSG_DONTWAIT MSG_NOSIGNAL "
        "MSG_TRUNC MSG_EOR MSG_OOB MSG_MORE MSG_CTRUNC SHUT_RD SHUT_WR SHUT_RDWR SOMAXCONN "
        "VMADDR_CID_ANY VMADDR_CID_HOST VMADDR_PORT_ANY SO_VM_SOCKETS_BUFFER_SIZE "
        "SO_VM_SOCKETS_BUFFER_MIN_SIZE SO_VM_SOCKETS_BUFFER_MAX_SIZE VM_SOCKETS_INVALID_VERSION"
    ).split():
        value = getattr(socket, name, None)
        print(name, None if value is None else int(value))


def alone_shown_constants(port):
    print(socket.AF_VSOCK, socket.SOCK_STREAM, socket.MSG_PEEK, socket.SHUT_RD)
    print("%d %s" % (socket.AF_VSOCK, socket.SOCK_SEQPACKET), "{}".format(socket.AF_VSOCK))
    sock = made()
    print(sock.family, sock.type, sock.proto, sock.family == 40, sock.type | 0)


def _shown(sock):
    text = repr(sock)
    before, found, rest = text.partition("fd=")  # its number is each system's own
    return before + found + ("-1" if rest.startswith("-") else "N") + rest[rest.find(",") :]


def alone_shown_sockets(port):
    sock = made()
    print(_shown(sock))
    sock.bind((socket.VMADDR_CID_ANY, port))
    print(_shown(sock).replace(str(port), "P"))
    sock.listen()
    print(_shown(sock).replace(str(port), "P"))
    client = dialled(1, port)
    end = accepted(sock)
    number = str(client.getsockname()[1])
    print(_shown(end).replace(str(port), "P").replace(number, "Q"))
    print(_shown(client).replace(str(port), "P").replace(number, "Q"))
    client.close()
    print(_shown(client))
    print(repr(end) == str(end), _shown(made(SEQPACKET)))


def alone_types_of_sockets(port):
    sock = made()
    print(isinstance(sock, socket.socket), socket.SocketType is not None)
    print(type(sock).__name__, type(sock) is socket.socket, callable(socket.socket))
    print(sock == sock, sock != made(), bool(sock), hash(sock) == hash(sock))


class _Talking(socket.socket):
    """A program's own kind of socket."""

    def say(self, text):
        """Send a line."""
        self.sendall(text.encode() + b"\n")


def alone_subclass(port):
    server = listening(port)
    with _Talking(socket.AF_VSOCK, socket.SOCK_STREAM) as client:
        client.connect((1, port))
        client.say("hello")
        print(accepted(server).recv(100), isinstance(client, socket.socket))


def alone_adopted(port):
    one, other = pair(port)
    number = one.detach()
    again = socket.socket(fileno=number)
    print(again.fileno() == number, again.family == socket.AF_VSOCK, again.type == STREAM)
    again.sendall(b"x")
    tell("recv", other.recv, 10)
    print(again.getpeername() == (1, port), again.gettimeout())
    again.close()
    settle()
    tell("end", other.recv, 10)
    tell("closed", socket.socket, socket.AF_VSOCK, STREAM, 0, 9999)


def alone_closed_by_number(port):
    one, other = pair(port)
    socket.close(one.detach())
    settle()
    tell("end", other.recv, 10)


def alone_default_arguments(port):
    sock = socket.socket(socket.AF_VSOCK)
    print(sock.type == socket.SOCK_STREAM, sock.proto, sock.gettimeout(), sock.getblocking())
    sock = socket.socket(family=socket.AF_VSOCK, type=socket.SOCK_SEQPACKET, proto=0)
    print(sock.type == socket.SOCK_SEQPACKET)
    tell("keyword", socket.socket, socket.AF_VSOCK, socket.SOCK_STREAM, 0, None, 5)


def alone_keywords(port):
    one, other = pair(port)
    tell("send", one.send, b"abcdefgh")
    buffer = bytearray(4)
    tell("recv_into", lambda: other.recv_into(buffer, nbytes=2))
    tell("recv_into", lambda: other.recv_into(buffer=buffer))
    tell("recvfrom_into", lambda: other.recvfrom_into(buffer, nbytes=1, flags=0))
    tell("recvmsg", other.recvmsg, 1)


def alone_attributes_that_are_there(port):
    sock = made()
    for name in (
        "accept bind close connect connect_ex detach family fileno get_inheritable getblocking "
        "getpeername getsockname getsockopt gettimeout listen makefile proto recv recv_into "
        "recvfrom recvfrom_into recvmsg recvmsg_into send sendall sendfile sendmsg sendto "
        "set_inheritable setblocking setsockopt settimeout share shutdown timeout type"
    ).split():
        print(name, hasattr(sock, name))


def alone_sendfile(port):
    import io

    one, other = pair(port)
    print(one.sendfile(io.BytesIO(b"0123456789")), other.recv(100))
    print(one.sendfile(io.BytesIO(b"0123456789"), 3, 4), other.recv(100))


def alone_ordered_numbers(port):
    print(socket.htons(1), socket.htonl(1), socket.ntohs(256), socket.ntohl(1 << 24))
    tell("large", socket.htons, 65536)
    tell("negative", socket.htons, -1)
    tell("huge", socket.htonl, 1 << 32)


def alone_options_as_numbers(port):
    sock = made()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    print(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) & 0xFFFFFFFF)
    print(sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) & 0xFFFFFFFF)
    print(sock.getsockopt(socket.AF_VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE))
    tell("true", sock.setsockopt, socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
    tell("none", sock.setsockopt, socket.SOL_SOCKET, socket.SO_REUSEADDR, None)
    tell("unknown", sock.setsockopt, 6, 1, 1)
