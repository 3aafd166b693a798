# SPDX-License-Identifier: MIT
"""`import socket`: CPython's module, for AF_VSOCK on this firmware's own vsock driver.

Nothing touches the hardware before the first socket is made. What is not here (AF_INET, DNS,
ancillary data) the machine does not have. docs/errno.md lists calls, situations and errno.
"""

import struct

import errnos
import vsock
from portable import const
from sockets import data, descriptors, general, options, types
from sockets import numbers as num
from sockets.data import socket
from sockets.ready import Ready

AF_UNSPEC = num.AF_UNSPEC
AF_UNIX = num.AF_UNIX  # only so that a program can ask and be refused: EAFNOSUPPORT
AF_INET = num.AF_INET
AF_INET6 = num.AF_INET6
AF_VSOCK = num.AF_VSOCK
SOCK_STREAM = types.SOCK_STREAM
SOCK_DGRAM = types.SOCK_DGRAM
SOCK_RAW = types.SOCK_RAW
SOCK_RDM = types.SOCK_RDM
SOCK_SEQPACKET = types.SOCK_SEQPACKET
SOCK_NONBLOCK = types.SOCK_NONBLOCK
SOCK_CLOEXEC = types.SOCK_CLOEXEC

SOL_SOCKET = general.SOL_SOCKET
SO_DEBUG = general.SO_DEBUG
SO_REUSEADDR = general.SO_REUSEADDR
SO_TYPE = general.SO_TYPE
SO_ERROR = general.SO_ERROR
SO_DONTROUTE = general.SO_DONTROUTE
SO_BROADCAST = general.SO_BROADCAST
SO_SNDBUF = general.SO_SNDBUF
SO_RCVBUF = general.SO_RCVBUF
SO_KEEPALIVE = general.SO_KEEPALIVE
SO_OOBINLINE = general.SO_OOBINLINE
SO_PRIORITY = general.SO_PRIORITY
SO_LINGER = general.SO_LINGER
SO_REUSEPORT = general.SO_REUSEPORT
SO_PASSCRED = general.SO_PASSCRED
SO_PEERCRED = general.SO_PEERCRED
SO_RCVLOWAT = general.SO_RCVLOWAT
SO_SNDLOWAT = general.SO_SNDLOWAT
SO_RCVTIMEO = general.SO_RCVTIMEO
SO_SNDTIMEO = general.SO_SNDTIMEO
SO_BINDTODEVICE = general.SO_BINDTODEVICE
SO_ACCEPTCONN = general.SO_ACCEPTCONN
SO_PEERSEC = general.SO_PEERSEC
SO_PASSSEC = general.SO_PASSSEC
SO_MARK = general.SO_MARK
SO_PROTOCOL = general.SO_PROTOCOL
SO_DOMAIN = general.SO_DOMAIN
SOMAXCONN = num.SOMAXCONN

SCM_RIGHTS = const(1)  # ancillary data, which these sockets do not carry
SCM_CREDENTIALS = const(2)

MSG_OOB = num.MSG_OOB
MSG_PEEK = num.MSG_PEEK
MSG_DONTROUTE = num.MSG_DONTROUTE
MSG_CTRUNC = num.MSG_CTRUNC
MSG_TRUNC = num.MSG_TRUNC
MSG_DONTWAIT = num.MSG_DONTWAIT
MSG_EOR = num.MSG_EOR
MSG_WAITALL = num.MSG_WAITALL
MSG_CONFIRM = num.MSG_CONFIRM
MSG_ERRQUEUE = num.MSG_ERRQUEUE
MSG_NOSIGNAL = num.MSG_NOSIGNAL
MSG_MORE = num.MSG_MORE
MSG_FASTOPEN = num.MSG_FASTOPEN
MSG_CMSG_CLOEXEC = num.MSG_CMSG_CLOEXEC

SHUT_RD = num.SHUT_RD
SHUT_WR = num.SHUT_WR
SHUT_RDWR = num.SHUT_RDWR

VMADDR_CID_ANY = num.VMADDR_CID_ANY
VMADDR_CID_HYPERVISOR = num.VMADDR_CID_HYPERVISOR
VMADDR_CID_LOCAL = num.VMADDR_CID_LOCAL
VMADDR_CID_HOST = num.VMADDR_CID_HOST
VMADDR_PORT_ANY = num.VMADDR_PORT_ANY
VM_SOCKETS_INVALID_VERSION = num.VM_SOCKETS_INVALID_VERSION
IOCTL_VM_SOCKETS_GET_LOCAL_CID = const(0x7B9)  # fcntl.ioctl knows it
SO_VM_SOCKETS_BUFFER_SIZE = options.SO_VM_SOCKETS_BUFFER_SIZE
SO_VM_SOCKETS_BUFFER_MIN_SIZE = options.SO_VM_SOCKETS_BUFFER_MIN_SIZE
SO_VM_SOCKETS_BUFFER_MAX_SIZE = options.SO_VM_SOCKETS_BUFFER_MAX_SIZE
SO_VM_SOCKETS_PEER_HOST_VM_ID = options.SO_VM_SOCKETS_PEER_HOST_VM_ID
SO_VM_SOCKETS_TRUSTED = options.SO_VM_SOCKETS_TRUSTED
SO_VM_SOCKETS_CONNECT_TIMEOUT = options.SO_VM_SOCKETS_CONNECT_TIMEOUT
SO_VM_SOCKETS_NONBLOCK_TXRX = options.SO_VM_SOCKETS_NONBLOCK_TXRX
SO_VM_SOCKETS_LATE_SEND = options.SO_VM_SOCKETS_LATE_SEND  # ours: sockets/options.py says what for
SO_VM_SOCKETS_LATE_SEND_TIMEOUT = options.SO_VM_SOCKETS_LATE_SEND_TIMEOUT

has_ipv6 = False
timeout = TimeoutError
getdefaulttimeout = data.getdefaulttimeout
setdefaulttimeout = data.setdefaulttimeout
error = OSError
EBADF = errnos.EBADF
EAGAIN = EWOULDBLOCK = errnos.EAGAIN
vsock.set_aside()

SocketType = socket


class herror(OSError):
    """For `except` clauses: there are no hosts to look up."""


class gaierror(OSError):
    """The same."""


def htons(number):
    """16 bits in the network's order: this machine is a little-endian one."""
    return _swapped(number, ">H", "<H", 0xFFFF)


def htonl(number):
    """The same of 32 bits."""
    return _swapped(number, ">I", "<I", 0xFFFFFFFF)


def _swapped(number, big, little, most):
    if not 0 <= number <= most:
        raise OverflowError("an integer of 0 to %d is needed" % most)
    return struct.unpack(big, struct.pack(little, number))[0]


ntohs = htons
ntohl = htonl


def close(fd):
    """Close the socket of a number, as detach() gives it. Raises EBADF."""
    sock = descriptors.find(fd)
    if sock is None:
        raise OSError(errnos.EBADF)
    sock.close()


def has_dualstack_ipv6():
    """CPython's; there is no IP at all."""
    return False


def poller(stack=None):
    """A sockets.ready.Ready: the next of many sockets with news; idle ones cost nothing."""
    return Ready(stack or vsock.get())


def background(serve, stack=None):
    """A sockets.background.Background: sockets that are served while another program runs."""
    from sockets.background import Background

    return Background(stack or vsock.get(), serve)


def get_local_cid():
    """The guest's CID; VMADDR_CID_LOCAL without a device."""
    return vsock.get().cid


def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
    """[(family, type, proto, "", (cid, port))]; `host` is a CID, a name, or None for any."""
    names = {None: VMADDR_CID_ANY, "": VMADDR_CID_ANY, "0.0.0.0": VMADDR_CID_ANY}
    names.update({"host": VMADDR_CID_HOST})
    names.update({"local": VMADDR_CID_LOCAL, "localhost": VMADDR_CID_LOCAL})
    cid = names[host] if host in names else int(host)
    return [(AF_VSOCK, type or SOCK_STREAM, 0, "", (cid, int(port)))]


def create_connection(address, timeout=-1, source_address=None):
    """A connected stream socket."""
    sock = socket()
    try:
        if timeout != -1:
            sock.settimeout(timeout)
        if source_address:
            sock.bind(source_address)
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def create_server(address, *, family=AF_VSOCK, backlog=None, reuse_port=False):
    """A listening stream socket."""
    sock = socket(family)
    try:
        sock.bind(address)
        sock.listen(128 if backlog is None else backlog)
    except OSError:
        sock.close()
        raise
    return sock
