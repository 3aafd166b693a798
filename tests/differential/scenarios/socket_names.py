# SPDX-License-Identifier: MIT
"""Names that CPython's socket has for AF_VSOCK, and their values."""

import select
import socket

for name in (
    "AF_UNSPEC AF_INET AF_VSOCK SOCK_STREAM SOCK_DGRAM SOCK_RAW SOCK_RDM SOCK_SEQPACKET "
    "SOCK_NONBLOCK SOCK_CLOEXEC SOL_SOCKET SO_DEBUG SO_REUSEADDR SO_TYPE SO_ERROR SO_DONTROUTE "
    "SO_BROADCAST SO_SNDBUF SO_RCVBUF SO_KEEPALIVE SO_OOBINLINE SO_PRIORITY SO_LINGER "
    "SO_REUSEPORT SO_PASSCRED SO_PEERCRED SO_RCVLOWAT SO_SNDLOWAT SO_RCVTIMEO SO_SNDTIMEO "
    "SO_ACCEPTCONN SO_PROTOCOL SO_DOMAIN SO_MARK SO_BINDTODEVICE SO_PEERSEC SO_PASSSEC "
    "SOMAXCONN MSG_OOB MSG_PEEK MSG_DONTROUTE "
    "MSG_CTRUNC MSG_TRUNC MSG_DONTWAIT MSG_EOR MSG_WAITALL MSG_CONFIRM MSG_ERRQUEUE MSG_NOSIGNAL "
    "MSG_MORE MSG_FASTOPEN MSG_CMSG_CLOEXEC SHUT_RD SHUT_WR SHUT_RDWR SCM_RIGHTS SCM_CREDENTIALS "
    "VMADDR_CID_ANY VMADDR_CID_HOST VMADDR_PORT_ANY VM_SOCKETS_INVALID_VERSION "
    "SO_VM_SOCKETS_BUFFER_SIZE SO_VM_SOCKETS_BUFFER_MIN_SIZE SO_VM_SOCKETS_BUFFER_MAX_SIZE "
    "IOCTL_VM_SOCKETS_GET_LOCAL_CID EBADF EAGAIN EWOULDBLOCK"
).split():
    print(name, int(getattr(socket, name, -1)))
for name in (
    "socket SocketType error timeout herror gaierror getdefaulttimeout setdefaulttimeout "
    "create_connection create_server has_dualstack_ipv6 getaddrinfo htons ntohs htonl "
    "ntohl has_ipv6"
).split():
    print(name, hasattr(socket, name))
for name in "accept bind close connect connect_ex detach fileno family getblocking getpeername \
getsockname getsockopt gettimeout listen makefile proto recv recv_into recvfrom recvfrom_into \
recvmsg recvmsg_into send sendall sendmsg sendto setblocking setsockopt settimeout shutdown \
timeout type get_inheritable set_inheritable".split():
    print(name, hasattr(socket.socket(socket.AF_VSOCK), name))
for name in (
    "select poll POLLIN POLLPRI POLLOUT POLLERR POLLHUP POLLNVAL POLLRDNORM POLLRDBAND "
    "POLLWRNORM POLLWRBAND POLLRDHUP error"
).split():
    value = getattr(select, name, None)
    print(name, value if isinstance(value, int) else value is not None)
