# SPDX-License-Identifier: MIT
"""`mpfw forward` as a program of its own, for tests: started, its addresses read, ended."""

import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

from mpfw.guest.programs import pipe


def command(*addresses):
    return [sys.executable, "-m", "mpfw", "forward", *map(str, addresses)]


class Forward:
    """`mpfw forward` at work; `places` are the addresses at which it listens."""

    def __init__(self, *addresses, descriptors=4096):
        limited = ["prlimit", f"--nofile={descriptors}", *command(*addresses)]
        self.process = subprocess.Popen(
            limited, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.stdout = pipe(self.process.stdout)
        self.stderr = pipe(self.process.stderr)
        lines = [self.stdout.readline() for _ in addresses[::2]]
        assert all(" -> " in line for line in lines), self.stderr.read()
        self.places = [line.partition(" -> ")[0] for line in lines]

    def dial(self, number=0):
        """A connection to its TCP port."""
        host, port = self.places[number].removeprefix("tcp:").rsplit(":", 1)
        connection = socket.create_connection((host, int(port)), 20)
        connection.settimeout(60)
        return connection

    def said(self):
        """The next sentence on standard error."""
        return self.stderr.readline()

    def end(self, number=signal.SIGTERM):
        """Its exit status after a signal."""
        self.process.send_signal(number)
        return self.process.wait(10)


@contextmanager
def forwarding(*addresses, **options):
    forward = Forward(*addresses, **options)
    try:
        yield forward
    finally:
        forward.process.kill()
        forward.process.wait()
        forward.stdout.close()
        forward.stderr.close()


@contextmanager
def serving(listener, serve):
    """serve(connection) for whoever connects to `listener`, each in a thread."""
    listener.listen(4096)

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.settimeout(60)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def unix_listener(path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    return listener


def receive_all(connection):
    """Everything until the peer stops sending."""
    return b"".join(iter(lambda: connection.recv(65536), b""))
