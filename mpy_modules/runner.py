# SPDX-License-Identifier: MIT
"""Runs a script as a program: exact standard streams, an exit status, then the machine is off.

For a host that asks for it (fw_cfg `opt/micropython/run`) and gives the script a channel of its
own: a virtio-console with two ports. docs/run.md has the protocol.

    mpfw.io    the script's standard output; its standard input the other way
    mpfw.err   frames of le32 kind, le32 length and so many bytes

Without the channel the script has the console, and the status goes to isa-debug-exit alone.
"""

import io
import struct
import sys

import _notify
import errnos
import machine
from portable import const

_FRAME = "<II"
_FRAME_BYTES = const(8)
_ERR = const(1)  # to the host: bytes of standard error
_STATUS = const(2)  # le32: the exit status, the last frame
_EOF = const(1)  # from the host: le64, so many bytes are all of standard input

IO_PORT = "mpfw.io"
ERR_PORT = "mpfw.err"

CRASHED = 123  # the interpreter was started anew after a CPU exception
_INTERRUPTED = const(130)  # 128 + SIGINT, as shells have it
_OURS = ('  File "runner.py"', '  File "startup.py"')  # begin the way to a script
_DEBUG_EXIT = const(0xF4)  # isa-debug-exit's port: QEMU ends with 2 * value + 1


class Frames(io.IOBase):
    """Standard error as frames on a port; takes the host's frames, too."""

    def __init__(self, port):
        self._port = port
        self._in = bytearray()
        self.all_of_stdin = None  # bytes, once the host has said so

    def write(self, data):
        """Send bytes of standard error."""
        self.send(_ERR, data)
        return len(data)

    def send(self, kind, data):
        """Send a frame."""
        self._port.write(struct.pack(_FRAME, kind, len(data)))
        if len(data):
            self._port.write(data)

    def ioctl(self, request, argument):
        return self._port.ioctl(request, argument)

    def look(self):
        """Take what frames have come."""
        part = bytearray(64)
        while self._port.any():
            self._in += part[: self._port.readinto(part)]
        while len(self._in) >= _FRAME_BYTES:
            kind, length = struct.unpack_from(_FRAME, self._in)
            end = _FRAME_BYTES + length
            if len(self._in) < end:
                break
            if kind == _EOF and length == 8:
                self.all_of_stdin = struct.unpack_from("<Q", self._in, _FRAME_BYTES)[0]
            self._in = self._in[end:]


class Input(io.IOBase):
    """Standard input from a port, with an end that the frames tell."""

    def __init__(self, port, frames):
        self._port = port
        self._frames = frames
        self._read = 0

    def _over(self):
        self._frames.look()
        end = self._frames.all_of_stdin
        return not self._port.connected or end is not None and self._read >= end

    def readinto(self, buffer):
        """Wait for at least a byte; 0 at the end."""
        while not self._port.any():
            if self._over():
                return 0
            self._port.wait()
        n = self._port.readinto(buffer)
        self._read += n
        return n

    def ioctl(self, request, argument):
        if self._over():
            return argument & 1 | 16  # POLLIN, POLLHUP: a read would not block
        return self._port.ioctl(request, argument)


def run(start, interactive):
    """Call `start()` as a program. Does not return unless the host wants the prompt afterwards."""
    channel = _channel()
    frames = None
    if channel is not None:
        out = channel.port(IO_PORT)
        err = channel.port(ERR_PORT)
        if out is not None and err is not None:
            frames = Frames(err)
            machine.stdio(Input(out, frames), out, frames)
    if machine.reset_cause() == machine.CRASH_RESET:
        status = CRASHED  # what the script did is on the console: it does not run again
    else:
        status = call(start)
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            status = status or 1  # nobody reads any more
    machine.stdio(None, None, None)
    if frames is not None:
        try:
            out.flush()
            frames.send(_STATUS, struct.pack("<I", status))
            err.flush()
        except OSError:
            pass  # the host has gone
    if interactive:
        return
    machine.log("runner", "exit status %d" % status)
    _notify.end(status, "exit status %d" % status)
    machine.port8[_DEBUG_EXIT] = status & 0xFF
    machine.poweroff()


def call(start):
    """The exit status of a call of `start`, as CPython's of a program."""
    try:
        start()
        return 0
    except SystemExit as ending:
        return _status(ending)
    except KeyboardInterrupt as interrupt:
        _report(interrupt)
        return _INTERRUPTED
    except BaseException as failure:
        _report(failure)
        fault = isinstance(failure, OSError) and failure.errno == errnos.EFAULT
        return CRASHED if fault else 1  # a CPU exception, whose report is on the console


def _status(ending):
    """What sys.exit was given: nothing, a number, or something to be said."""
    code = ending.args[0] if ending.args else None
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    try:
        print(code, file=sys.stderr)
    except OSError:
        pass
    return 1


def _report(failure):
    try:
        if isinstance(failure, OSError) and failure.errno == errnos.EPIPE and not _reads():
            return  # standard output is closed: the end is quiet
        print(_traceback(failure), end="", file=sys.stderr)
    except OSError:
        pass


def _traceback(failure):
    """What sys.print_exception prints, without the frames that are ours."""
    text = io.StringIO()
    sys.print_exception(failure, text)
    lines = text.getvalue().splitlines(True)
    at = 1
    while at < len(lines) and lines[at].startswith(_OURS):
        at += 1
    return "".join(lines[:1] + lines[at:])


def _reads():
    """True unless whoever read our standard output has gone."""
    try:
        sys.stdout.flush()
        return True
    except OSError:
        return False


def _channel():
    """The machine's channel, or None."""
    from channel import Channel, find

    for transport in find():
        try:
            return Channel(transport)
        except OSError as error:
            machine.log("runner", str(error), "WARNING")
    return None
