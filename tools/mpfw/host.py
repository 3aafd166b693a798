# SPDX-License-Identifier: MIT
"""A host is where guests run: this machine here, the lab in mpfw.lab. Both boot guests alike.

The guests' vsock devices differ from host to host; programs ask guest.vsock and need not know.
"""

from mpfw import vsockhost
from mpfw.guest import Guest
from mpfw.machine import Machine


class LocalHost:
    """This machine, with one kind of vsock device."""

    def __init__(self, kind: str):
        """`kind`: a name in vsockhost.KINDS."""
        self.kind = kind

    def guest(self, machine: Machine, vsock: bool = True, console: str = "socket", **options):
        """A Guest, not yet started; `options` are those of the kind's VsockHost."""
        device = vsockhost.pick(self.kind, **options) if vsock else None
        return Guest(machine, device, console)


def local_host(kind: str = "auto") -> LocalHost:
    """This machine as a host; "auto" prefers the kernel's vsock device."""
    return LocalHost(vsockhost.pick_kind(kind))
