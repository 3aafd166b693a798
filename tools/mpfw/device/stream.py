# SPDX-License-Identifier: MIT
"""One connection between a guest and a host program: a control block and the program's socket.

The block is the guest's own kind (mpy_modules/vsock: control, credit), seen from the other end:
what it says is owed goes to the guest, and the program's socket follows its state. The guest's
data go from its memory into the socket, and the program's from the socket into the guest's
buffers, each copied once, by the kernel. Nothing here waits: what a program does not take lies in
`backlog`, which the window bounds.
"""

import errno
import fcntl
import socket
import struct
import termios
from array import array
from typing import TYPE_CHECKING, Any

from mpfw.device import loop
from mpfw.device.chains import behind, cut, lay, room_in
from mpfw.device.firmware import control, credit
from mpfw.device.firmware import vsock as w
from mpfw.device.rings import Chain, RingError

if TYPE_CHECKING:
    from mpfw.device.wire import Wire

_HEADER = w.HEADER_LEN
_OWED, _EVENTS, _SHUT, _STATE, _WANTED = w.OWED, w.EVENTS, w.SHUT, w.STATE, w.WANTED
_FWD_CNT, _FWD_SENT, _BORDERS = w.FWD_CNT, w.FWD_SENT, w.BORDERS
_ESTABLISHED, _CLOSED = w.ESTABLISHED, w.CLOSED
_NOT_READ = 0xFFFFFFFF - w.EV_READ
_LISTENS = loop.IN | loop.RDHUP | loop.EDGE
_SPEAKS = _LISTENS | loop.OUT


class Stream:
    """A stream connection; `Messages` below is a seqpacket one.

    `at`, `out`, `key` and `twin` are what the firmware's Table asks of a connection.
    """

    __slots__ = (
        "at", "block", "out", "key", "twin", "header", "queued", "late", "backlog",
        "_wire", "_socket", "_readable", "_ending", "_hung_up", "_broken", "_greets",
    )  # fmt: skip

    def __init__(
        self,
        wire: "Wire",
        block: "array[int]",
        connection: socket.socket,
        readable: bool = False,
    ):
        """`connection`: the program's, which does not block; `readable`: something is in it that
        the loop will not tell of."""
        self.at = self.block = block
        self.out = self._wire = wire
        self.key: int | None = None
        self.twin: Stream | None = None
        self.header = memoryview(block).cast("B")[:_HEADER]  # of what goes to the guest next
        self.queued = False  # wire.ready has it
        self.late = False  # wire.late has it
        self.backlog: Any = self._no_backlog()  # the guest's data that the program has not taken
        self._socket: socket.socket | None = connection
        self._readable = readable  # the program may have written something, or its end
        self._ending = False  # it has said that it writes no more; what it wrote is still there
        self._hung_up = False  # it neither writes nor reads any more
        self._broken = False  # it has gone without taking what the guest had sent
        self._greets = False  # it waits for its OK

    # -- how it begins ----------------------------------------------------------------------------

    def call(self) -> None:
        """The program wants to reach the guest."""
        self._greets = True
        control.connect(self.at)
        self._wire.want(self)

    def answer(self, alloc: int, forwarded: int) -> None:
        """The guest has called, and the program takes it."""
        control.accept(self.at, alloc, forwarded)
        self._wire.want(self)

    # -- what the guest sends ---------------------------------------------------------------------

    def take(self, views: list[memoryview], n: int, flags: int, alloc: int, fwd: int) -> None:
        """OP_RW: `n` bytes, in `views` of the guest's memory."""
        block = self.block
        if control.admit(block, n, flags & block[_BORDERS], alloc, fwd) > 0:
            self._deliver(views, n, flags)
        elif block[_FWD_CNT] != block[_FWD_SENT]:
            self._wire.owe_later(self)
        if block[_OWED] or block[_EVENTS] & _NOT_READ:
            self.follow(0)

    def hear(self, op: int, flags: int, alloc: int, forwarded: int) -> None:
        """Any other packet."""
        self.follow(control.on_control(self.at, op, flags, alloc, forwarded))

    def follow(self, events: int) -> None:
        """What the block's events lead to."""
        block = self.block
        events |= block[_EVENTS]
        block[_EVENTS] = 0
        if events & w.EV_CLOSED:
            self._is_closed()
        elif events:
            if self._greets and block[_STATE] == _ESTABLISHED:
                self._greet()
            if block[_SHUT] & w.SHUT_PEER:
                self._peer_is_shut()
            if events & w.EV_WRITE and self._readable:
                self._wire.want(self)
        if block[_OWED]:
            self._wire.want(self)

    def _no_backlog(self) -> Any:
        return bytearray()

    def _deliver(self, views: list[memoryview], n: int, flags: int) -> None:
        done = 0
        if not self.backlog:
            done = self._write(views)
            if done == n:
                self._forwarded(n)
                return
            if self._broken:
                return
        left = done
        for view in views:
            self.backlog += view[left:]
            left = max(0, left - len(view))
        assert self._socket is not None
        self._wire.loop.change(self._socket.fileno(), _SPEAKS)
        if done:
            self._forwarded(done)

    def _write(self, views: list[memoryview]) -> int:
        """Hand bytes to the program; how many it took."""
        assert self._socket is not None
        try:
            if len(views) == 1:
                return self._socket.send(views[0])
            return self._socket.sendmsg(views)
        except BlockingIOError:
            return 0
        except OSError:
            self._is_gone()
            return 0

    def _forwarded(self, n: int) -> None:
        """The program's socket has taken bytes: the guest is told when it is time."""
        block = self.block
        credit.consumed(block, n)
        if block[_FWD_CNT] != block[_FWD_SENT] and not self.late:
            self._wire.owe_later(self)

    def tell(self) -> bool:
        """Time has passed: say what was not worth a packet; ask for room. True: look again."""
        block = self.block
        credit.tell(block)
        waits = block[_WANTED] and self._readable and block[_STATE] == _ESTABLISHED
        if waits:
            block[_OWED] |= w.OWE_CREDIT_REQUEST
        if block[_OWED]:
            self._wire.want(self)
        return bool(waits)

    # -- what the program does --------------------------------------------------------------------

    def happened(self, events: int) -> None:
        """The loop tells of the program's socket."""
        if events == loop.IN:  # as most
            self._readable = True
            if not self.queued and self.block[_STATE] == _ESTABLISHED:
                self._wire.want(self)
            return
        if events & loop.OUT and self.backlog:
            self._flush()
        if self._socket is None:
            return
        if events & (loop.HUP | loop.ERR) and not self._hung_up:
            self._hang_up()
        if events & (loop.IN | loop.RDHUP | loop.HUP):
            self._readable = True
            if events & loop.RDHUP:
                self._ending = True
            if self.block[_STATE] == _ESTABLISHED:
                self._wire.want(self)
                if self._hung_up:
                    self._wire.serve()  # the guest can end it while we go on

    def _flush(self) -> None:
        n = self._write_backlog()
        if self._broken:
            return
        if not self.backlog:
            assert self._socket is not None
            if self.block[_STATE] == _CLOSED:
                self._let_go()
                return
            self._wire.loop.change(self._socket.fileno(), _LISTENS)
        if n:
            self._forwarded(n)
        self.follow(w.EV_READ)

    def _write_backlog(self) -> int:
        with memoryview(self.backlog) as view:
            n = self._write([view])
        del self.backlog[:n]
        return n

    def _hang_up(self) -> None:
        """The program has closed its end, or is dead."""
        self._hung_up = self._ending = True
        state = self.block[_STATE]
        assert self._socket is not None
        if state == _CLOSED:
            self._let_go()
        elif state < _ESTABLISHED:
            self.follow(control.close(self.at))
        elif self.backlog or self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._is_gone()

    def _is_gone(self) -> None:
        """It has left data unread: what it wrote itself goes out as far as the guest takes it at
        once, then the guest hears an RST."""
        self._broken = self._hung_up = self._ending = self._readable = True
        self.backlog = self._no_backlog()
        if self.block[_STATE] == _CLOSED:
            self._let_go()
        else:
            self._wire.want(self)

    # -- what goes to the guest -------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether there may be something to say to the guest."""
        return self._readable or self.block[_OWED] != 0

    def fill(self, chain: Chain) -> int:
        """Lay the next packet into a receive chain: bytes with its header, 0 if there is none."""
        if self.block[_OWED]:
            return self._owed(chain)
        if not self._readable or self._socket is None:
            return 0
        room = credit.room(self.at)
        if room <= 0:
            return self._no_room(chain, room)
        return self._pull(chain, room)

    def _pull(self, chain: Chain, room: int) -> int:
        front, body, most = chain.note or room_in(chain)
        if not most:
            raise RingError(f"a receive buffer of {chain.room} bytes")
        if room < most:
            most = room
        assert self._socket is not None
        try:
            if body:
                n = self._socket.recv_into(body, most)
            else:
                n = self._socket.recvmsg_into(cut(behind(chain, _HEADER), most))[0]
        except BlockingIOError:
            self._readable = False
            return 0
        except OSError:
            n = 0
            self._broken = True
        if not n:
            return self._no_more(chain)
        if n < most and not self._ending:
            self._readable = False  # it is empty: what comes next is another event
        control.send(self.at, n, 0)
        if front is None:
            return lay(chain, self.header) + n
        front[:] = self.header
        size: int = _HEADER + n
        return size

    def _owed(self, chain: Chain) -> int:
        if not control.next_owed(self.at):
            return 0
        return lay(chain, self.header)

    def _no_room(self, chain: Chain, room: int) -> int:
        """The guest takes nothing now (0) or never again (less)."""
        block = self.block
        if block[_STATE] < _ESTABLISHED:
            return 0
        if room < 0:
            self._readable = False
        else:
            if self._ending and not self._holds_more():
                return self._no_more(chain)
            block[_WANTED] = 1
        if self._broken:
            control.fail(self.at, errno.ECONNRESET)
        elif self._hung_up and room < 0:
            return self._close(chain)
        elif self._hung_up:
            control.shutdown(self.at, w.SHUT_LOCAL_RCV)  # a guest that sends need not wait
        else:
            if room == 0:
                self._wire.owe_later(self)
            return 0
        self.follow(0)
        return self._owed(chain)

    def _holds_more(self) -> bool:
        """Whether the program, which writes no more, wrote something that has not gone out."""
        assert self._socket is not None
        return waiting(self._socket) > 0

    def _no_more(self, chain: Chain) -> int:
        """The program's last byte has gone out."""
        self._readable = False
        if self._broken:
            control.fail(self.at, errno.ECONNRESET)
            events = 0
        elif self._hung_up:
            return self._close(chain)
        else:
            control.shutdown(self.at, w.SHUT_LOCAL_SEND)
            events = control.settle(self.at)
        self.follow(events)
        return self._owed(chain)

    def _close(self, chain: Chain) -> int:
        self.follow(control.close(self.at))
        self._let_go()
        if self.block[_STATE] != _CLOSED:
            self._wire.linger(self)
        return self._owed(chain)

    # -- how it ends ------------------------------------------------------------------------------

    def _greet(self) -> None:
        self._greets = False
        self._write([memoryview(b"OK %d\n" % self.block[w.SRC_PORT])])

    def _peer_is_shut(self) -> None:
        """The guest sends no more, or takes no more; the program hears of it."""
        shut = self.block[_SHUT]
        if shut & w.SHUT_PEER_RCV:
            self._shut(socket.SHUT_RD)
        if shut & w.SHUT_PEER_SEND and not self.backlog:
            self._shut(socket.SHUT_WR)
            if shut & w.SHUT_PEER_RCV:
                # As Linux: nobody waits for what the guest has not read and will not read.
                control.fail(self.at, 0)
                self.follow(0)

    def _shut(self, how: int) -> None:
        if self._socket is not None:
            try:
                self._socket.shutdown(how)
            except OSError:
                pass  # the program has gone: its hang-up is told

    def _is_closed(self) -> None:
        """An RST came or is owed."""
        self._readable = False
        self._wire.forget(self)
        if not self.backlog:
            self._let_go()

    def reset(self) -> None:
        """End it: the guest hears an RST, the program the end."""
        control.fail(self.at, errno.ECONNRESET)
        self.follow(0)

    def lose(self) -> None:
        """The guest is gone, and the connection with it."""
        control.drop(self.at, errno.ECONNRESET)
        self.block[_EVENTS] = 0
        self._is_closed()

    def _let_go(self) -> None:
        """The program's socket is done with."""
        if self._socket is not None:
            self._wire.loop.close(self._socket)
            self._socket = None


def waiting(connection: socket.socket) -> int:
    """Bytes that can be read."""
    count: int = struct.unpack("i", fcntl.ioctl(connection, termios.FIONREAD, bytes(4)))[0]
    return count
