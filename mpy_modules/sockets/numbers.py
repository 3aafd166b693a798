# SPDX-License-Identifier: MIT
"""Linux's numbers for sockets (asm-generic, linux/vm_sockets.h), each once.

Constants only: the build folds them into the modules that use them; `socket` publishes them.
"""

from portable import const
from vsock import words as w

AF_UNSPEC = const(0)
AF_UNIX = const(1)
AF_INET = const(2)
AF_INET6 = const(10)
AF_VSOCK = const(40)

SOMAXCONN = const(4096)

VMADDR_CID_ANY = const(w.CID_ANY)
VMADDR_CID_HYPERVISOR = const(w.CID_HYPERVISOR)
VMADDR_CID_LOCAL = const(w.CID_LOCAL)
VMADDR_CID_HOST = const(w.CID_HOST)
VMADDR_PORT_ANY = const(w.PORT_ANY)
VM_SOCKETS_INVALID_VERSION = const(0xFFFFFFFF)

MSG_OOB = const(0x01)
MSG_PEEK = const(0x02)
MSG_DONTROUTE = const(0x04)
MSG_CTRUNC = const(0x08)
MSG_TRUNC = const(0x20)
MSG_DONTWAIT = const(0x40)
MSG_EOR = const(0x80)
MSG_WAITALL = const(0x100)
MSG_CONFIRM = const(0x800)
MSG_ERRQUEUE = const(0x2000)
MSG_NOSIGNAL = const(0x4000)
MSG_MORE = const(0x8000)
MSG_FASTOPEN = const(0x20000000)
MSG_CMSG_CLOEXEC = const(0x40000000)

SHUT_RD = const(0)
SHUT_WR = const(1)
SHUT_RDWR = const(2)

POLLIN = const(0x001)
POLLPRI = const(0x002)
POLLOUT = const(0x004)
POLLERR = const(0x008)
POLLHUP = const(0x010)
POLLNVAL = const(0x020)
POLLRDNORM = const(0x040)
POLLRDBAND = const(0x080)
POLLWRNORM = const(0x100)
POLLWRBAND = const(0x200)
POLLRDHUP = const(0x2000)
POLL_READ = const(0x041)  # what Linux sets together
POLL_WRITE = const(0x104)

# Ours: what a socket is. IS_CONNECTING stays after a failed non-blocking connect, as on Linux.
IS_UNCONNECTED = const(0)
IS_LISTENING = const(1)
IS_CONNECTING = const(2)
IS_CONNECTED = const(3)
IS_MAILBOX = const(4)  # it has no connections, ever: what it does is its mailbox's
