# SPDX-License-Identifier: MIT
"""vsock for MicroPython: `get()` is the one that `socket` uses; device 0 unless told otherwise.

Nothing touches the hardware before the first call of `get()`. docs/architecture.md has the map.
"""

from . import words as w

_stacks = {}
_kept = {}  # Stores that a device may still write to, since it did not reset: by its Memory
_datagrams = False  # what datagrams() was told
_before = []  # called with a Stack that has its device, before that works
# Receive buffers: 16 in the ring, the others hold what programs have not read.
_BUFFERS = 40
_BUFFERS_LEAST = 20  # in a machine of 16 MiB
_BUFFERS_FEWEST = 5  # where a program's heap has the memory already
_LITTLE = 120 << 20  # bytes of RAM
_BLOCKS = 64 << 20  # bytes of smaller ones at most, see _blocks
_REST = 1 << 20  # bytes that this leaves for the device's rings: a 32nd of the RAM, no more
_SNAPLEN = 256  # bytes of payload in a capture
_NOTES = 128 << 10  # bytes of packets that wait to be written, twice
_WINDOW = 16 << 20  # bytes up to which a window grows by itself


def devices():
    """The transports of this machine's vsock devices, in bus order."""
    import virtio

    return virtio.find(virtio.SOCKET)


def set_aside():
    """There will be sockets: from now on the heap leaves them their memory. A program that makes
    none has all of it."""
    from machine import dma_reserve, ram

    if not _stacks:
        dma_reserve(_blocks(ram()))


def before_start(function):
    """Have function(stack) called once, before the next device works: packets that wait in the
    host find the connections that it opens."""
    _before.append(function)


def get(index=0):
    """The sockets of the machine's vsock device number `index`, brought up when first asked for.

    Without any device there is still the loopback. IndexError for a device that is not there.
    """
    if index not in _stacks:
        _stacks[index] = bring_up(_transport(index))
    return _stacks[index]


def close(index=0):
    """Take a device down in a running program: its connections end, its listeners stay.

    A connection's next call is ECONNRESET, later ones ENOTCONN; docs/errno.md has the table.
    """
    import errnos

    stack = get(index)
    device = stack.device
    if device is not None:
        stack.part(errnos.ECONNRESET)
        device.close()


def reopen(index=0):
    """Bring a device up again that was closed or that broke, or anew one that works.

    What listens goes on listening. Raises NotSupported, DeviceBroken; IndexError if it is gone.
    """
    if index not in _stacks:
        get(index)
        return
    transport = _transport(index)
    if transport is None:
        raise IndexError("this machine has no vsock device")
    close(index)
    _start(_stacks[index], transport)


def capture(to, snaplen=_SNAPLEN, room=_NOTES, device=0):
    """Write all packets from now on to a file or a connected socket, as pcapng; a Capture.

    Of each packet `snaplen` bytes of payload are kept; twice `room` bytes wait to be written.
    docs/seeing.md has more of it. A socket does not block from then on. Its `close()` ends it.
    """
    from .pcap import Capture

    return Capture(get(device), to, snaplen, room)


def raw(device=0, ports=(), alone=False):
    """Packets as they are, beside the sockets: a Raw, whose `close()` ends it.

    Packets to `ports` are the script's and not the sockets'; with `alone` all are.
    """
    from .packets import Raw

    return Raw(get(device), ports, alone)


def _transport(index):
    found = devices()
    if index and index >= len(found):
        raise IndexError("this machine has %d vsock devices" % len(found))
    return found[index] if found else None


def datagrams(on=True):
    """Have SOCK_DGRAM even if no device offers datagrams: they then stay within this machine.

    With False new ones are ENODEV again where the device does not offer them.
    """
    global _datagrams
    _datagrams = on


def has_datagrams(stack):
    """Whether this stack's sockets may be of type SOCK_DGRAM."""
    return _datagrams or offers_datagrams(stack.device)


def offers_datagrams(device):
    """Whether there is this device, and whether datagrams were agreed on with it."""
    return device is not None and device.features & w.F_DGRAM != 0


def bring_up(transport):
    """Everything that is there for one device, in order; without one, for the loopback alone.

    `transport` is a virtio.transport.Transport, or None. Returns the Stack, which has the rest.
    """
    from machine import seed

    from .stack import Stack
    from .wait import Waiter

    memory = None if transport is None else transport.memory
    store = _kept.pop(memory, None) or _store(transport is not None)
    # Where automatic ports begin: elsewhere each time, so that no peer takes one for the last.
    first = 1024 + (seed() & 0x0FFFFFFF)
    try:
        stack = Stack(store, _WINDOW, first)
        stack.waiter = Waiter(stack)
        if transport is not None:
            _start(stack, transport)
    except BaseException:
        if store.abandoned:
            _kept[memory] = store  # for the next try
        else:
            store.close()
        raise
    return stack


def _blocks(memory):
    """Bytes for what is received, beside the large buffers: a quarter of the RAM, or two ninths
    where there is little: programs' objects need the rest, and a peer may write 8 MiB unread."""
    return min(_BLOCKS, memory * 2 // 9 if memory < _LITTLE else memory >> 2)


def _store(device):
    """The memory for received bytes; with large buffers if there is a device."""
    from machine import PWRON_RESET, DMABuffer, dma_reserve, ram, reset_cause

    from .store import Store

    # A device that says that it wrote more than it did makes a program read what was there before:
    # bytes of earlier packets or, at power-on, what the host has put into its RAM. Later there may
    # be others, of a heap of before the reset; to clear them takes 3 ms.
    stale = reset_cause() != PWRON_RESET
    memory = ram()
    buffers = 1
    if device:
        buffers = max(_BUFFERS_LEAST, min(_BUFFERS, memory // (_BUFFERS << 15)))
    rest = DMABuffer(min(_REST, memory >> 5), clear=False)
    try:
        while True:
            try:
                return Store(
                    lambda size, clear=stale: DMABuffer(size, clear=clear),
                    buffers,
                    _blocks(memory),
                )
            except MemoryError:
                if buffers <= _BUFFERS_FEWEST:
                    raise
            buffers >>= 1
    finally:
        rest.free()
        dma_reserve(0)


def _start(stack, transport):
    import errnos

    from .device import Device

    device = Device(transport, stack)
    stack.join(device, device.out, device.cid)
    if stack.tap is not None:
        stack.tap.follow(device)
    while _before:
        _before.pop()(stack)
    if offers_datagrams(device):
        stack.have_datagrams()
    try:
        device.start()
    except BaseException:
        stack.part(errnos.ENODEV)
        device.close()
        raise
