# SPDX-License-Identifier: MIT
"""Runs in the guest: does what the host asks for, one request after the other.

MicroPython; mpfw.guest.agent hands it in as the guest's script and is the other end, docs/api.md
has the protocol. Both talk over one port of a virtio-console, in frames: le32 kind, le32 length,
so many bytes. What is printed goes there too, as it comes: before the answer to its request. The
host imports this file for its numbers, so what only the guest has is imported in functions.
"""

import io
import struct
import sys

PORT = "mpfw.agent"
# Kinds of frames to the host
# (an answer is a literal, or, BYTES, what a call returned as it is)
ERR, READY, OUT, RETURNED, RAISED, FILE, BYTES = 1, 3, 5, 6, 7, 8, 9
# and from it
RUN, CALL, PUT, GET, DATA = 16, 17, 18, 19, 20

LEAVE_VSOCK = "leave-vsock"  # an argument: what the host sends brings the vsock driver up
_NAME = "mpfw.agent"  # of this script, in tracebacks
_CHUNK = 32768
_IOCTL_FLUSH = 1  # py/stream.h
_IOCTL_POLL = 3


class Frames(io.IOBase):
    """A stream whose bytes are frames of one kind."""

    def __init__(self, port, kind):
        self._port = port
        self._kind = kind

    def write(self, data):
        self._port.write(struct.pack("<II", self._kind, len(data)))
        self._port.write(data)
        return len(data)

    def ioctl(self, request, argument):
        if request == _IOCTL_FLUSH:
            return 0
        return self._port.ioctl(request, argument) if request == _IOCTL_POLL else 0


class Agent:
    """What answers the host. `namespace` is that of all code that it sends."""

    def __init__(self, port):
        self._port = port
        self.namespace = {"__name__": "__main__"}
        self._handlers = {RUN: self._run, CALL: self._call, PUT: self._put, GET: self._get}

    def serve(self):
        """Answer until the host hangs up."""
        import machine

        machine.stdio(None, Frames(self._port, OUT), Frames(self._port, ERR))
        self._send(READY, b"")
        while True:
            try:
                kind, payload = self._receive()
            except EOFError:
                break
            except KeyboardInterrupt:
                continue  # it came when what it was meant for had ended
            self._answer(self._handlers[kind], payload)
        machine.stdio(None, None, None)

    def _answer(self, handler, payload):
        import micropython

        try:
            micropython.kbd_intr(3)
            try:
                kind, answer = RETURNED, handler(payload)
            finally:
                micropython.kbd_intr(-1)
            if isinstance(answer, bytes):
                kind = BYTES
            else:
                answer = repr(answer).encode()
        except BaseException as error:
            kind, answer = RAISED, repr(_described(error)).encode()
        sys.stdout.flush()
        sys.stderr.flush()
        self._send(kind, answer)

    def _run(self, payload):
        name, source = eval(payload)
        exec(compile(source, name, "exec"), self.namespace)

    def _call(self, payload):
        function, name, source, arguments, keywords = eval(payload)
        if source is not None:
            exec(compile(source, name, "exec"), self.namespace)
        value = eval(function, self.namespace)(*arguments, **keywords)
        _check(value)
        return value

    def _put(self, payload):
        failure = None
        try:
            file = open(str(payload, "utf-8"), "wb")
        except OSError as error:
            file, failure = None, error
        while True:  # what the host sends is taken in any case
            kind, data = self._receive()
            if not data:
                break
            if failure is None:
                try:
                    file.write(data)
                except OSError as error:
                    failure = error
        if file is not None:
            file.close()
        if failure is not None:
            raise failure

    def _get(self, payload):
        with open(str(payload, "utf-8"), "rb") as file:
            while True:
                data = file.read(_CHUNK)
                if not data:
                    break
                self._send(FILE, data)

    def _send(self, kind, data):
        self._port.write(struct.pack("<II", kind, len(data)))
        if len(data):
            self._port.write(data)

    def _receive(self):
        kind, length = struct.unpack("<II", self._read(8))
        return kind, self._read(length)

    def _read(self, count):
        buffer = bytearray(count)
        view = memoryview(buffer)
        at = 0
        while at < count:
            got = self._port.readinto(view[at:])
            if not got:
                raise EOFError
            at += got
        return buffer


def _check(value):
    """Raise TypeError for what has no literal."""
    if isinstance(value, (list, tuple, set)):
        for each in value:
            _check(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            _check(key)
            _check(each)
    elif isinstance(value, float):
        if not -1e999 < value < 1e999:
            raise TypeError("the result is %r, which JSON has not" % value)
    elif not (value is None or isinstance(value, (bool, int, str, bytes))):
        raise TypeError("the result is no value that JSON has, nor bytes: %s" % type(value))


def _described(error):
    """An exception as (class, errno, traceback without our own frames)."""
    text = io.StringIO()
    sys.print_exception(error, text)
    lines = text.getvalue().splitlines(True)
    ours = '  File "%s"' % _NAME
    shown = [line for line in lines if not line.startswith(ours)]
    number = error.errno if isinstance(error, OSError) else None
    return type(error).__name__, number, "".join(shown)


def _port():
    """The host's port."""
    import channel

    for transport in channel.find():
        port = channel.Channel(transport).port(PORT)
        if port is not None:
            return port
    raise OSError("this machine has no port %s" % PORT)


def main():
    """Serve; the vsock driver comes up before the host is told that all is ready."""
    import micropython

    micropython.kbd_intr(-1)  # Ctrl-C is for what the host has sent
    port = _port()
    if LEAVE_VSOCK not in sys.argv:
        import vsock

        if vsock.devices():
            vsock.get()
    Agent(port).serve()
    micropython.kbd_intr(3)


if __name__ == "__main__":
    main()
