# SPDX-License-Identifier: MIT
"""The lab guest's first process: does what the test process asks over one virtio-serial port.

Runs programs, connects and listens on vsock and Unix sockets, and bridges all of them through
mpfw's mux (lies beside this file as mux.py). It trusts its host, and it knows nothing of tests.
If it dies the kernel panics and QEMU ends, which is what its host should see.
"""

import errno
import os
import selectors
import socket
import subprocess
import sys

import mux

PORT = "/dev/virtio-ports/lab.agent"


def address(where):
    """(family, sockaddr) of ["vsock", cid, port] or ["unix", path]."""
    if where[0] == "vsock":
        return socket.AF_VSOCK, tuple(where[1:])
    return socket.AF_UNIX, where[1]


class Agent:
    def __init__(self):
        link = os.open(PORT, os.O_RDWR | os.O_NONBLOCK)
        self.mux = mux.Mux(link, 2, self.call)
        self.operations = {"exec": self.run, "connect": self.connect, "listen": self.listen}

    def call(self, stream, request):
        try:
            self.operations[request.pop("op")](stream, **request)
        except OSError as error:
            self.refuse(stream, error.errno)

    def refuse(self, stream, number):
        stream.reply(errno=number, error=os.strerror(number))
        stream.close()

    def run(self, stream, argv, stdio, stderr, fds=None, env=None):
        """Start argv: its stdin and stdout are stream `stdio`, its stderr is stream `stderr`.

        `fds` maps further descriptors of the program ("1000": beyond any of ours) to streams.
        """
        ends = [self.bridge(stdio), self.bridge(stderr)]
        for number, other in (fds or {}).items():
            with self.bridge(other) as end:
                ends.append(socket.socket(fileno=os.dup2(end.fileno(), int(number))))
        try:
            process = subprocess.Popen(
                argv,
                stdin=ends[0],
                stdout=ends[0],
                stderr=ends[1],
                pass_fds=[end.fileno() for end in ends[2:]],
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        finally:
            for end in ends:
                end.close()
        stream.on_event = lambda event: process.send_signal(event["signal"])
        pidfd = os.pidfd_open(process.pid)

        def ended(_events):
            self.mux.selector.unregister(pidfd)
            os.close(pidfd)
            stream.event(exit=process.wait())
            stream.close()

        self.mux.selector.register(pidfd, selectors.EVENT_READ, ended)
        stream.reply(pid=process.pid)

    def bridge(self, number):
        """A socket whose other end is the stream of that number, which the host has opened."""
        ours, theirs = socket.socketpair()
        self.mux.add(number).attach(ours)
        return theirs

    def connect(self, stream, to):
        family, name = address(to)
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)

        def connected(_events):
            self.mux.selector.unregister(sock)
            finish(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

        def finish(number):
            if number:
                sock.close()
                self.refuse(stream, number)
            else:
                stream.reply()
                stream.attach(sock)

        number = sock.connect_ex(name)
        if number == errno.EINPROGRESS:
            self.mux.selector.register(sock, selectors.EVENT_WRITE, connected)
        else:
            finish(number)

    def listen(self, stream, on, backlog=16):
        """Each connection becomes a stream of its own, announced by an event on this one."""
        family, name = address(on)
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.bind(name)
            sock.listen(backlog)
        except OSError:
            sock.close()
            raise
        sock.setblocking(False)

        def accept(_events):
            accepted, peer = sock.accept()
            number = self.mux.reserve()
            stream.event(stream=number, peer=peer)
            self.mux.add(number).attach(accepted)

        def stop():
            self.mux.selector.unregister(sock)
            sock.close()

        self.mux.selector.register(sock, selectors.EVENT_READ, accept)
        stream.on_close = stop
        stream.reply()


def main():
    agent = Agent()
    print("lab: agent ready", file=sys.stderr, flush=True)
    while True:
        agent.mux.step()


main()
