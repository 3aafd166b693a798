# SPDX-License-Identifier: MIT
"""Runs in the guest of level real: serves, tells what memory and tables hold, opens the device.

MicroPython; real_guest.py types it in at the prompt and calls these functions.
"""

import errno
import gc
import select
import socket
import sys
import time

import vsock
from apps import echo

LISTENED = 5001  # by programs()
DIALLED = (echo.PORT, 5000, 5001)  # ports of the host that programs() calls
PATIENCE = 0.02  # seconds that a call with a time-out has


stdin = select.poll()
stdin.register(sys.stdin, select.POLLIN)


class Served(echo.Echo):
    """The built-in echo, without its pause before a device that broke is opened again."""

    def _serve(self, patience):
        super()._serve(echo.PATIENCE if patience is None else patience)

    def _wait_for_device(self, why):
        super()._wait_for_device(why)
        self._reopen_at = time.ticks_ms()
        self._pause = echo.FIRST_PAUSE


def begin():
    global served, listener
    echo.PATIENCE = 0.005  # it looks after a broken device that often
    served = Served()
    listener = socket.create_server((socket.VMADDR_CID_ANY, LISTENED), backlog=4)


def typed():
    """Whether the host has typed something, which this reads: somebody is to stop."""
    found = False
    while stdin.poll(0):
        sys.stdin.read(1)
        found = True
    return found


def serve():
    """The echo, until something is typed. Ctrl-C might leave it in the middle of a call."""
    print("serving")
    while not typed():
        served.turn()


def programs(seed):
    """Calls that wait, wait for a moment, or do not; until something is typed, or Ctrl-C."""
    print("serving")
    calls = dial, look, accept, send, poll
    try:
        while not typed():
            seed = (seed * 1103515245 + 12345) & 0x3FFFFFFF
            if vsock.get().device is None or vsock.get().device.broken:
                reopen()
            with socket.socket() as sock:
                try:
                    calls[(seed >> 8) % len(calls)](sock, seed >> 12)
                except OSError:
                    pass
    except KeyboardInterrupt:
        pass
    typed()


def prepared(sock, bits):
    """One of eight never gives up by itself."""
    sock.settimeout((PATIENCE, 0, PATIENCE, 0.001)[bits & 3] if bits & 7 else None)
    return (socket.VMADDR_CID_HOST, DIALLED[(bits >> 3) % len(DIALLED)])


def dial(sock, bits):
    sock.connect(prepared(sock, bits | 1))
    sock.send(b"x" * (bits >> 5 & 1023))
    sock.settimeout(PATIENCE)
    sock.recv(100)


def look(sock, bits):
    sock.setblocking(False)
    sock.connect_ex((socket.VMADDR_CID_HOST, DIALLED[bits % len(DIALLED)]))
    time.sleep_ms(bits >> 5 & 3)
    sock.connect_ex((socket.VMADDR_CID_HOST, DIALLED[bits % len(DIALLED)]))
    sock.send(b"y")


def accept(sock, bits):
    listener.settimeout((PATIENCE, 0)[bits & 1])
    with listener.accept()[0] as peer:
        peer.settimeout(PATIENCE)
        peer.recv(bits >> 3 & 1023)
        peer.sendall(b"z" * (bits >> 5 & 4095))


def send(sock, bits):
    sock.connect(prepared(sock, bits | 1))
    sock.settimeout((PATIENCE, 0)[bits & 1])
    sock.send(bytearray(1 << (bits >> 3 & 15)))


def poll(sock, bits):
    sock.setblocking(False)
    sock.connect_ex(prepared(sock, bits | 1))
    watched = select.poll()
    watched.register(sock, select.POLLIN | select.POLLOUT)
    watched.register(listener, select.POLLIN)
    watched.poll(bits >> 3 & 15)


def reopen():
    try:
        vsock.reopen()
    except OSError:
        time.sleep_ms(1)


def bring_up(rescan):
    """Open the device, after a look at the bus if that is wanted; what came of it, in words."""
    try:
        if rescan:
            import pci

            pci.rescan()
        vsock.reopen()
    except OSError as error:
        return "%s: %s" % (type(error).__name__, error)
    except IndexError as error:
        if "no vsock device" not in str(error):
            raise
        return "gone"
    return "works"


def figures():
    """What there is when all connections have ended, as a dict."""
    served._reopen_at = None
    vsock.reopen()
    stack = vsock.get()
    for _ in range(20):
        served._serve(0)
    if served._called is not None:
        served._hang_up()
    while True:
        try:
            listener.setblocking(False)
            listener.accept()[0].close()
        except OSError as error:
            if error.errno == errno.EAGAIN:  # nobody waits
                break
    served._next_call = time.ticks_ms()
    for _ in range(2):
        gc.collect()
    store = stack.store
    return {
        "heap": gc.mem_alloc(),
        "connections": stack.table.count,
        "late": len(stack.late),
        "lingering": len(stack.lingering),
        "starved": len(stack.starved),
        "ports": len(stack.ports),
        "store": list(store._words),
    }
