# SPDX-License-Identifier: MIT
"""Numbers of capture files: pcapng (draft-ietf-opsawg-pcapng), and what stands before a packet of
vsock in one (LINKTYPE_VSOCK; Linux, include/uapi/linux/vsockmon.h).

Constants only: the build folds them into the modules that use them.
"""

from portable import const

# Blocks: type, length of all, what is in it, the length again; all as 32-bit words.
SECTION = const(0x0A0D0D0A)
INTERFACE = const(1)
SIMPLE = const(3)
STATISTICS = const(5)
PACKET = const(6)
BYTE_ORDER = const(0x1A2B3C4D)
AROUND = const(12)  # bytes of a block around what is in it

LINK_VSOCK = const(271)

# Options: le16 code, le16 length, the value, filled up to a word.
OPT_END = const(0)
OPT_COMMENT = const(1)
SECTION_PROGRAM = const(4)
INTERFACE_NAME = const(2)
INTERFACE_RESOLUTION = const(9)
PACKET_FLAGS = const(2)
PACKET_DROPPED = const(4)  # packets lost between this one and the one before
STATISTICS_START = const(2)
STATISTICS_END = const(3)
STATISTICS_RECEIVED = const(4)
STATISTICS_DROPPED = const(5)
NANOSECONDS = const(9)  # of INTERFACE_RESOLUTION: a timestamp counts 10**-9 s

# PACKET_FLAGS and PACKET_DROPPED as the word that begins such an option; its value follows.
FLAGS_WORD = const(0x00040002)
DROPPED_WORD = const(0x00080004)

INBOUND = const(1)  # of PACKET_FLAGS: to whoever captures, from it
OUTBOUND = const(2)

# A packet's block as 32-bit words, up to its record.
P_TYPE = const(0)
P_LENGTH = const(1)
P_INTERFACE = const(2)
P_HIGH = const(3)  # of the timestamp
P_LOW = const(4)
P_KEPT = const(5)  # bytes of the record that follow
P_WHOLE = const(6)  # that it would have if nothing were cut
P_RECORD = const(7)
# What is behind the record: the flags, if packets were lost how many, the end.
B_FLAGS = const(0)
B_WAY = const(1)
B_MORE = const(2)
B_DROPPED = const(0)  # from B_MORE on
B_COUNT = const(1)  # two words
B_LOST_WORDS = const(3)
B_END = const(0)  # from there on
B_LENGTH = const(1)
B_END_WORDS = const(2)

# A record: the monitor's header, the packet's, its payload. The monitor's begins as the packet's
# does, with both CIDs and ports (words.py), and goes on with
M_OP_TRANSPORT = const(6)  # MON_* in the low half, the transport in the high half
M_LENGTH = const(7)  # le16: of the packet's header
MONITOR_LEN = const(32)
MONITOR_WORDS = const(8)
MONITOR_SAME = const(24)  # bytes that are as the packet's header has them
TRANSPORT_SHIFT = const(16)
TRANSPORT_VIRTIO = const(2)

MON_UNKNOWN = const(0)
MON_CONNECT = const(1)
MON_DISCONNECT = const(2)
MON_CONTROL = const(3)
MON_PAYLOAD = const(4)
MON_SHIFT = const(4)  # bits for each op in MON_OF_OP
MON_MASK = const(15)
MON_OF_OP = const(0x33422110)  # the MON_* of every op: INVALID in the lowest four bits
