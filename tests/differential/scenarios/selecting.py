# SPDX-License-Identifier: MIT
"""select.select and select.poll as objects: registering, modifying, several at once, time."""


def alone_select_of_many(port):
    pairs = [pair(port) for _ in range(3)]
    pairs[1][0].send(b"x")
    ends = [end for _, end in pairs]
    settle()
    ready = select.select(ends, [], [], 0)
    print([[ends.index(each) for each in kind] for kind in ready])
    ready = select.select(ends, ends, ends, 0)
    print([[ends.index(each) for each in kind] for kind in ready])


def alone_select_waits(port):
    one, other = pair(port)
    print(select.select([other], [], [], 0.1))
    one.send(b"x")
    print(len(select.select([other], [], [], 2)[0]))
    tell("negative", select.select, [], [], [], -1)
    tell("nothing", select.select, [], [], [], 0)


def alone_select_refuses(port):
    one = made()
    one.close()
    tell("closed", select.select, [one], [], [], 0)
    tell("no socket", select.select, ["x"], [], [], 0)
    tell("no list", select.select, 5, [], [], 0)


def alone_poll_of_many(port):
    listener = listening(port)
    one, other = pair(port + 1)
    poller = select.poll()
    for sock in (listener, one, other):
        poller.register(sock, select.POLLIN)
    print(poller.poll(0))
    one.send(b"x")
    keep(dialled(1, port))
    settle()
    print([events for _, events in poller.poll(0)])
    poller.unregister(listener)
    print([events for _, events in poller.poll(0)])


def alone_poll_modified(port):
    one, _ = pair(port)
    poller = select.poll()
    poller.register(one, select.POLLIN)
    print(poller.poll(0))
    poller.modify(one, select.POLLOUT)
    print([events for _, events in poller.poll(0)])
    poller.register(one, select.POLLIN)
    print(poller.poll(0))
    tell("unregister", poller.unregister, one)
    tell("again", poller.unregister, one)
    tell("modify", poller.modify, one, 1)


def alone_poll_waits(port):
    one, _ = pair(port)
    poller = select.poll()
    poller.register(one, select.POLLIN)
    print(poller.poll(100))
    print(poller.poll(0))


def alone_poll_refuses(port):
    poller = select.poll()
    sock = made()
    sock.close()
    tell("closed", poller.register, sock, 1)
    tell("no socket", poller.register, "x", 1)
    tell("none", poller.register, None)


def alone_poll_usual_events(port):
    one, other = pair(port)
    poller = select.poll()
    poller.register(one)
    print([hex(events) for _, events in poller.poll(0)])
    other.close()
    settle()
    print([hex(events) for _, events in poller.poll(0)])


def alone_closed_while_registered(port):
    one, other = pair(port)
    poller = select.poll()
    poller.register(one, select.POLLIN)
    other.close()
    settle()
    print([hex(events) for _, events in poller.poll(0)])
