# SPDX-License-Identifier: MIT
"""Loops over select, poll and selectors as Linux users write them."""

import selectors


def alone_select_echo(port):
    server = listening(port)
    clients = [dialled(1, port) for _ in range(3)]
    inputs, echoed = [server], 0
    for number, client in enumerate(clients):
        client.sendall(b"hello %d" % number)
    while echoed < 3:
        readable, _, _ = select.select(inputs, [], [], 1)
        for sock in readable:
            if sock is server:
                conn, _ = sock.accept()
                inputs.append(conn)
            else:
                data = sock.recv(100)
                sock.sendall(data)
                inputs.remove(sock)
                echoed += 1
    print([client.recv(100) for client in clients])


def alone_select_by_numbers(port):
    one, other = pair(port)
    by_number = {each.fileno(): each for each in (one, other)}
    one.sendall(b"x")
    readable, writable, _ = select.select(list(by_number), list(by_number), [], 1)
    print([by_number[each] is other for each in readable], len(writable))


def alone_select_nothing(port):
    tell("none", select.select, [], [], [], 0)
    tell("short", select.select, [], [], [], 0.01)
    one, other = pair(port)
    tell("time", lambda: select.select([one], [], [], 0.02))
    tell("negative", select.select, [one], [], [], -1)
    tell("no list", select.select, 1, [], [], 0)
    tell("no socket", select.select, ["x"], [], [], 0)
    keep(other)


def alone_poll_loop(port):
    server = listening(port)
    poller = select.poll()
    poller.register(server, select.POLLIN)
    socks = {server.fileno(): server}
    client = dialled(1, port)
    client.sendall(b"ping")
    steps = []
    while len(steps) < 3:
        for number, event in poller.poll(1000):
            if socks[number] is server:
                conn, _ = server.accept()
                socks[conn.fileno()] = conn
                poller.register(conn, select.POLLIN)
                steps.append("accepted")
            elif event & select.POLLIN:
                data = socks[number].recv(100)
                steps.append(data)
                if data:
                    client.close()
                else:
                    poller.unregister(socks[number])
                    socks.pop(number).close()
    print(steps, len(socks))


def alone_poll_modified(port):
    one, other = pair(port)
    poller = select.poll()
    poller.register(one.fileno(), select.POLLIN | select.POLLOUT)
    print([(number == one.fileno(), event) for number, event in poller.poll(0)])
    poller.modify(one.fileno(), select.POLLIN)
    print(poller.poll(0))
    other.sendall(b"x")
    print([event for _, event in poller.poll(1000)])
    poller.unregister(one)
    print(poller.poll(0))
    tell("unknown", poller.unregister, one)
    tell("modify", poller.modify, one, 1)


def alone_poll_hangs_up(port):
    one, other = pair(port)
    poller = select.poll()
    poller.register(one)
    other.close()
    ((_, event),) = poller.poll(1000)
    settle()
    ((_, event),) = poller.poll(1000)
    print(bool(event & select.POLLIN), bool(event & select.POLLHUP), bool(event & select.POLLERR))


def alone_selector_echo(port):
    with selectors.DefaultSelector() as selector:
        server = listening(port)
        server.setblocking(False)
        done = []

        def accept(sock):
            conn, _ = sock.accept()
            conn.setblocking(False)
            selector.register(conn, selectors.EVENT_READ, read)

        def read(sock):
            data = sock.recv(100)
            if data:
                sock.sendall(data)
            else:
                selector.unregister(sock)
                sock.close()
                done.append(sock)

        selector.register(server, selectors.EVENT_READ, accept)
        client = dialled(1, port)
        client.sendall(b"through a selector")
        while not done:
            for key, mask in selector.select(1):
                print(mask, key.data.__name__)
                key.data(key.fileobj)
                if key.data is read and client.fileno() >= 0:
                    print(client.recv(100))
                    client.close()
        print(len(selector.get_map()))


def alone_selector_keys(port):
    one, other = pair(port)
    selector = selectors.SelectSelector()
    key = selector.register(one, selectors.EVENT_READ | selectors.EVENT_WRITE, "data")
    print(key.fileobj is one, key.fd == one.fileno(), key.events, key.data)
    print([(found.fileobj is one, mask) for found, mask in selector.select(0)])
    other.sendall(b"x")
    settle()
    print([mask for _, mask in selector.select(0.5)])
    key = selector.modify(one, selectors.EVENT_READ, None)
    print(key.events, key.data, selector.get_key(one) == key, one in selector.get_map())
    tell("twice", selector.register, one, selectors.EVENT_READ)
    tell("events", selector.register, other, 0)
    tell("unknown", selector.get_key, other)
    tell("no file", selector.register, "x", 1)
    print(selector.unregister(one) == key, len(selector.get_map()))
    tell("unregister", selector.unregister, one)
    selector.close()


def alone_selector_time_outs(port):
    one, _other = pair(port)
    for kind in (selectors.SelectSelector, selectors.PollSelector, selectors.DefaultSelector):
        selector = kind()
        selector.register(one, selectors.EVENT_READ)
        print(selector.select(0), selector.select(0.01), selector.select(-1))
        selector.close()


def alone_writable_again(port):
    one, other = pair(port)
    sent = filled(one)
    one.setblocking(False)
    print(sent, select.select([], [one], [], 0)[1] == [])
    got = drained(other, sent)
    print(got, select.select([], [one], [], 1)[1] == [one])


def alone_select_on_a_listener(port):
    server = listening(port)
    print(select.select([server], [server], [server], 0))
    client = dialled(1, port)
    print([len(each) for each in select.select([server], [server], [server], 1)])
    keep(client)


def alone_select_both_ends(port):
    one, other = pair(port)
    one.shutdown(socket.SHUT_WR)
    settle()
    for sock in (one, other):
        print([len(each) for each in select.select([sock], [sock], [sock], 0)], polled(sock))


def alone_pipeline(port):
    first, second = pair(port)
    third, fourth = pair(port + 1)
    first.sendall(b"a" * 1000 + b"b" * 1000)
    first.shutdown(socket.SHUT_WR)
    while select.select([second], [], [], 1)[0]:
        data = second.recv(300)
        if not data:
            break
        third.sendall(data)
    third.close()
    print(len(b"".join(iter(lambda: fourth.recv(512), b""))))


def alone_sets_of_sockets(port):
    one, other = pair(port)
    watched = {one, other}
    other.sendall(b"x")
    readable, _, _ = select.select(watched, (), (), 1)
    print([each in watched for each in readable], len(watched))
    watched.discard(one)
    print(len(watched), {one: 1}[one])


def alone_constants(port):
    print(select.POLLIN, select.POLLPRI, select.POLLOUT, select.POLLERR, select.POLLHUP)
    print(select.POLLNVAL, select.POLLRDNORM, select.POLLWRNORM, select.POLLRDHUP)
    print(selectors.EVENT_READ, selectors.EVENT_WRITE, select.error is OSError)
