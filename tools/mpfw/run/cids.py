# SPDX-License-Identifier: MIT
"""A CID for a guest that nobody else here has: a name among Linux's abstract sockets is the lock.

Such a name is gone when the last process that holds the socket is, so nothing can be left behind;
QEMU gets it, so that the CID is the guest's for as long as it lives.
"""

import errno
import fcntl
import os
import socket
import struct

from mpfw.guest.vsockhost import GUEST_CID, KERNEL_DEVICE

LAST = 0xFFFFFFFE
_SET_GUEST_CID = 0x4008AF60  # VHOST_VSOCK_SET_GUEST_CID, linux/vhost.h


class CidTakenError(Exception):
    """Another guest has the CID that was asked for."""


def reserve(wanted: int | None, kernel: bool) -> tuple[int, socket.socket]:
    """The CID wanted, or a free one, and what holds it; `kernel`: for the kernel's own device."""
    for cid in range(GUEST_CID, LAST) if wanted is None else (wanted,):
        holder = lock(cid)
        if holder is None:
            if wanted is not None and not kernel:
                return cid, socket.socket(socket.AF_UNIX)  # each has a daemon of its own
            continue
        if not kernel or _free_in_kernel(cid):
            return cid, holder
        holder.close()
    raise CidTakenError(f"CID {wanted} is another guest's: --cid with another number, or without")


def lock(cid: int) -> socket.socket | None:
    """What holds a CID for us; None if it is somebody else's."""
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        holder.bind(f"\0mpfw-cid-{cid}")
    except OSError:
        holder.close()
        return None
    return holder


def _free_in_kernel(cid: int) -> bool:
    """Whether no guest of the kernel's device has the CID, of whichever program."""
    device = os.open(KERNEL_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, _SET_GUEST_CID, struct.pack("<Q", cid))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    finally:
        os.close(device)
    return True
