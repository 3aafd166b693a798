# SPDX-License-Identifier: MIT
"""Several guests' devices in one process: QEMU's sockets, and who reaches whom.

Guests that share a group are siblings: packets for each other's CIDs pass as they are, connections
and credit are the guests' own business. The switch remembers only which ports have spoken, so that
a guest hears an RST when its sibling is gone.
"""

import socket
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mpfw.device.datagram_programs import UnixDatagrams
from mpfw.device.firmware import vsock as w
from mpfw.device.loop import IN, Loop
from mpfw.device.programs import Acceptor, Listener, UnixPrograms, VsockPrograms
from mpfw.device.settings import VHOST_USER, Settings
from mpfw.device.vhost_user import BackEnd, ProtocolError
from mpfw.device.wire import Tap, Wire
from mpfw.device.wire_pci import PciBackEnd

if TYPE_CHECKING:
    from mpfw.device.faults.faulty import Faulty
    from mpfw.device.faults.injector import Injector

_MOST_PAIRS = 1 << 16  # of ports of two guests, beyond which sibling connections are refused

Pair = tuple[int, int, int, int]  # CID and port of who called, CID and port of who was called


class Place:
    """One guest's device: where QEMU finds it, where programs do."""

    def __init__(self, settings: Settings, switch: "Switch"):
        """Raises PathError."""
        self.settings = settings
        self.switch = switch
        window, datagrams = settings.tx_buffer_size, settings.datagrams
        self.wire = Wire(settings.guest_cid, switch.loop, switch, window, datagrams)
        self._datagrams: UnixDatagrams | None = None
        self.served: Wire | Faulty = self.wire  # what QEMU is given
        if switch.faults is not None:
            from mpfw.device.faults import faulty

            self.served = faulty.Faulty(
                self.wire, switch.loop, switch.faults, self._hang_up, self._tell
            )
        self.programs: UnixPrograms | VsockPrograms
        if settings.uds_path is not None:
            self.programs = UnixPrograms(settings.uds_path, settings.mode)
            if datagrams:
                self._datagrams = UnixDatagrams(settings.uds_path, settings.mode, self.wire.mail)
        else:
            assert settings.forward_cid is not None
            self.programs = VsockPrograms(settings.forward_cid, settings.forward_listen)
        self._listener: Listener | None = None
        self._acceptor: Acceptor | None = None
        self._back_end: BackEnd | PciBackEnd | None = None

    def open(self) -> None:
        """Listen for programs and for QEMU. Raises PathError."""
        self.programs.open(self.switch.loop, self.wire.call)
        if self._datagrams is not None:
            self._datagrams.open(self.switch.loop)
        self._listener = Listener(self.settings.socket, socket.SOCK_STREAM, self.settings.mode)
        self._wait_for_qemu()

    def close(self) -> None:
        """End everything; the guest's device is dead then."""
        self._hang_up()
        if self._acceptor is not None:
            self._acceptor.close()
        if self._listener is not None:
            self._listener.close()
        self.programs.close()
        if self._datagrams is not None:
            self._datagrams.close()

    def _wait_for_qemu(self) -> None:
        assert self._listener is not None
        self._acceptor = Acceptor(self.switch.loop, self._listener.socket, self._take)

    def _take(self, connection: socket.socket) -> None:
        """QEMU has come; another one waits until this one has gone."""
        if self._back_end is not None:
            connection.close()
            return
        connection.setblocking(True)
        if self.settings.carrier == VHOST_USER:
            self._back_end = BackEnd(connection, self.served, self.settings.queue_size)
        else:
            self._back_end = PciBackEnd(connection, self.served, self.settings.carrier)
        self.switch.loop.add(connection.fileno(), IN, self._serve)

    def _serve(self, _events: int) -> None:
        assert self._back_end is not None
        try:
            self._back_end.serve()
        except ProtocolError as error:
            if not self._back_end.hung_up:
                self.switch.log(self.wire, f"QEMU is hung up on: {error}")
            self._hang_up()

    def _tell(self, event: str) -> None:
        """The guest is to hear of one of actions.EVENTS."""
        from mpfw.device.faults.actions import CONFIG, TRANSPORT_RESET

        if self._back_end is None:
            return
        try:
            if event == CONFIG:
                self._back_end.config_changed()
            elif isinstance(self._back_end, BackEnd):
                raise ProtocolError("vhost-user has no way to (docs/faults.md)")
            elif event == TRANSPORT_RESET:
                self._back_end.transport_reset()
                self.wire.lose()
            else:
                self._back_end.needs_reset()
        except ProtocolError as error:
            self.switch.log(self.wire, f"its driver is not told ({event}): {error}")

    def _hang_up(self) -> None:
        if self._back_end is not None:
            self.switch.loop.remove(self._back_end.connection.fileno())
            self._back_end.close()
            self._back_end = None
            self.wire.leave()


class Switch:
    """The devices of one process and their loop. What wire.Outside describes."""

    def __init__(
        self,
        settings: Sequence[Settings],
        say: Callable[[str], None] | None = None,
        faults: "Injector | None" = None,
    ) -> None:
        """`say` is given what the user should hear, a line each time; standard error if none.
        `faults`: rules that all packets go through."""
        self.loop = Loop()
        self.faults = faults
        self._say = say or _say
        self._places = {each.guest_cid: Place(each, self) for each in settings}
        self._pairs: dict[Pair, None] = {}
        self._said: dict[str, float] = {}

    @property
    def wires(self) -> list[Wire]:
        """The guests, in the order of the settings."""
        return [place.wire for place in self._places.values()]

    def tap(self, tap: Tap | None) -> None:
        """Show every packet of every guest to `tap` (Wire.tap), before `open`."""
        for place in self._places.values():
            place.served.tap = tap

    def open(self) -> None:
        """Make all sockets. Raises PathError, and there are none then."""
        try:
            for place in self._places.values():
                place.open()
        except BaseException:
            self.close()
            raise

    def run(self) -> None:
        """Serve until `stop`."""
        self.loop.run()

    def stop(self) -> None:
        """Have `run` return."""
        self.loop.stop()

    def report(self) -> None:
        """Say what was dropped, and why."""
        for wire in self.wires:
            if wire.drops:
                counts = ", ".join(f"{why}: {n}" for why, n in wire.drops.most_common())
                self._say(f"{wire}: {wire.drops.total()} packets were dropped ({counts})")

    def close(self) -> None:
        """Remove the sockets and end all connections."""
        for place in self._places.values():
            place.close()
        self.loop.end()

    # -- what wire.Outside asks -------------------------------------------------------------------

    def log(self, wire: Wire, what: str) -> None:
        """Tell the user; a guest that repeats itself is heard once a second."""
        now = time.monotonic()
        line = f"{wire}: {what}"
        if now - self._said.get(line, -1.0) >= 1:
            if len(self._said) > 100:
                self._said.clear()
            self._said[line] = now
            self._say(line)

    def dial(self, wire: Wire, port: int, packet_type: int) -> Any:
        return self._places[wire.cid].programs.dial(port, packet_type)

    def pass_on(self, wire: Wire, words: "array[int]", data: list[memoryview]) -> bool:
        other = self._sibling(wire, words[w.DST_CID])
        if words[w.TYPE_OP] & w.TYPE_MASK == w.TYPE_DGRAM and wire.mail.works:
            wire.mail.send(words, data, None if other is None else other.mail)
            return True
        if other is None:
            return False
        op = words[w.TYPE_OP] >> w.OP_SHIFT
        if self._note(words, op) and other.receive(array("I", words), b"".join(data)):
            return True
        if op != w.OP_RST:
            wire.refuse(words)
        return True

    def gone(self, wire: Wire) -> None:
        lost = [pair for pair in self._pairs if wire.cid in (pair[0], pair[2])]
        for pair in lost:
            del self._pairs[pair]
            here = pair if pair[0] == wire.cid else (*pair[2:], *pair[:2])
            other = self._places[here[2]].wire
            if other.running:
                words = array("I", bytes(w.HEADER_LEN))
                words[w.SRC_CID], words[w.SRC_PORT] = here[2:]
                words[w.DST_CID], words[w.DST_PORT] = here[:2]
                words[w.TYPE_OP] = w.TYPE_STREAM
                other.refuse(words)

    def _sibling(self, wire: Wire, cid: int) -> Wire | None:
        place = self._places.get(cid)
        if place is None or cid == wire.cid:
            return None
        own = self._places[wire.cid].settings.groups
        return place.wire if set(own) & set(place.settings.groups) else None

    def _note(self, words: "array[int]", op: int) -> bool:
        """Remember who speaks to whom; False: too many do."""
        near = words[w.SRC_CID], words[w.SRC_PORT]
        far = words[w.DST_CID], words[w.DST_PORT]
        if op == w.OP_REQUEST:
            if len(self._pairs) >= _MOST_PAIRS:
                return False
            self._pairs[(*near, *far)] = None
        elif op == w.OP_RST:
            self._pairs.pop((*near, *far), None)
            self._pairs.pop((*far, *near), None)
        return True


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
