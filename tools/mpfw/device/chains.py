# SPDX-License-Identifier: MIT
"""Packets in receive chains, whose buffers may cut them anywhere; most chains are one buffer."""

from mpfw.device.firmware import vsock as w
from mpfw.device.rings import Chain, RingError

_HEADER: int = w.HEADER_LEN

# Where a packet goes in a chain: its header; its data, if both are in one buffer; bytes of those.
Room = tuple[memoryview | None, memoryview, int]


def room_in(chain: Chain) -> Room:
    """What `chain.note` is of a receive chain. Raises RingError if no header has room in it."""
    for _, writes in chain.buffers:
        if not writes:
            raise RingError("a receive buffer that the device may only read")
    view = chain.buffers[0][0]
    most = min(w.MAX_DATA, chain.room - _HEADER)
    if most < 0:
        raise RingError(f"a receive buffer of {chain.room} bytes")
    alone = len(chain.buffers) == 1
    room = (view[:_HEADER] if len(view) >= _HEADER else None), view[_HEADER:] if alone else _NONE
    chain.note = (*room, most)
    return chain.note  # type: ignore[no-any-return]


_NONE = memoryview(b"")


def lay(chain: Chain, header: memoryview) -> int:
    """Write a header into a receive chain; returns its bytes. Raises RingError if there is no
    room for one."""
    front = (chain.note or room_in(chain))[0]
    if front is not None:
        front[:] = header
    else:
        scatter([view for view, _ in chain.buffers], header)
    return _HEADER


def behind(chain: Chain, skip: int) -> list[memoryview]:
    """A chain's buffers behind its first `skip` bytes."""
    views = []
    for view, _ in chain.buffers:
        if skip < len(view):
            views.append(view[skip:])
        skip = max(0, skip - len(view))
    return views


def cut(views: list[memoryview], most: int) -> list[memoryview]:
    """The first `most` bytes of several buffers."""
    found = []
    for view in views:
        if most <= 0:
            break
        found.append(view[:most])
        most -= len(view)
    return found


def scatter(views: list[memoryview], data: memoryview) -> None:
    """Write data over several buffers; they have room for it."""
    at = 0
    for view in views:
        n = min(len(view), len(data) - at)
        view[:n] = data[at : at + n]
        at += n


def data_of(chain: Chain, n: int) -> list[memoryview]:
    """The data of a packet of `n` bytes that was laid into a chain."""
    return cut(behind(chain, _HEADER), n - _HEADER)
