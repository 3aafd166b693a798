# SPDX-License-Identifier: MIT
"""A host is where guests run: this machine here, the lab in mpfw.lab. Both boot guests alike.

Both run programs beside the guests. The guests' vsock devices differ from host to host; programs
ask guest.vsock and need not know.
"""

from typing import Any

from mpfw.guest import vsockhost
from mpfw.guest.driven import DrivenGuest
from mpfw.guest.machine import Machine
from mpfw.guest.programs import LocalPrograms


class LocalHost(LocalPrograms):
    """This machine, with one kind of vsock device."""

    def __init__(self, kind: str):
        """`kind`: a name in vsockhost.KINDS."""
        self.kind = kind

    def guest(
        self,
        machine: Machine,
        vsock: bool = True,
        console: str = "socket",
        program: bool = False,
        drive: str = "",
        **options: Any,
    ) -> DrivenGuest:
        """A guest, not yet started; `options` are those of the kind's VsockHost."""
        device = vsockhost.pick(self.kind, **options) if vsock else None
        return DrivenGuest(machine, device, console, program, drive=drive)


def local_host(kind: str = "auto") -> LocalHost:
    """This machine as a host; "auto" prefers the kernel's vsock device."""
    return LocalHost(vsockhost.pick_kind(kind))
