# SPDX-License-Identifier: MIT
"""A connection that outlives a soft reset: its words, before and after.

The reset takes the device down and brings it up again, which a peer does not notice: what it sends
meanwhile waits in the host. So whoever has the words of a connection can go on with it.
"""

import struct
import time

import vsock
from portable import const
from vsock import credit
from vsock import words as w

from . import numbers as num
from .data import socket
from .types import STREAM

_SENT_MS = const(5000)  # the device may take so long to send what it was given
# What belongs to the Store, to the Transmitter and to who waits begins anew.
_ANEW = (w.HEAD, w.TAIL, w.HELD, w.LENT, w.EVENTS, w.OWED, w.WANTED, w.PLEDGE)


def pack(sock):
    """The words of a connected stream, as bytes; None if it cannot be gone on with.

    For right before a soft reset: what is unread is lost, and nothing may be sent afterwards.
    """
    conn = sock.connection
    if conn is None or conn.stack.device is None or conn.out is conn.stack.loopback:
        return None
    block = conn.block
    if block[w.STATE] != w.ESTABLISHED or block[w.SHUT] or block[w.BORDERS]:
        return None
    conn.discard(credit.queued(conn.at))
    conn.tell()
    device = conn.stack.device
    start = time.ticks_ms()
    while not device.out.idle():
        device.reap()
        if time.ticks_diff(time.ticks_ms(), start) > _SENT_MS:
            return None
    return bytes(block)


def expect(data):
    """Have the connection of what `pack` gave be there before the device works again: what waits
    in the host is for it. A list, which has its socket then; None if the CID is another one."""
    found = []
    vsock.before_start(lambda stack: found.append(_unpack(data, stack)))
    return found


def _unpack(data, stack):
    words = struct.unpack("<%dI" % w.BLOCK_WORDS, data)
    if words[w.SRC_CID] != stack.cid or stack.device is None:
        return None
    peer = words[w.DST_CID], words[w.DST_PORT]
    conn = stack.open(words[w.SRC_CID], words[w.SRC_PORT], *peer, STREAM, words[w.BUF_ALLOC])
    if conn is None:
        return None
    for i in range(w.BLOCK_WORDS):
        if i not in _ANEW:
            conn.block[i] = words[i]
    conn.block[w.OWED] = w.OWE_UPDATE  # a peer that has gone answers with RST
    sock = socket(stack=stack)
    sock.endpoint = sock.connection = conn
    sock._state = num.IS_CONNECTED
    return sock
