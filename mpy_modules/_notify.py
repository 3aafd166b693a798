# SPDX-License-Identifier: MIT
"""Tells the VMM how the guest is doing, by the protocol of sd_notify(3), for machine.notify().

The VMM names the socket in the credential `vmm.notify_socket`: docs/services.md. A message is a
connection of its own, from a port below 1024, which only a guest's firmware or root has. Sockets
come in only if there is something to be said to somebody.
"""

import _credentials
import errnos
import machine
from portable import const

CREDENTIAL = "vmm.notify_socket"
_FIRST_PORT = const(1023)  # and from there down to the last, and again
_LAST_PORT = const(512)
_SECONDS = const(2)  # that the VMM may take to read
# systemd's order where the address leaves the type open.
_TYPES = {
    "vsock": ("SOCK_DGRAM", "SOCK_SEQPACKET", "SOCK_STREAM"),
    "vsock-dgram": ("SOCK_DGRAM",),
    "vsock-seqpacket": ("SOCK_SEQPACKET",),
    "vsock-stream": ("SOCK_STREAM",),
}
# This type of socket is not to be had, or nobody listens for it: perhaps another one.
_NOT_SO = (errnos.ENODEV, errnos.ESOCKTNOSUPPORT, errnos.EOPNOTSUPP, errnos.ECONNRESET)

_port = _FIRST_PORT  # the next one: a late packet of the last message is not for this one
_ended = False  # EXIT_STATUS went out: the first one counts


def hear(message):
    """What machine.notify() calls; and machine.poweroff(), with None."""
    return end(0, "powered off") if message is None else send(message)


def send(message):
    """Send the lines of `message`, and wait until the VMM has read them.

    True; False if the VMM named no socket. Raises OSError if it does not listen, ValueError if
    what it named is no address.
    """
    global _ended
    address = _address()
    if address is None:
        return False
    if isinstance(message, str):
        message = message.encode()
    from sockets import ending

    sock = _connected(*address)
    try:
        sock.sendall(message)
    except OSError:
        sock.close()
        raise
    if not ending.finish(sock, _SECONDS):
        machine.log("notify", "the VMM has not read what it was sent", "WARNING")
    _ended = _ended or b"EXIT_STATUS=" in message
    return True


def tell(message):
    """`send`, but what fails is said in the log."""
    try:
        send(message)
    except (OSError, ValueError) as error:
        machine.log("notify", str(error), "WARNING")


def end(status, why):
    """Tell the VMM that this is the end, unless it knows."""
    if not _ended:
        tell("STATUS=%s\nEXIT_STATUS=%d" % (why, status))


def _address():
    """(socket types, (cid, port)) of the VMM's socket; None if it named none."""
    text = _credentials.read(CREDENTIAL)
    if not text:
        return None
    text = str(text, "utf-8").strip()
    kind, _, rest = text.partition(":")
    cid, _, port = rest.partition(":")
    try:
        peer = int(cid), int(port)
    except ValueError:
        peer = None
    if kind not in _TYPES or peer is None or not all(0 <= n < 0xFFFFFFFF for n in peer):
        raise ValueError("%s: vsock:CID:PORT is an address, %r is not" % (CREDENTIAL, text))
    return _TYPES[kind], peer


def _connected(types, peer):
    """A connected socket of the first type that can be had. Raises the last one's OSError."""
    import socket

    for kind in types:
        sock = None
        try:
            sock = socket.socket(socket.AF_VSOCK, getattr(socket, kind))
            _bind(sock, socket.VMADDR_CID_ANY)
            sock.settimeout(None)  # SO_VM_SOCKETS_CONNECT_TIMEOUT ends it, with ETIMEDOUT
            sock.connect(peer)
            sock.settimeout(_SECONDS)
            return sock
        except OSError as error:
            if sock is not None:
                sock.close()
            if error.errno not in _NOT_SO or kind == types[-1]:
                raise


def _bind(sock, cid):
    """Take a free port below 1024."""
    global _port
    for _ in range(_LAST_PORT, _FIRST_PORT + 1):
        port = _port
        _port = port - 1 if port > _LAST_PORT else _FIRST_PORT
        try:
            sock.bind((cid, port))
            return
        except OSError as error:
            if error.errno != errnos.EADDRINUSE:
                raise
    raise OSError(errnos.EADDRINUSE)
