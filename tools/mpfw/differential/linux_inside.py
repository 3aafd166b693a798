# SPDX-License-Identifier: MIT
"""Runs scripts under CPython on Linux: a JSON line in, a JSON line out, a process for each script.

Started as a program in the lab, or as the last step of a Linux guest's init; its standard input
and output are the link. A request is {"scripts": [text, ...], "seconds": n, "prelude": text}, its
answer [[output, how it ended], ...], where the latter is "ok" or "timeout".

CPython refuses bytes as an option's value on AF_VSOCK, in either direction. A second socket object
for the same descriptor that calls itself AF_INET is not refused, and the kernel never learns of
it: so struct options reach it without ctypes. A script that is about CPython's own refusal calls
`socket.socket.setsockopt.refusing`.
"""

import errno
import json
import os
import select
import signal
import socket
import sys
import time

# What older CPythons do not name.
NAMES = {
    "VMADDR_CID_LOCAL": 1,
    "SO_VM_SOCKETS_PEER_HOST_VM_ID": 3,
    "SO_VM_SOCKETS_TRUSTED": 5,
    "SO_VM_SOCKETS_CONNECT_TIMEOUT": 6,
    "SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD": 6,
    "SO_VM_SOCKETS_NONBLOCK_TXRX": 7,
    "SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW": 8,
}


def _other_family(sock):
    """The same socket by an object whose family CPython has no rules for."""
    if sock.fileno() < 0:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return socket.socket(socket.AF_INET, sock.type, 0, fileno=os.dup(sock.fileno()))


def install():
    """Add NAMES, and let bytes be options' values."""
    for name, value in NAMES.items():
        if not hasattr(socket, name):
            setattr(socket, name, value)
    plain_set, plain_get = socket.socket.setsockopt, socket.socket.getsockopt

    def setsockopt(self, level, name, value, *length):
        if isinstance(value, int) or value is None:
            return plain_set(self, level, name, value, *length)
        with _other_family(self) as alias:
            return plain_set(alias, level, name, value)

    def getsockopt(self, level, name, *length):
        if not length or length[0] == 0:
            return plain_get(self, level, name, *length)
        with _other_family(self) as alias:
            return plain_get(alias, level, name, *length)

    setsockopt.refusing, getsockopt.refusing = plain_set, plain_get
    socket.socket.setsockopt, socket.socket.getsockopt = setsockopt, getsockopt


def run(text, prelude):
    """Run one script in this process, after the prelude; what it raises is its last line."""
    namespace = {"__name__": "__main__"}
    try:
        exec(prelude, namespace)
        exec(compile(text, "scenario", "exec"), namespace)
    except OSError as error:
        known = errno.errorcode.get(error.errno, error.errno)
        print("raised", type(error).__name__, known)
    except (Exception, SystemExit) as error:
        print("raised", type(error).__name__)


def run_apart(text, seconds, prelude):
    """[what one script printed, how it ended], run in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setpgid(0, 0)
            os.dup2(writer, 1)
            os.close(reader)
            sys.stdout.reconfigure(line_buffering=True)
            run(text, prelude)
            sys.stdout.flush()
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    output, ended = [], "timeout"
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            break
        piece = os.read(reader, 65536)
        if not piece:
            ended = "ok"
            break
        output.append(piece)
    os.close(reader)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return [b"".join(output).decode("utf-8", "backslashreplace"), ended]


def lines(descriptor):
    """The lines that come from a descriptor, until it ends."""
    rest = b""
    while piece := os.read(descriptor, 1 << 20):
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole


def write(descriptor, data):
    """Write all of it."""
    while data:
        data = data[os.write(descriptor, data) :]


def main():
    """Serve until the link ends."""
    install()
    link = os.dup(1)
    silent = os.open("/dev/null", os.O_RDWR)
    os.dup2(silent, 1)
    write(link, json.dumps(os.uname().release).encode() + b"\n")
    for line in lines(0):
        request = json.loads(line)
        prelude = compile(request.get("prelude", ""), "prelude", "exec")
        answer = [run_apart(text, request["seconds"], prelude) for text in request["scripts"]]
        write(link, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
