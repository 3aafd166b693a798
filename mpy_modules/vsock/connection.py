# SPDX-License-Identifier: MIT
"""One connection as sockets use it: bytes in, bytes out, never waiting for anything.

Joins the control block (control.py, credit.py), the received bytes (store.py) and the way out
(transmit.py or loopback.py). Whoever wants to wait does so above and calls again.
"""

from portable import addressof, micropython, nbytes, ptr32

from . import control, credit
from . import words as w
from .store import Store


class Connection:
    """A stream or seqpacket connection. Made by the Stack, which also removes it."""

    # What most connections never change stands here: an object's own attribute costs 1 us to make.
    twin = None  # the table's: the next connection with the same key
    holder = None  # what occupies the local port as long as this connection lives
    queued = False  # it is in the Ready's list
    behind = None  # next in that list
    socket = None  # what Ready hands out
    deadline = None  # ticks_ms when the stack gives the peer up (CLOSING)
    patience = 60000  # ms; a late sender's, see Stack.mind
    moved = None  # `progress` when the Stack last looked at a late sender
    stalled = None  # the same, and bytes received, at the last `look_for_stalled`
    looks = 0  # so many of those in a row have found it where it was
    looked = None  # ticks_ms when it looks again at a late sender; None: not at all
    edges = None  # over the loopback: where the packets that are not read to their ends do end
    staged = -1  # the segment that holds what send() got and the peer had no room for

    @micropython.native
    def __init__(self, stack, out, block):
        self.stack = stack
        self.out = out  # Transmitter or Loopback
        self.block = block
        self.at = addressof(block)
        self.key = None  # the table's
        self.watch = None  # the ready.Ready that wants to hear of events

    def __repr__(self):
        return "<Connection %s>" % control.describe(self.block)

    def progress(self):
        """A number that changes when bytes are sent, taken by the peer or read."""
        block = self.block
        return block[w.TX_CNT] + block[w.PEER_FWD] + block[w.READ_CNT]

    # -- receiving --------------------------------------------------------------------------------

    @micropython.viper
    def receive_now(self, buffer, want: int, wait: bool) -> int:
        """Copy received bytes of a stream to `buffer`: what most calls of recv_into come to.

        At most `want`, or with 0 as many as fit. `wait`: for a moment, if there are none. Returns
        how many; -1 at the end of the stream; 0 may mean anything, and `receive` will tell.
        """
        at = int(self.at)
        c = ptr32(at)
        n = int(nbytes(buffer, True))
        if want != 0:
            if want > n:
                return 0
            n = want
        if n <= 0 or c[w.BORDERS] != 0 or c[w.LOWAT] != 1:
            return 0
        into = int(addressof(buffer))
        stack = self.stack
        while True:
            got = int(Store.read(stack.store, at, into, n, 0))
            if got != 0 or not wait or c[w.SHUT] != 0:
                break
            wait = False
            if not stack.waiter.spin():
                break
        if got != 0:
            news = int(credit.consumed(at, got))
            if news != 0:
                self._follow(news)
        elif c[w.SHUT] & w.SHUT_NO_MORE and not c[w.SHUT] & w.SHUT_LOST and c[w.ERROR] == 0:
            return -1
        return got

    @micropython.native
    def receive(self, into, want, peek):
        """Copy up to `want` received bytes to address `into`; 0 if there are none."""
        n = self.stack.store.read(self.at, into, want, peek)
        if n and not peek:
            self.consumed(n)
        return n

    @micropython.native
    def consumed(self, n):
        """`n` bytes left the queue: tell the peer when it is time, or end what has ended."""
        news = credit.consumed(self.at, n)
        if news:
            self._follow(news)

    @micropython.native
    def _follow(self, news):
        if news & w.TAKEN:
            self.out.taken(self)
        if news & w.WIDEN:
            self.stack.budget.widen(self.at)
        if news & w.UPDATE_DUE:
            self.flush()
        if news & w.TOLD_BOTH:
            self.stack.after(self, control.settle(self.at))

    @micropython.native
    def receive_message(self, into, want, peek):
        """Seqpacket: copy the first message, cut to `want`; returns (copied, length, flags).

        The caller has seen that there is a whole one.
        """
        store = self.stack.store
        at = self.at
        length = store.message(at)
        n = store.read(at, into, min(want, length), True)
        seg = store.head(at)
        left = length
        while True:
            left -= store.length(seg)
            flags = store.flags(seg)
            following = store.after(seg)
            if not peek:
                store.release(store.unlink(at))
            if left <= 0:
                break
            seg = following
        if not peek:
            self.block[w.MESSAGES] -= 1
            self.consumed(length)
        return n, length, flags

    @micropython.native
    def take(self):
        """Take the first segment out of the queue; its number, or -1. It counts as received.

        The caller owns it: it gives it to the store's `release`, or sends it on.
        """
        store = self.stack.store
        if store.head(self.at) < 0:
            return -1
        seg = store.unlink(self.at)
        self.consumed(store.length(seg))
        return seg

    # -- sending ----------------------------------------------------------------------------------

    @micropython.viper
    def send_now(self, data) -> int:
        """Send a little, or bytes, on a stream, as a whole: what most calls of send come to.

        Returns how much; negative if only a part of it went. 0 may mean anything, and `send` will
        tell.
        """
        at = int(self.at)
        n = int(nbytes(data))
        if n == 0 or ptr32(at)[w.BORDERS] != 0:
            return 0
        room = int(credit.room(at))
        if room < n:
            return 0
        if n <= w.INLINE:
            if not self.out.small(at, addressof(data), n, 0):
                return 0
            return n
        if type(data) is not bytes:
            return 0
        sent = int(self.send(addressof(data), n, data, 0, 0))
        if sent == n:
            return n
        return 0 - sent

    @micropython.viper
    def send(self, data: int, n: int, buffer, flags: int, copies: int) -> int:
        """Send up to `n` bytes at address `data`; returns how many, 0 if it would block.

        -EPIPE if nothing can be sent any more. The device may read `buffer`, to which `data`
        belongs, until the block's LENT is 0; or longer, if it is bytes: those do not change, and
        are not collected while it does. With `copies` it reads bytes only, and of everything else
        a copy. On seqpacket `flags` go with the last packet.
        """
        at = int(self.at)
        out = self.out
        room = int(credit.room(at))
        if n > room:
            ptr32(at)[w.WANTED] = 1
            if room <= 0:
                return room
            n = room
            flags = 0
        if n <= w.INLINE:
            if n != 0 and not out.small(at, data, n, flags):
                return 0
            return n
        changes = 0
        if type(buffer) is not bytes:
            changes = 1 + copies
        done = 0
        while done < n:
            part = n - done
            last = 1
            mark = flags
            if part > w.MAX_DATA:
                part = w.MAX_DATA
                last = 0
                mark = 0
            part = int(out.put(self, data + done, part, buffer, mark, changes, last))
            if part == 0:
                out.publish()
                break
            done += part
        return done

    @micropython.native
    def stage(self, data, n):
        """Copy `n` bytes, too many for a small packet, while the peer has no room for them.

        False: that would not help, or there is no memory to spare. Otherwise send_staged sends
        them: with vhost-device-vsock and its window of one packet, the copy overlaps with the
        device's work.
        """
        if not w.INLINE < n <= w.MAX_DATA:
            return False
        if self.staged >= 0:
            self.unstage()
        seg = self.out.spare()
        if seg < 0:
            return False
        self.stack.store.fill(seg, data, n)
        self.staged = seg
        return True

    @micropython.native
    def send_staged(self):
        """Send what is staged, or a part of it; returns how many bytes, as `send` does."""
        room = credit.room(self.at)
        store = self.stack.store
        seg = self.staged
        n = store.length(seg)
        if n <= room:
            self.staged = -1
        else:
            self.block[w.WANTED] = 1
            if room <= 0:
                return room
            n = room
        if not self.out.put_segment(self.at, seg, n, 0, 1):
            self.staged = seg
            return 0
        return n

    @micropython.native
    def unstage(self):
        """Forget what is staged: sending it was given up."""
        self.stack.store.release(self.staged)
        self.staged = -1

    @micropython.viper
    def splice(self, to) -> int:
        """Send what has been received on through the Connection `to`, without copies.

        As much as `to` takes now; returns how many bytes, or -1 once the peer stopped sending and
        everything is through, or `to` takes no more for ever. 0: news on either side are needed.
        """
        store = self.stack.store
        at = int(self.at)
        c = ptr32(at)
        to_at = int(to.at)
        out = to.out
        slots = ptr32(out.at)
        moved = 0
        last = 0
        over = 0
        while True:
            seg = int(Store.head(store, at))
            if seg < 0:
                if c[w.SHUT] & w.SHUT_NO_MORE or c[w.STATE] == w.CLOSED:
                    over = 1
                break
            room = int(credit.room(to_at))
            if room > 0 and slots[w.OUT_FREE] <= slots[w.OUT_RESERVE]:
                room = int(to.room())
            n = int(Store.length(store, seg))
            if n <= room:
                Store.unlink(store, at)
            else:
                ptr32(to_at)[w.WANTED] = 1
                if room <= 0:
                    if room < 0:
                        over = 1
                    break
                n = room
            # First: the credit it gives goes out with the data.
            credit.count(at, n)
            last = int(n == room or c[w.HEAD] == c[w.ONES])
            if not int(out.put_segment(to_at, seg, n, 0, last)):
                # The device broke: nothing goes out any more.
                if int(Store.head(store, at)) != seg:
                    Store.release(store, seg)
                over = 1
                break
            moved += n
        if moved != 0:
            if not last:
                out.publish()
            news = int(credit.news(at))
            if news != 0:
                self._follow(news)
        # The end is told along with the last bytes: no other event need follow it.
        if over:
            return -1
        return moved

    @micropython.native
    def room(self):
        """Bytes that may be sent at once; 0: it would block; -EPIPE: never again.

        Who asks hears of credit that comes (`notify`).
        """
        self.block[w.WANTED] = 1
        room = credit.room(self.at)
        if room > 0 and self.out.full():
            self.out.reap()
            if self.out.full():
                self.stack.starve(self)
                return 0
        return room

    # -- control ----------------------------------------------------------------------------------

    @micropython.native
    def flush(self):
        """Send the control packets that are owed."""
        if self.block[w.OWED]:
            self.out.settle_debts(self)
            self.out.publish()

    @micropython.native
    def tell(self):
        """Nothing is left to read: the peer should know, before anybody sleeps."""
        if credit.tell(self.at):
            self.flush()

    @micropython.native
    def ask_credit(self):
        """Ask the peer how much it would take: it may have forgotten to say."""
        self.block[w.OWED] |= w.OWE_CREDIT_REQUEST
        self.flush()

    @micropython.native
    def shutdown(self, how):
        """Close directions, SHUT_LOCAL_* bits; what is queued unread goes with SHUT_LOCAL_RCV."""
        unread = control.shutdown(self.at, how)
        if unread:
            self.discard(unread)
        self.stack.after(self, control.settle(self.at))
        if self.edges is not None and self.block[w.SHUT] & w.SHUT_LOCAL == w.SHUT_LOCAL:
            self.out.forget(self)

    @micropython.native
    def discard(self, unread):
        self.stack.store.discard(self.at)
        block = self.block
        block[w.MESSAGES] = 0
        if block[w.OPTIONS] & w.OPT_SHUTDOWN_ONCE:
            block[w.READ_CNT] = block[w.RX_CNT]  # as Linux, which gives no credit for these
        else:
            credit.consumed(self.at, unread)

    def resize(self, size):
        """The program wants a window of `size` bytes; the peer hears of as many as there are."""
        credit.set_window(self.at, self.stack.budget.resize(self, size))
        self.flush()

    @micropython.native
    def close(self):
        """The program is done with it; the stack keeps it until the peer is too."""
        if self.watch is not None:
            self.hear(None)
        if self.staged >= 0:
            self.unstage()
        self._discard_all()
        self.stack.after(self, control.close(self.at))
        if self.edges is not None:
            self.out.forget(self)
        self.stack.linger(self)

    @micropython.native
    def forget(self):
        """The connection is gone, and no program ever had it: nor will one read what came."""
        self._discard_all()
        self.stack.linger(self)

    @micropython.native
    def _discard_all(self):
        unread = credit.queued(self.at)
        if unread:
            self.discard(unread)

    @micropython.native
    def hear(self, watch):
        """From now on the Ready `watch` hears of events; None: nobody does."""
        self.watch = watch
        self.block[w.WATCHED] = int(watch is not None)

    @micropython.native
    def notify(self):
        """Something happened: tell who watches."""
        if self.watch is not None and not self.queued:
            self.watch.add(self)
