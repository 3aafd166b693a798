# SPDX-License-Identifier: MIT
"""Sockets of datagrams in an engine, beside a device that a test plays, and the model of them
(datagram_model.py): what every step came to is compared.
"""

from datagram_model import ANY, HOST, Guest, Socket, w
from road import Road, device_module

OFFERED = device_module.F_VERSION_1 | w.F_STREAM | w.F_DGRAM


class Case:
    """A guest with sockets, and the model of it."""

    def __init__(self, engine, offered=True, **settings):
        self.engine = engine
        self.road = Road(engine, **({"offered": OFFERED} if offered else {}), **settings)
        engine.load("bench_datagrams")
        engine.vsock.datagrams(not offered)
        self.model = Guest(offered)
        self.story: list = []

    def socket(self, name):
        assert self.play(name, "socket", 2) == [None, None]
        self.model.sockets[name] = Socket()

    def play(self, name, method, *arguments):
        """One call; its outcome."""
        return self.engine.play([["~" + name, method, list(arguments)]])[0]

    def call(self, name, method, *arguments):
        """One call that does as the model does; its value."""
        self.story.append((name, method, arguments))
        outcome = self.play(name, method, *arguments)
        if self.model.binds(name, method, arguments):
            self.model.bound(self.model.sockets[name], ANY, self.chosen(name))
        elif method == "bind" and arguments[0][1] == ANY and outcome[1] is None:
            arguments = ([arguments[0][0], self.chosen(name)],)
        named = {"send": "send_"}.get(method, method)
        assert outcome == self.model.call(name, named, arguments), self.story
        return outcome[0]

    def chosen(self, name):
        """The port that the stack chose for a socket."""
        port = self.play(name, "getsockname")[0][1]
        taken = {each.port for each in self.model.sockets.values() if not each.closed}
        assert 1024 <= port < 1 << 30 and port not in taken
        return port

    def packet(self, to, data, source=(HOST, 700), lie=None, more=0):
        """The device has a message for us: whole, or with a lie; `more` bytes follow it."""
        self.story.append((source, to, data, lie))
        kind = w.TYPE_DGRAM | w.OP_RW << w.OP_SHIFT
        header = [source[0], 0, to[0], 0, source[1], to[1], len(data), kind, 0, 0, 0]
        fields, why = lie or ({}, 0)
        for word, value in fields.items():
            header[word] = value
        if lie is None:
            self.model.arrives(source, to, data, "device")
        else:
            self.model.dropped[why] += 1
        head = self.engine.host.heads()[0]
        given = [head, header, data + bytes(more), w.HEADER_LEN + len(data) + more]
        self.engine.many(["host.give", [given]], ["device.poll"])

    def check(self):
        """What went to the device, and what was dropped of what came from there."""
        went = [(header, payload) for _, header, payload, _ in self.engine.host.collect(True)]
        assert went == self.model.sent, self.story
        self.model.sent = []
        assert self.engine.host.dropped() == self.model.dropped, self.story
        for name, sock in self.model.sockets.items():
            if not sock.closed:
                assert self.engine.full("~" + name)[0] == sock.full

    def over(self):
        """Close everything: no memory of the store's is held."""
        for name, sock in self.model.sockets.items():
            if not sock.closed:
                self.call(name, "close")
        assert self.engine.stack.store.promised() == 40
