# SPDX-License-Identifier: MIT
"""The two ends of a vsock test as plain Python functions: one runs in the guest, one on its host.

A function's source is sent to its side and called there with literals; what it returns comes
back. It may use what prelude.py holds (socket and time among it) and nothing else of its file.
"""

import ast
import inspect
import textwrap

import prelude

IDLE = {"opt/micropython/main.py": "pass\n"}  # no echo payload: the guest stands at its prompt


def program(function, arguments) -> str:
    """The source of a program that calls `function` and prints what it returned."""
    source = textwrap.dedent(inspect.getsource(function))
    call = f"print(repr({function.__name__}(*{arguments!r})))"
    return "\n".join([inspect.getsource(prelude), source, call])


class GuestSide:
    """Runs functions in a guest whose agent takes requests."""

    def __init__(self, guest):
        self.guest = guest
        guest.run(inspect.getsource(prelude))

    def start(self, function, *arguments) -> "GuestSide":
        self._request = self.guest.start(function, *arguments)
        return self

    def result(self, timeout: float = 60):
        return self._request.result(timeout)

    def call(self, function, *arguments):
        return self.start(function, *arguments).result()

    def expect(self, printed: str, timeout: float = 10):
        """Wait until the function prints this."""
        self.guest.expect(printed, timeout)

    def go_on(self):
        """End a function's input()."""
        self.guest.console.send("\r")


class HostSide:
    """Runs functions beside the guests, as programs of their own."""

    def __init__(self, host):
        self.host = host

    def start(self, function, *arguments) -> "HostProgram":
        argv = [self.host.interpreter, "-c", program(function, arguments)]
        return HostProgram(self.host.spawn(argv))

    def call(self, function, *arguments):
        return self.start(function, *arguments).result()


class HostProgram:
    """One function under way on the host."""

    def __init__(self, process):
        self.process = process

    def result(self, timeout: float = 60):
        self.process.stdio.settimeout(timeout)
        chunks = []
        while chunk := self.process.stdio.recv(1 << 16):
            chunks.append(chunk)
        code = self.process.wait(timeout)
        error = self.process.stderr.recv(1 << 16).decode() if code else ""
        self.process.close()
        assert code == 0, error
        return ast.literal_eval(b"".join(chunks).decode())
