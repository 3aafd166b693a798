# SPDX-License-Identifier: MIT
"""Packets for a guest that belong to no connection of its device's."""

from array import array

from mpfw.device.firmware import vsock as w


def reset_for(words: "array[int]") -> "Plain":
    """The RST that answers a packet, whose header is `words` (5.10.6.6.1)."""
    answer = array("I", bytes(w.HEADER_LEN))
    answer[w.SRC_CID], answer[w.DST_CID] = words[w.DST_CID], words[w.SRC_CID]
    answer[w.SRC_PORT], answer[w.DST_PORT] = words[w.DST_PORT], words[w.SRC_PORT]
    answer[w.TYPE_OP] = words[w.TYPE_OP] & w.TYPE_MASK | w.OP_RST << w.OP_SHIFT
    return Plain(answer, memoryview(b""))


class Plain:
    """A packet that belongs to no connection : an answer, another guest's."""

    __slots__ = ("data", "header")

    def __init__(self, header: "array[int]", data: memoryview):
        self.header = header
        self.data = data  # what has not gone out

    def piece(self, room: int) -> tuple[memoryview, memoryview]:
        """The next packet, with at most `room` bytes of data: its header, and those."""
        part, self.data = self.data[:room], self.data[room:]
        header = self.header
        if self.data:  # the message's end is in the last piece
            header = array("I", header)
            header[w.FLAGS] &= ~(w.SEQ_EOM | w.SEQ_EOR)
        if part:
            header[w.LEN] = len(part)
        return memoryview(header).cast("B"), part
