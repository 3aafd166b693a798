# SPDX-License-Identifier: MIT
"""Runs a script as a program: exact standard streams, an exit status, then the machine is off.

For a host that asks for it (fw_cfg `opt/micropython/run`) and gives the script a channel of its
own: a virtio-console with two ports. docs/run.md has the protocol.

    mpfw.io    the script's standard output; its standard input the other way
    mpfw.err   frames of le32 kind, le32 length and so many bytes

With mpfw.io alone standard input and error are the console, without either everything is. The
status goes to isa-debug-exit besides.
"""

import builtins
import io
import struct
import sys

import _notify
import channel
import errnos
import machine
import micropython
from portable import const

_FRAME = "<II"
_FRAME_BYTES = const(8)
_ERR = const(1)  # to the host: bytes of standard error
_STATUS = const(2)  # le32: the exit status; le64: bytes of standard output; the last frame
_STARTED = const(3)  # from here on Ctrl-C on the console is the script's KeyboardInterrupt
_INPUT_WANTED = const(4)  # the script waits for standard input
_PLACE = const(5)  # le64: so many bytes of standard output came before the errors that follow
_EOF = const(1)  # from the host: le64, so many bytes are all of standard input
_LONGEST = const(8)  # bytes of a frame from the host
_PART = const(64)  # bytes taken at a time,
_PARTS = const(16)  # and how often, at most

IO_PORT = "mpfw.io"
ERR_PORT = "mpfw.err"

CRASHED = 123  # the interpreter was started anew after a CPU exception
_INTERRUPTED = const(130)  # 128 + SIGINT, as shells have it
_INT64 = 1 << 63  # what is beyond is status -1 under CPython
_PATIENCE_US = const(2_000_000)  # that the host has to take the script's last words
_OURS = ('  File "runner.py"', '  File "startup.py"')  # begin the way to a script,
_OUR_FRAMES = const(3)  # of so many steps

_out = None  # standard output's port

# A program may have modules of these names; what we need of ours is bound already.
for _name in ("runner", "channel"):
    sys.modules.pop(_name, None)


class Frames(io.IOBase):
    """Standard error as frames on a port; takes the host's frames, too."""

    def __init__(self, port, out):
        self._port = port
        self._out = out  # standard output's port
        self._place = 0  # what the host was told last
        self._in = bytearray()  # None once the host has sent what is no frame
        self.all_of_stdin = None  # bytes, once the host has said so

    def write(self, data):
        """Send bytes of standard error, and wait until the device has them: what is printed next
        goes through another queue, and must not overtake them."""
        if self._out.written != self._place:
            self._place = self._out.written
            self.send(_PLACE, struct.pack("<Q", self._place))
        self.send(_ERR, data)
        self._port.flush()
        return len(data)

    def send(self, kind, data=b""):
        """Send a frame."""
        self._port.write(struct.pack(_FRAME, kind, len(data)))
        if len(data):
            self._port.write(data)

    def flush(self):
        """Wait until the device has all of it."""
        self._port.flush()

    def ioctl(self, request, argument):
        return self._port.ioctl(request, argument)

    def look(self):
        """Take what frames have come, a few at most; what is none is thrown away."""
        part = bytearray(_PART)
        for _ in range(_PARTS):
            if not self._port.any():
                break
            n = self._port.readinto(part)
            if self._in is not None:
                self._in += part[:n]
                self._take()

    def _take(self):
        while len(self._in) >= _FRAME_BYTES:
            kind, length = struct.unpack_from(_FRAME, self._in)
            if length > _LONGEST:
                self._in = None  # this host speaks of something else
                return
            end = _FRAME_BYTES + length
            if len(self._in) < end:
                return
            if kind == _EOF and length == 8:
                self.all_of_stdin = struct.unpack_from("<Q", self._in, _FRAME_BYTES)[0]
            self._in = self._in[end:]


class Input(io.IOBase):
    """Standard input from a port, with an end that the frames tell. The host is told when the
    script waits for it: what a script does not read is left to whoever reads next."""

    def __init__(self, port, frames):
        self._port = port
        self._frames = frames
        self._read = 0
        self._asked = False  # and nothing has come since

    def _over(self):
        self._frames.look()
        end = self._frames.all_of_stdin
        return not self._port.connected or end is not None and self._read >= end

    def _ask(self):
        if not self._asked:
            self._asked = True
            self._frames.send(_INPUT_WANTED)

    def readinto(self, buffer):
        """Wait for at least a byte; 0 at the end."""
        while not self._port.any():
            if self._over():
                return 0
            self._ask()
            self._port.wait()
        self._asked = False
        n = self._port.readinto(buffer)
        self._read += n
        return n

    def ioctl(self, request, argument):
        if self._over():
            return argument & 1 | 16  # POLLIN, POLLHUP: a read would not block
        ready = self._port.ioctl(request, argument)
        if not ready & 1:
            self._ask()
        return ready


def run(start, interactive):
    """Call `start()` as a program. Does not return unless the host wants the prompt afterwards."""
    if interactive and machine.reset_cause() == machine.SOFT_RESET:
        _tell(0)  # the prompt was left
        machine.poweroff()
    builtins.exit = builtins.quit = sys.exit  # as CPython's site module has them
    try:
        status = _run(start, interactive)
    except KeyboardInterrupt:
        status = _INTERRUPTED  # while the end was on its way
        if not interactive:
            _tell(status)
    if not interactive:
        machine.poweroff(status)


def _run(start, interactive):
    """The exit status, after the host has been told."""
    console_input = builtins.input
    impatience = machine.Vector()  # now: a script may take all that there are
    impatience.irq(_heed)
    out, frames = _streams()
    try:
        if machine.reset_cause() == machine.CRASH_RESET:
            status = CRASHED  # what the script did is on the console: it does not run again
        else:
            status = call(start)
        micropython.kbd_intr(-1)  # it has ended: a late Ctrl-C is for nobody
        impatience.after(_PATIENCE_US)
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            status = status or 1  # nobody reads any more
        except KeyboardInterrupt:
            status, frames = status or _INTERRUPTED, None
    finally:
        builtins.input = console_input
        machine.stdio(None, None, None)
    if not interactive:
        _tell(status)
    if frames is not None:
        try:
            out.flush()
            frames.send(_STATUS, struct.pack("<IQ", status, out.written))
            frames.flush()
        except (OSError, KeyboardInterrupt):
            pass  # the host has gone
    impatience.close()
    micropython.kbd_intr(3)
    return status


def _heed(vector):
    """A host that takes nothing: Ctrl-C ends the wait for it, and gives the console back."""
    micropython.kbd_intr(3)


def _streams():
    """Give the script the channel's streams; (standard output's port, Frames), None for those
    that are not there, in whose place the console is."""
    global _out
    out, err = _ports()
    frames = None
    if out is None:
        return None, None
    if err is not None:
        frames = Frames(err, out)
        if machine.reset_cause() != machine.CRASH_RESET:
            try:
                frames.send(_STARTED)
            except OSError as error:
                machine.log("runner", str(error), "WARNING")
                return None, None
            builtins.input = _input
        _out = out
    machine.stdio(Input(out, frames) if frames else None, out, frames)
    return out, frames


def _tell(status):
    """Tell whoever listens besides; before the host has the status, and may end the machine."""
    machine.log("runner", "exit status %d" % status)
    _notify.end(status, "exit status %d" % status)
    machine.finish()


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


def _input(prompt=""):
    """input(): a line of standard input, which is no console here."""
    print(prompt, end="")
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError("EOF when reading a line")
    return line[:-1] if line[-1] == "\n" else line


def _status(ending):
    """What sys.exit was given: nothing, a number, or something to be said."""
    code = ending.args[0] if len(ending.args) == 1 else ending.args or None
    if code is None:
        return 0
    if isinstance(code, (int, bool)):  # which is no int here
        return code & 0xFF if -_INT64 <= code < _INT64 else 0xFF
    try:
        print(code, file=sys.stderr)
    except OSError:
        pass
    return 1


def _report(failure):
    try:
        if _out is not None and not _out.connected and failure.args[:1] == (errnos.EPIPE,):
            return  # standard output is closed: the end is quiet
        text = _traceback(failure)
        print(text, end="", file=sys.stderr)
    except KeyboardInterrupt:
        pass
    except OSError as error:
        if error.errno == errnos.EIO:  # the channel broke: the console is what is left
            machine.stdio(None, None, None)
            print(text, end="")


def _traceback(failure):
    """What sys.print_exception prints, without the frames that are ours."""
    text = io.StringIO()
    sys.print_exception(failure, text)
    lines = text.getvalue().splitlines(True)
    at = 1
    while at < min(len(lines), 1 + _OUR_FRAMES) and lines[at].startswith(_OURS):
        at += 1
    return "".join(lines[:1] + lines[at:])


def _ports():
    """The two ports of the machine's channel, None for each that is not there."""
    for transport in channel.find():
        device = None
        try:
            device = channel.Channel(transport)
            return device.port(IO_PORT), device.port(ERR_PORT)
        except OSError as error:
            machine.log("runner", str(error), "WARNING")
            if device is not None:
                device.close()
    return None, None
