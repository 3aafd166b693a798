# SPDX-License-Identifier: MIT
"""A virtio-console with several ports (virtio 1.2, 5.3) that is a PCI function of ours.

Polite, it tells of its ports when the driver is ready, names them, opens them, and takes what the
guest writes. A test may send any control message, and lie in any ring.
"""

import struct
from collections import deque

from mpfw.device.rings import Chain, Ring
from mpfw.device.virtio_pci import F_EVENT_IDX, VirtioFunction

_CONSOLE = 3  # device type
_CONFIG = struct.Struct("<HHI")  # cols, rows, max_nr_ports (5.3.4)
_F_MULTIPORT = 1 << 1
_CONTROL = struct.Struct("<IHH")  # port, event, value (5.3.6.2)

CONTROL_RX, CONTROL_TX = 2, 3  # queues, 5.3.2
DEVICE_READY, DEVICE_ADD, DEVICE_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME = (
    range(8)
)


def queues(port: int) -> tuple[int, int]:
    """The numbers of a port's queues: what it receives in, what it sends through (5.3.2)."""
    return (0, 1) if port == 0 else (2 * port + 2, 2 * port + 3)


class ConsoleFunction(VirtioFunction):
    """A console whose ports have `names`, number by number.

    `written` is what the guest wrote, by port; `messages` are its control messages, in order.
    """

    def __init__(
        self,
        names: tuple[bytes, ...] = (b"mpfw.io", b"mpfw.err"),
        vectors: int = 4,
        size: int = 64,
        most: int | None = None,
    ):
        """`size`: entries of each queue; `most`: max_nr_ports, if it is not how many there are."""
        count = 2 * len(names) + 2
        config = _CONFIG.pack(80, 25, len(names) if most is None else most)
        features = F_EVENT_IDX | _F_MULTIPORT
        super().__init__(_CONSOLE, (size,) * count, config, vectors, features)
        self.names = names
        self.polite = True  # answers control messages
        self.takes = {queues(port)[1] for port in range(len(names))} | {CONTROL_TX}
        self._clear()

    def _clear(self) -> None:
        self.written = [bytearray() for _ in self.names]
        self.messages: list[tuple[int, int, int]] = []
        self.posted: dict[int, deque[Chain]] = {}
        self._due: dict[int, deque[bytes]] = {}

    # -- for tests --------------------------------------------------------------------------------

    def tell(self, port: int, event: int, value: int = 1, more: bytes = b"") -> None:
        """Send a control message, whatever it says, now or when there is a buffer for it."""
        self.give(CONTROL_RX, _CONTROL.pack(port, event, value) + more)

    def send(self, port: int, data: bytes) -> None:
        """Bytes for the guest to read."""
        self.give(queues(port)[0], data)

    def give(self, index: int, data: bytes) -> None:
        """Fill one buffer of a queue, now or when there is one."""
        with self.lock:
            self._due.setdefault(index, deque()).append(data)
            self._flush(index)

    def await_written(self, port: int, wanted: bytes, timeout: float = 10) -> None:
        """Wait until the guest has written that. Raises TimeoutError."""
        self.wait(lambda: wanted in self.written[port], timeout)

    def running(self, index: int) -> Ring:
        """A queue's ring; the driver is at work."""
        ring = self.ring(index)
        assert ring is not None, f"queue {index} does not run"
        return ring

    # -- what the driver does ---------------------------------------------------------------------

    def stopped(self) -> None:
        self.posted.clear()
        self._due.clear()

    def notified(self, index: int) -> None:
        if index & 1:
            if index in self.takes:
                self._take(index)
        else:
            self._flush(index)

    def _flush(self, index: int) -> None:
        ring, due = self.ring(index), self._due.get(index)
        while ring is not None and due and (ring.waiting or ring.ask()):
            chain = ring.pop()
            assert chain is not None
            data = due.popleft()
            view = chain.buffers[0][0]
            view[: len(data)] = data[: len(view)]
            ring.push(chain, min(len(data), len(view)))
            ring.interrupt()
        if ring is not None:
            ring.ask()

    def _take(self, index: int) -> None:
        ring = self.ring(index)
        while ring is not None and (ring.waiting or ring.ask()):
            chain = ring.pop()
            assert chain is not None
            data = b"".join(bytes(view) for view, writes in chain.buffers if not writes)
            ring.push(chain, 0)
            ring.interrupt()
            if index == CONTROL_TX:
                self._control(*_CONTROL.unpack_from(data))
            else:
                self.written[0 if index == 1 else index // 2 - 1] += data

    def _control(self, port: int, event: int, value: int) -> None:
        self.messages.append((port, event, value))
        if not self.polite:
            return
        if event == DEVICE_READY:
            for number in range(len(self.names)):
                self.tell(number, DEVICE_ADD)
        elif event == PORT_READY and port < len(self.names):
            self.tell(port, PORT_NAME, 1, self.names[port] + b"\0")
            self.tell(port, PORT_OPEN, 1)
