# SPDX-License-Identifier: MIT
"""The built-in payload: echoes on port 1234, and calls the host's port 1234 for a chat.

It goes on for ever: what ends a connection ends nothing else, and a device that broke is opened
again after a pause, which grows as long as that does not help. When there is no room for a new
connection, those that hold data and do not move end.

Ordinary code on `socket`; a poller instead of select.poll, because that costs nothing for idle
connections, and splice() instead of recv and send, because that copies nothing.
"""

import socket
import time

import _notify
import errnos
import machine
import vsock

PORT = 1234
GREETING = b"hello from micropython\n"
RETRY_MS = 1000
PATIENCE = 0.25  # seconds without news after which what is under way is looked at
BURST = 256  # as many news without a look at it: looking costs more than an echo
STALL_MS = 2000  # without a byte taken or sent: a connection that may end when room is wanted
# Percent of the memory for windows that is left over.
WATCHFUL = 75  # below, look who does not move
ENOUGH = 25  # once a window could not grow, those end that stand still, until so much is left
FIRST_PAUSE = 1  # seconds until a device that broke is opened again,
LAST_PAUSE = 64  # which doubles up to this; one that worked longer begins anew


class Echo:
    """Serves `port`; `dial` says whether it also calls the host."""

    def __init__(self, port=PORT, dial=True):
        self._poller = socket.poller()
        self._listener = socket.create_server((socket.VMADDR_CID_ANY, port), backlog=4096)
        self._prepare(self._listener)  # what is accepted sends late, too: a setsockopt less each
        self._poller.register(self._listener)
        self._port = port
        self._dial = dial
        self._called = None  # the socket to the host, connecting or connected
        self._greeted = False
        self._unsaid = b""  # of the greeting
        self._next_call = time.ticks_ms()
        self._stack = vsock.get()
        self._refused = self._seen = self._stack.refused
        self._look_at = None  # ticks_ms of the next look who has not moved; None: nobody looks
        self._looks = 0  # in how many of those in a row somebody has not
        self._reopen_at = None  # ticks_ms, while the device is broken
        self._opened_at = time.ticks_ms()
        self._pause = FIRST_PAUSE

    def run(self):
        """Serve until Ctrl-C."""
        while True:
            self.turn()

    def turn(self):
        """See to the device and to the call, then to whatever sockets have news."""
        if self._reopen_at is not None:
            self._see_to_device()
        self._see_to_room()
        if self._dial and not self._greeted:
            self._see_to_call()
        self._serve(self._patience())

    def _patience(self):
        """Seconds without news after which there is something to do; None: there is nothing."""
        dials = self._dial and not self._greeted
        if self._reopen_at is not None or self._look_at is not None:
            return PATIENCE
        if dials and self._called is not None:
            return PATIENCE
        if dials:  # every time it is woken costs exits
            return max(0, time.ticks_diff(self._next_call, time.ticks_ms())) / 1000
        return None

    def _serve(self, patience):
        """Do what the news of sockets call for, until there are none for `patience` seconds."""
        wait = self._poller.wait
        listener = self._listener
        try:
            for _ in range(BURST):
                sock = wait(patience)
                if sock is None:
                    break
                if sock is listener:
                    self._accept()
                    if self._stack.refused != self._refused:
                        break
                elif sock is self._called and not self._greeted:
                    self._on_answer()
                elif sock.splice(sock) < 0:
                    self._end(sock)
        except OSError:
            self._end(sock)  # it had ended before we came to it

    def _see_to_room(self):
        """When memory gets short, or somebody was refused: who has not moved is given up."""
        stack = self._stack
        budget = stack.budget
        now = time.ticks_ms()
        if self._look_at is None or time.ticks_diff(self._look_at, now) <= 0:
            self._look_at = None
            if stack.refused != self._refused or budget.below(WATCHFUL):
                self._look(time.ticks_add(now, STALL_MS))
        if budget.short and self._looks:
            stack.end_stalled(self._looks)  # their memory is back when their sockets are closed
            self._looks -= 1
        if budget.short and not budget.below(ENOUGH):
            budget.short = False

    def _look(self, next_time):
        """Look who has not moved since the last look."""
        stack = self._stack
        self._look_at = next_time
        self._looks = stack.look_for_stalled()
        if stack.refused != self._refused:
            stack.end_stalled(1)
            self._looks = 0
            self._refused = self._seen  # two looks see to a refusal
        self._seen = stack.refused

    def _see_to_device(self):
        """Open the device again, when it is time."""
        if time.ticks_diff(self._reopen_at, time.ticks_ms()) > 0:
            return
        try:
            vsock.reopen()
        except (OSError, IndexError, MemoryError) as error:
            self._wait_for_device(error.args[-1] if error.args else "no memory")
            return
        self._reopen_at = None
        self._opened_at = time.ticks_ms()
        machine.log("echo", "the device works again", "WARNING")

    def _wait_for_device(self, why):
        self._reopen_at = time.ticks_add(time.ticks_ms(), 1000 * self._pause)
        machine.log("echo", "%s: the device is opened in %d s" % (why, self._pause), "WARNING")
        self._pause = min(2 * self._pause, LAST_PAUSE)

    def _on_break(self):
        """The device broke."""
        if self._reopen_at is None:
            worked = time.ticks_diff(time.ticks_ms(), self._opened_at)
            if worked > 1000 * LAST_PAUSE:
                self._pause = FIRST_PAUSE
            self._wait_for_device("it broke")

    def _see_to_call(self):
        """Call the host when it is time; take note of a call that nobody answered."""
        if self._called is not None:
            self._on_answer()
        if self._called is None and time.ticks_diff(self._next_call, time.ticks_ms()) <= 0:
            self._call()

    def _accept(self):
        """Take all that wait; not one more, since an accept in vain costs half of another."""
        listening = self._listener.endpoint
        while listening.pending or listening.error:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                if error.errno == errnos.EIO:
                    self._on_break()
                return
            self._poller.register(sock)

    def _prepare(self, sock):
        sock.setblocking(False)
        # With vhost-device-vsock a client that stops sending looks like one that stops receiving
        # too; it still gets what it is owed.
        sock.setsockopt(socket.AF_VSOCK, socket.SO_VM_SOCKETS_LATE_SEND, 1)

    def _call(self):
        self._next_call = time.ticks_add(time.ticks_ms(), RETRY_MS)
        self._called = sock = socket.socket()
        self._unsaid = GREETING
        self._prepare(sock)
        address = socket.VMADDR_CID_HOST, self._port
        if sock.connect_ex(address) in (0, errnos.EINPROGRESS):
            self._poller.register(sock)
        else:
            self._hang_up()

    def _on_answer(self):
        """The host answered our call, or did not in time."""
        sock = self._called
        state = sock.connect_state()
        if state > 0:
            self._greet(sock)
        elif state < 0:
            self._hang_up()

    def _greet(self, sock):
        try:
            while self._unsaid:
                self._unsaid = self._unsaid[sock.send(self._unsaid) :]
        except OSError as error:
            if error.errno != errnos.EAGAIN:
                self._hang_up()
            return
        self._greeted = True
        if sock.splice(sock) < 0:
            self._end(sock)

    def _hang_up(self):
        self._called.close()
        self._called = None
        self._greeted = False

    def _end(self, sock):
        """The peer's last byte is through."""
        if sock is self._called:
            self._next_call = time.ticks_add(time.ticks_ms(), RETRY_MS)
            self._hang_up()
        else:
            sock.close()


def main():
    echo = Echo()
    print("READY vsock cid=%d port=%d" % (socket.get_local_cid(), PORT))
    _notify.tell("READY=1\nSTATUS=Echoing on port %d" % PORT)
    echo.run()
