# SPDX-License-Identifier: MIT
"""`import socket`: CPython's module, for AF_VSOCK on this firmware's own vsock driver.

Nothing touches the hardware before the first socket is made. What is not here (AF_INET, DNS,
ancillary data) the machine does not have. docs/errno.md lists calls, situations and errno.
"""

import vsock
from sockets import data, options, types
from sockets import numbers as num
from sockets.background import Background
from sockets.data import socket
from sockets.ready import Ready

AF_UNSPEC = num.AF_UNSPEC
AF_INET = num.AF_INET  # only so that a program can ask and be refused: EAFNOSUPPORT
AF_VSOCK = num.AF_VSOCK
SOCK_STREAM = types.SOCK_STREAM
SOCK_DGRAM = types.SOCK_DGRAM
SOCK_SEQPACKET = types.SOCK_SEQPACKET
SOCK_NONBLOCK = types.SOCK_NONBLOCK
SOCK_CLOEXEC = types.SOCK_CLOEXEC

SOL_SOCKET = options.SOL_SOCKET
SO_REUSEADDR = options.SO_REUSEADDR
SO_TYPE = options.SO_TYPE
SO_ERROR = options.SO_ERROR
SO_SNDBUF = options.SO_SNDBUF
SO_RCVBUF = options.SO_RCVBUF
SO_KEEPALIVE = options.SO_KEEPALIVE
SO_LINGER = options.SO_LINGER
SO_RCVLOWAT = options.SO_RCVLOWAT
SO_RCVTIMEO = options.SO_RCVTIMEO
SO_SNDTIMEO = options.SO_SNDTIMEO
SO_ACCEPTCONN = options.SO_ACCEPTCONN
SO_PROTOCOL = options.SO_PROTOCOL
SO_DOMAIN = options.SO_DOMAIN
SOMAXCONN = num.SOMAXCONN

MSG_OOB = num.MSG_OOB
MSG_PEEK = num.MSG_PEEK
MSG_TRUNC = num.MSG_TRUNC
MSG_DONTWAIT = num.MSG_DONTWAIT
MSG_EOR = num.MSG_EOR
MSG_WAITALL = num.MSG_WAITALL
MSG_NOSIGNAL = num.MSG_NOSIGNAL

SHUT_RD = num.SHUT_RD
SHUT_WR = num.SHUT_WR
SHUT_RDWR = num.SHUT_RDWR

VMADDR_CID_ANY = num.VMADDR_CID_ANY
VMADDR_CID_HYPERVISOR = num.VMADDR_CID_HYPERVISOR
VMADDR_CID_LOCAL = num.VMADDR_CID_LOCAL
VMADDR_CID_HOST = num.VMADDR_CID_HOST
VMADDR_PORT_ANY = num.VMADDR_PORT_ANY
VM_SOCKETS_INVALID_VERSION = num.VM_SOCKETS_INVALID_VERSION
SO_VM_SOCKETS_BUFFER_SIZE = options.SO_VM_SOCKETS_BUFFER_SIZE
SO_VM_SOCKETS_BUFFER_MIN_SIZE = options.SO_VM_SOCKETS_BUFFER_MIN_SIZE
SO_VM_SOCKETS_BUFFER_MAX_SIZE = options.SO_VM_SOCKETS_BUFFER_MAX_SIZE
SO_VM_SOCKETS_CONNECT_TIMEOUT = options.SO_VM_SOCKETS_CONNECT_TIMEOUT
SO_VM_SOCKETS_LATE_SEND = options.SO_VM_SOCKETS_LATE_SEND  # ours: sockets/options.py says what for
SO_VM_SOCKETS_LATE_SEND_TIMEOUT = options.SO_VM_SOCKETS_LATE_SEND_TIMEOUT

has_ipv6 = False
timeout = TimeoutError
getdefaulttimeout = data.getdefaulttimeout
setdefaulttimeout = data.setdefaulttimeout
error = OSError
vsock.set_aside()

SocketType = socket


def poller(stack=None):
    """A sockets.ready.Ready: the next of many sockets with news; idle ones cost nothing."""
    return Ready(stack or vsock.get())


def background(serve, stack=None):
    """A sockets.background.Background: sockets that are served while another program runs."""
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
