# SPDX-License-Identifier: MIT
"""Small servers and clients as Linux users write them."""


def alone_echo_until_the_end(port):
    with listening(port) as server:
        client = dialled(1, port)
        conn, peer = server.accept()
        with conn:
            print(peer[0], peer == client.getsockname() or peer[1] == client.getsockname()[1])
            for word in (b"one", b"two", b"three"):
                client.sendall(word)
                conn.sendall(conn.recv(100))
                print(client.recv(100))
            client.shutdown(socket.SHUT_WR)
            print(conn.recv(100))
        print(client.recv(100))
        client.close()


def _exactly(sock, count):
    parts = []
    while count:
        part = sock.recv(min(count, 1000))
        if not part:
            raise EOFError("%d bytes are missing" % count)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def alone_framed_messages(port):
    one, other = pair(port)
    for data in (b"", b"x", bytes(5000)):
        one.sendall(struct.pack(">I", len(data)) + data)
    one.close()
    try:
        while True:
            (size,) = struct.unpack(">I", _exactly(other, 4))
            print(size, len(_exactly(other, size)))
    except EOFError as failure:
        print("EOFError", failure)


def alone_into_slices(port):
    one, other = pair(port)
    one.sendall(bytes(range(100)))
    buffer = bytearray(100)
    view, got = memoryview(buffer), 0
    while got < len(buffer):
        count = other.recv_into(view[got:], min(30, len(view) - got))
        got += count
        print(count, end=" ")
    print(buffer == bytes(range(100)))


def alone_slices_sent(port):
    one, other = pair(port)
    data = memoryview(bytes(range(256)) * 40)
    while data:
        data = data[one.send(data[:3000]) :]
    one.close()
    pieces = list(iter(lambda: other.recv(4096), b""))
    print(sum(len(piece) for piece in pieces), b"".join(pieces) == bytes(range(256)) * 40)


def alone_more_than_a_window(port):
    one, other = pair(port)
    one.setblocking(False)
    data, sent, got = bytes(700000), 0, 0
    while got < len(data):
        try:
            sent += one.send(data[sent : sent + 50000]) if sent < len(data) else 0
        except BlockingIOError:
            pass
        got += len(other.recv(65536))
    print(sent, got)


def alone_accept_without_waiting(port):
    server = listening(port)
    server.setblocking(False)
    tries = 0
    client = None
    while True:
        try:
            conn, _ = server.accept()
            break
        except BlockingIOError:
            tries += 1
            client = client or dialled(1, port)
    print(tries >= 1, conn.getblocking(), conn.gettimeout())


def alone_retry_until_it_listens(port):
    server, tries = None, 0
    while True:
        client = made()
        try:
            client.connect((1, port))
            break
        except ConnectionResetError:
            client.close()
            tries += 1
            if tries == 3:
                server = listening(port)
    print(tries, server.accept()[0].getpeername() == client.getsockname())


def alone_connect_ex_codes(port):
    tell("nobody", made().connect_ex, (1, port))
    server = listening(port)
    sock = made()
    tell("listening", sock.connect_ex, (1, port))
    tell("again", sock.connect_ex, (1, port))
    server.close()
    sock.close()
    tell("closed", sock.connect_ex, (1, port))


def alone_connect_without_waiting(port):
    server = listening(port)
    sock = made()
    sock.setblocking(False)
    result = sock.connect_ex((1, port))
    print(result == errno.EINPROGRESS or result == 0)
    _, writable, _ = select.select([], [sock], [], 1)
    print(writable == [sock], sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    conn, _ = server.accept()
    print(sock.getpeername() == conn.getsockname() or sock.getpeername()[1] == port)


def alone_connect_without_waiting_fails(port):
    sock = made()
    sock.setblocking(False)
    print(errno.errorcode[sock.connect_ex((1, port))])
    poller = select.poll()
    poller.register(sock, select.POLLOUT)
    print([hex(events) for _, events in poller.poll(1000)])
    print(errno.errorcode[sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)])
    print(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def alone_ports_by_the_system(port):
    first, second = made(), made()
    first.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
    second.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
    cid, number = first.getsockname()
    print(cid == socket.VMADDR_CID_ANY, number > 1023, number != second.getsockname()[1])
    first.listen()
    client = dialled(1, number)
    print(client.getpeername() == (1, number), client.getsockname()[1] > 1023)


def alone_option_before_bind(port):
    for _ in range(3):
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((socket.VMADDR_CID_ANY, port))
            server.listen()
            client = dialled(1, port)
            server.accept()[0].close()
            client.close()
    print("three times")


def alone_taken(port):
    first = listening(port)
    second = made()
    try:
        second.bind((socket.VMADDR_CID_ANY, port))
    except OSError as failure:
        print(failure.errno == errno.EADDRINUSE, type(failure).__name__)
    first.close()
    second.bind((socket.VMADDR_CID_ANY, port))
    print("bound")


def alone_many_clients(port):
    server = listening(port, backlog=8)
    clients = [dialled(1, port) for _ in range(8)]
    served = [accepted(server) for _ in clients]
    for number, client in enumerate(clients):
        client.sendall(bytes([number]) * number)
        client.close()
    for conn in served:
        print(conn.recv(10), conn.recv(10))


def alone_client_gone_before_accept(port):
    server = listening(port)
    client = dialled(1, port)
    client.sendall(b"left")
    client.close()
    conn, address = server.accept()
    print(address[0], conn.recv(10), conn.recv(10))
    tell("send", conn.send, b"x")
    print(conn.getpeername() == address)


def alone_line_buffer(port):
    one, other = pair(port)
    rest = b""
    for piece in (b"a\nb", b"c\n", b"\nlong", b" line\nend"):
        one.sendall(piece)
        rest += other.recv(100)
        while b"\n" in rest:
            line, _, rest = rest.partition(b"\n")
            print(line)
    print("rest", rest)


def alone_half_closed_request(port):
    one, other = pair(port)
    one.sendall(b"request")
    one.shutdown(socket.SHUT_WR)
    request = b"".join(iter(lambda: other.recv(3), b""))
    other.sendall(request.upper())
    other.close()
    print(b"".join(iter(lambda: one.recv(3), b"")))
    tell("again", one.shutdown, socket.SHUT_WR)
    tell("send", one.send, b"x")


def alone_orders_of_shutdown(port):
    for number, orders in enumerate(
        (
            (socket.SHUT_RD, socket.SHUT_WR),
            (socket.SHUT_WR, socket.SHUT_RD),
            (socket.SHUT_RDWR,),
            (socket.SHUT_RDWR, socket.SHUT_RDWR),
        )
    ):
        one, other = pair(port + number % 3)
        other.sendall(b"unread")
        for how in orders:
            tell(how, one.shutdown, how)
            tell("recv", one.recv, 10)
            tell("send", one.send, b"x")
            tell("other sends", other.send, b"y")
        one.close()
        settle()
        tell("other", other.recv, 10)
        other.close()
        settle()


def alone_peek_then_read(port):
    one, other = pair(port)
    one.sendall(b"GET /\n")
    print(other.recv(3, socket.MSG_PEEK), other.recv(100, socket.MSG_PEEK), other.recv(100))
    tell("nothing", other.recv, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)


def alone_all_of_it(port):
    one, other = pair(port)
    one.sendall(b"ab")
    one.sendall(b"cd")
    other.setblocking(True)
    print(other.recv(4, socket.MSG_WAITALL))


def alone_closed_while_it_is_polled(port):
    one, other = pair(port)
    other.close()
    settle()
    print(one.recv(1), one.recv(1))
    try:
        one.sendall(b"x")
    except BrokenPipeError as failure:
        print("BrokenPipeError", failure.errno)


def alone_try_finally(port):
    sock = None
    try:
        sock = made()
        sock.connect((1, port))
    except OSError as failure:
        print(errno.errorcode[failure.errno])
    finally:
        sock.close()
    print(sock.fileno())


def alone_seqpacket_server(port):
    one, other = pair(port, SEQPACKET)
    for message in (b"first", b"second", b""):
        tell("send", one.send, message)
    print(other.recv(100), other.recv(3))
    one.close()
    print(other.recv(100))
