# SPDX-License-Identifier: MIT
"""Linux's numbers for sockets (asm-generic, linux/vm_sockets.h), each once.

Constants only: the build folds them into the modules that use them; `socket` publishes them.
"""

from portable import const
from vsock import words as w

AF_UNSPEC = const(0)
AF_INET = const(2)
AF_VSOCK = const(40)

SOL_SOCKET = const(1)
SO_REUSEADDR = const(2)
SO_TYPE = const(3)
SO_ERROR = const(4)
SO_SNDBUF = const(7)
SO_RCVBUF = const(8)
SO_KEEPALIVE = const(9)
SO_LINGER = const(13)
SO_RCVLOWAT = const(18)
SO_RCVTIMEO = const(20)
SO_SNDTIMEO = const(21)
SO_ACCEPTCONN = const(30)
SO_PROTOCOL = const(38)
SO_DOMAIN = const(39)
SOMAXCONN = const(4096)

SO_VM_SOCKETS_BUFFER_SIZE = const(0)  # linux/vm_sockets.h
SO_VM_SOCKETS_BUFFER_MIN_SIZE = const(1)
SO_VM_SOCKETS_BUFFER_MAX_SIZE = const(2)
SO_VM_SOCKETS_CONNECT_TIMEOUT = const(6)
SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW = const(8)
# Ours, far from Linux's numbers: an int; non-zero lets send() go on after the peer said that it
# takes no more. vhost-device-vsock says so when its client merely stops sending.
SO_VM_SOCKETS_LATE_SEND = const(0x4D50)

VMADDR_CID_ANY = const(w.CID_ANY)
VMADDR_CID_HYPERVISOR = const(w.CID_HYPERVISOR)
VMADDR_CID_LOCAL = const(w.CID_LOCAL)
VMADDR_CID_HOST = const(w.CID_HOST)
VMADDR_PORT_ANY = const(w.PORT_ANY)
VM_SOCKETS_INVALID_VERSION = const(0xFFFFFFFF)

MSG_OOB = const(0x01)
MSG_PEEK = const(0x02)
MSG_TRUNC = const(0x20)
MSG_DONTWAIT = const(0x40)
MSG_EOR = const(0x80)
MSG_WAITALL = const(0x100)
MSG_NOSIGNAL = const(0x4000)

SHUT_RD = const(0)
SHUT_WR = const(1)
SHUT_RDWR = const(2)

POLLIN = const(0x001)
POLLOUT = const(0x004)
POLLERR = const(0x008)
POLLHUP = const(0x010)
POLLNVAL = const(0x020)
POLLRDHUP = const(0x2000)

# Ours: what a socket is. CONNECTING stays after a failed non-blocking connect, as on Linux.
UNCONNECTED = const(0)
LISTENING = const(1)
CONNECTING = const(2)
CONNECTED = const(3)
