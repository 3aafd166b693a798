# SPDX-License-Identifier: MIT
"""Several connections between a guest and its host, and much data."""


def _summed(sock, count):
    total = number = 0
    while number < count:
        piece = sock.recv(65536)
        if not piece:
            break
        number += len(piece)
        total += sum(piece)
    return number, total


def guest_much_to_the_host(cid, port, meet):
    meet()
    sock = dialled(cid, port + 2)
    sock.sendall(bytes(range(256)) * 4096)
    sock.shutdown(socket.SHUT_WR)
    tell("answer", sock.recv, 10)


def host_much_to_the_host(cid, port, meet):
    listener = listening(port + 2)
    meet()
    sock = accepted(listener)
    print(_summed(sock, 1 << 20), sock.recv(1))
    sock.send(b"done")


def guest_much_to_the_guest(cid, port, meet):
    listener = listening(port + 2)
    meet()
    sock = accepted(listener)
    print(_summed(sock, 1 << 20), sock.recv(1))
    sock.send(b"done")


def host_much_to_the_guest(cid, port, meet):
    meet()
    sock = dialled(cid, port + 2)
    sock.sendall(bytes(range(256)) * 4096)
    sock.shutdown(socket.SHUT_WR)
    tell("answer", sock.recv, 10)


def guest_eight_at_once(cid, port, meet):
    meet()
    socks = [dialled(cid, port + 2) for _ in range(8)]
    for number, sock in enumerate(socks):
        sock.send(bytes([number]) * (number + 1))
    print([sock.recv(100) for sock in socks])


def host_eight_at_once(cid, port, meet):
    listener = listening(port + 2, backlog=8)
    meet()
    socks = [accepted(listener) for _ in range(8)]
    for sock in socks:
        data = sock.recv(100)
        print(data)
        sock.send(data + b"!")
    settle()


def guest_called_eight_times(cid, port, meet):
    listener = listening(port + 2, backlog=8)
    meet()
    socks = [accepted(listener) for _ in range(8)]
    for sock in reversed(socks):
        sock.send(sock.recv(100) + b"!")
    meet()


def host_called_eight_times(cid, port, meet):
    meet()
    socks = [dialled(cid, port + 2) for _ in range(8)]
    for number, sock in enumerate(socks):
        sock.send(bytes([number]))
    print([sock.recv(100) for sock in socks])
    meet()


def guest_twenty_one_after_the_other(cid, port, meet):
    meet()
    for number in range(20):
        sock = dialled(cid, port + 2)
        sock.send(bytes([number]))
        print(sock.recv(10), sock.recv(10))
        sock.close()


def host_twenty_one_after_the_other(cid, port, meet):
    listener = listening(port + 2)
    meet()
    for _ in range(20):
        sock = accepted(listener)
        print(sock.recv(10))
        sock.send(b"ok")
        sock.close()


def guest_back_and_forth(cid, port, meet):
    meet()
    sock = dialled(cid, port + 2)
    for size in (1, 2, 100, 4096, 65536, 100000):
        sock.sendall(bytes(size))
        print(size, drained(sock, size))


def host_back_and_forth(cid, port, meet):
    listener = listening(port + 2)
    meet()
    sock = accepted(listener)
    for size in (1, 2, 100, 4096, 65536, 100000):
        print(size, drained(sock, size))
        sock.sendall(bytes(size))
    settle()


def guest_messages_keep_their_borders(cid, port, meet):
    meet()
    sock = dialled(cid, port + 2, SEQPACKET)
    for size in (1, 4096, 65536, 65537, 200000):
        print(size, sock.send(bytes(size)))
    print(sock.recv(10))


def host_messages_keep_their_borders(cid, port, meet):
    listener = listening(port + 2, SEQPACKET)
    meet()
    sock = accepted(listener)
    for _ in range(5):
        print(len(sock.recv(300000)))
    sock.send(b"thanks")
    settle()


def guest_gets_messages(cid, port, meet):
    listener = listening(port + 2, SEQPACKET)
    meet()
    sock = accepted(listener)
    for size in (10, 10, 100000, 300000):
        data, ancillary, flags, _ = sock.recvmsg(size)
        print(len(data), ancillary, flags)


def host_gets_messages(cid, port, meet):
    meet()
    sock = dialled(cid, port + 2, SEQPACKET)
    for size in (5, 50, 100000, 200000):
        print(sock.send(bytes(size)))
    settle()


def guest_fills_the_host(cid, port, meet):
    meet()
    sock = dialled(cid, port + 2)
    print(filled(sock), polled(sock))
    meet()
    meet()
    print(polled(sock))
    meet()  # the other end stays until then
    sock.close()


def host_fills_the_host(cid, port, meet):
    listener = listening(port + 2)
    meet()
    sock = accepted(listener)
    meet()
    print(drained(sock, 262144), polled(sock))
    settle()
    meet()
    meet()


def guest_is_filled(cid, port, meet):
    listener = listening(port + 2)
    meet()
    sock = accepted(listener)
    meet()
    print(drained(sock, 262144), polled(sock))
    settle()
    meet()
    meet()


def host_is_filled(cid, port, meet):
    meet()
    sock = dialled(cid, port + 2)
    print(filled(sock), polled(sock))
    meet()
    meet()
    print(polled(sock))
    meet()  # the other end stays until then
    sock.close()


def guest_selects_among_many(cid, port, meet):
    meet()
    socks = [dialled(cid, port + 2) for _ in range(4)]
    meet()
    meet()
    ready = select.select(socks, [], [], 2)[0]
    print(sorted(socks.index(each) for each in ready))
    print([each.recv(10) for each in ready])


def host_selects_among_many(cid, port, meet):
    listener = listening(port + 2, backlog=4)
    meet()
    socks = [accepted(listener) for _ in range(4)]
    meet()
    socks[1].send(b"one")
    socks[3].send(b"three")
    settle()
    meet()
    settle()


def guest_answers_whoever_calls(cid, port, meet):
    listener = listening(port + 2, backlog=8)
    meet()
    for _ in range(3):
        with accepted(listener) as sock:
            while True:
                data = sock.recv(100)
                if not data:
                    break
                sock.send(data)
        print("served")


def host_answers_whoever_calls(cid, port, meet):
    meet()
    for number in range(3):
        with dialled(cid, port + 2) as sock:
            sock.send(b"call %d" % number)
            print(sock.recv(100))
            sock.shutdown(socket.SHUT_WR)
            print(sock.recv(100))
