# SPDX-License-Identifier: MIT
"""One conversation of a guest with a program of the host, and what both say of it in a few words.

The guest calls, sends three words and reads the answers until the end; each is a packet.
"""

import fcntl
import socket
import struct
import termios
import threading
import time

from mpfw.readable import readable

WORDS = (b"one", b"two", b"three")
ANSWERS = (b"ONE", b"TWO", b"THREE")
PATIENCE = 3.0  # s that the guest waits
ALL = "ONETWOTHREE, end"


def call(port, timeout, words):  # runs in the guest
    import errno
    import socket

    def name(error):
        return errno.errorcode.get(error.errno, str(error))

    got = b""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect((socket.VMADDR_CID_HOST, port))
        except OSError as error:
            return "connect: " + name(error)
        try:
            for word in words:
                sock.sendall(word)
        except OSError as error:
            return "send: " + name(error)
        try:
            while data := sock.recv(100):
                got += data
            end = "end"
        except OSError as error:
            end = name(error)
    text = "".join(chr(byte) if 32 < byte < 127 else "?" for byte in got)
    return (text or "nothing") + ", " + end


def reopened():  # runs in the guest
    import vsock

    vsock.reopen()


class Program:
    """What the guest calls, once; `got` are the words that came."""

    def __init__(self, listener):
        self.got = b""
        self._listener = listener
        self._nobody, self._called_off = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def call_off(self):
        """Nobody calls any more. (accept() with a time-out would not hear of a Unix listener's
        shutdown(): it looks again and again, until its time is over.)"""
        self._called_off.shutdown(socket.SHUT_RDWR)

    def join(self):
        self._thread.join(30)
        for end in (self._nobody, self._called_off):
            end.close()
        assert not self._thread.is_alive()

    def _serve(self):
        if self._listener not in readable([self._listener, self._nobody], 2 * PATIENCE):
            return  # nobody calls, and the guest says so
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(PATIENCE / 2)
            try:
                self._talk(connection)
            except OSError:
                pass  # the guest has gone, or is silent

    def _talk(self, connection):
        self._listen(connection)
        for answer in ANSWERS if self.got else ():
            connection.sendall(answer)
            _wait_taken(connection)
        if self.got:
            connection.shutdown(socket.SHUT_WR)
        connection.settimeout(2 * PATIENCE)
        while connection.recv(100):
            pass

    def _listen(self, connection):
        try:
            while len(self.got) < len(b"".join(WORDS)):
                data = connection.recv(100)
                if not data:
                    break
                self.got += data
        except TimeoutError:
            pass


def _wait_taken(connection, timeout=1.0):
    """Until the device has read what was sent: what follows is another packet."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if not struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]:
            return
        time.sleep(0.005)


def talk(guest, port):
    """How it went: what the guest received and how that ended; what the program got, if that was
    not all."""
    with guest.listen(port) as listener:
        program = Program(listener)
        said = guest.call(call, port, PATIENCE, WORDS)
        if said.startswith("connect"):
            program.call_off()
        program.join()
    if program.got == b"".join(WORDS) or said.startswith("connect"):
        return said
    return f"{said}; the host got {program.got.decode(errors='replace') or 'nothing'}"


def outcome(guest, device):
    """What a conversation was like under the rules, and whether the next one is as it should be
    without them."""
    under = talk(guest, 5000)
    device.heal()
    after = talk(guest, 5001)
    if after == ALL:
        return under
    guest.call(reopened)
    if talk(guest, 5002) == ALL:
        return f"{under}; then `vsock.reopen()`"
    return f"{under}; then {after}"
