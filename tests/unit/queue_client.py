# SPDX-License-Identifier: MIT
"""The tests' end of queue_server.py: expressions go in, values and exceptions come out."""

import ast
import subprocess
import tempfile
from errno import EIO
from pathlib import Path

import pytest
import vsock_bench
from pci_machine import MODULES

from mpfw.expand import expand_tree
from mpfw.guest.programs import pipe
from mpfw.guest.upstream import build_unix_port, source_tree

w = vsock_bench.module("virtio.words")
WORDS = (w.Q_EVENT_IDX, w.Q_AVAIL_IDX, w.Q_PUBLISHED, w.Q_LAST_USED)  # that the server looks at


class RemoteError(Exception):
    """An exception in the server: its type's name and its arguments."""

    def __init__(self, name, arguments):
        super().__init__(name, arguments)
        self.name = name
        self.errno = arguments[0] if arguments else None


class Server:
    """queue_server.py at the other end of a pipe."""

    def __init__(self):
        micropython = build_unix_port(source_tree())
        script = Path(__file__).with_name("queue_server.py")
        self.modules = tempfile.TemporaryDirectory(prefix="mpfw-queue-")
        expand_tree(MODULES, Path(self.modules.name))
        self.process = subprocess.Popen(
            [micropython, script, self.modules.name, *map(str, WORDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._stdin = pipe(self.process.stdin)
        self._stdout = pipe(self.process.stdout)

    def __call__(self, expression):
        self._stdin.write(expression + "\n")
        kind, _, value = self._stdout.readline().strip().partition(" ")
        if kind == "=":
            return ast.literal_eval(value)
        name, _, arguments = value.partition(" ")
        raise RemoteError(name, ast.literal_eval(arguments or "()"))

    def close(self):
        self._stdin.close()
        self.process.wait(10)
        self._stdout.close()
        self.modules.cleanup()


def breaks(q, expression="q.pop()"):
    """Whether the expression raises QueueBroken, and everything after it too."""
    for attempt in (expression, "q.pop()", "q.add1(0, 1, True)", "q.add2(0, 1, 2, 3)"):
        with pytest.raises(RemoteError) as caught:
            q(attempt)
        assert caught.value.name == "QueueBroken"
        assert caught.value.errno == EIO
    return q("q.broken")
