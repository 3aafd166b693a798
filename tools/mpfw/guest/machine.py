# SPDX-License-Identifier: MIT
"""The virtual machine as a value: what QEMU is asked to build, and the command line that says so.

The only place where a QEMU command line for the firmware is put together. It starts nothing; see
mpfw.guest.guest for that.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from mpfw import paths

if TYPE_CHECKING:
    from mpfw.guest.disk import Disk

QEMU = "qemu-system-x86_64"
QEMU_VARIABLE = "MPFW_QEMU"  # of the environment: another one
DEBUGCON_PORT = 0x402
# fw_cfg entries of every machine that boots a flash image, besides its own: pytest's --overlay.
COMMON_FW_CFG: dict[str, str | bytes] = {}
Entry = str | bytes | Path  # of fw_cfg: what it holds, or a file that does


def kvm_is_real() -> bool:
    """Whether KVM helps here: /dev/kvm opens and the processor has hardware virtualisation.

    There are machines whose /dev/kvm opens and then emulates every instruction.
    """
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "vmx" in flags or "svm" in flags


def pick_accelerator() -> str:
    """ "kvm" where it is real, otherwise "tcg"."""
    return "kvm" if kvm_is_real() else "tcg"


def qemu_program() -> str:
    """The QEMU that guests on this machine run in: MPFW_QEMU in the environment, else QEMU."""
    return os.environ.get(QEMU_VARIABLE, QEMU)


class Machine(NamedTuple):
    """What a guest is made of. Everything has the contract's default (the README's table)."""

    image: Path | None = paths.IMAGE  # the flash image; None: QEMU's own firmware
    disk: "Disk | None" = None  # prepared; /disk in the guest
    machine: str = "q35"
    memory: str = "64M"  # QEMU's notation, with a suffix
    cpu: str | None = None
    smp: int = 1
    accel: str = "auto"  # "auto", "tcg" or "kvm"
    display: tuple[str, ...] = ("-display", "none")
    devices: tuple[str, ...] = ()  # values of -device, in this order, before the vsock device
    fw_cfg: Mapping[str, Entry] = MappingProxyType({})  # by name
    share_memory: bool = False  # vhost-user devices see the guest's memory
    extra: tuple[str, ...] = ()  # further options, last on the command line
    qemu: str | None = None  # None: qemu_program()

    def with_options(self, **changes: Any) -> "Machine":
        """A copy with some fields replaced."""
        return self._replace(**changes)

    @property
    def accelerator(self) -> str:
        """What runs it: "tcg" or "kvm"."""
        return pick_accelerator() if self.accel == "auto" else self.accel

    def command(
        self, serial: tuple[str, ...], debugcon: Path, fw_cfg_dir: Path | None = None
    ) -> list[str]:
        """The command line; `serial` are the options that connect COM1.

        `fw_cfg_dir` takes the files that hold the fw_cfg entries' contents.
        """
        options = ["-machine", f"{self.machine},memory-backend=ram", "-accel", self.accelerator]
        options += ["-object", self._memory_backend(), "-m", self.memory]
        options += ["-smp", str(self.smp)]
        if self.cpu:
            options += ["-cpu", self.cpu]
        if self.image is not None:
            image = escape(self.image.absolute())
            drive = f"if=pflash,format=raw,unit=0,file={image},readonly=on"
            options += ["-drive", drive]
        if self.disk is not None:
            drive = f"if=pflash,format=raw,unit=1,file={escape(self.disk.path)}"
            options += ["-drive", drive]
        options += ["-nic", "none", *self.display, *serial]
        options += ["-chardev", f"file,id=debugcon,path={escape(debugcon)}"]
        options += ["-device", f"isa-debugcon,iobase={DEBUGCON_PORT:#x},chardev=debugcon"]
        common = COMMON_FW_CFG if self.image is not None else {}
        options += _fw_cfg_options({**common, **self.fw_cfg}, fw_cfg_dir)
        for device in self.devices:
            options += ["-device", device]
        return [self.qemu or qemu_program(), *options, *self.extra]

    def _memory_backend(self) -> str:
        if self.share_memory:
            return f"memory-backend-memfd,id=ram,size={self.memory},share=on,reserve=off"
        return f"memory-backend-ram,id=ram,size={self.memory},reserve=off"


def _fw_cfg_options(entries: dict[str, Entry], directory: Path | None) -> list[str]:
    options = []
    for number, (name, content) in enumerate(entries.items()):
        if isinstance(content, Path):
            path = content.absolute()
        elif directory is None:
            raise ValueError("fw_cfg entries need a directory for their files")
        else:
            path = directory / f"fw_cfg.{number}"
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        options += ["-fw_cfg", f"name={name},file={escape(path)}"]
    return options


def escape(path: Path | str) -> str:
    """A path as an option's value: a comma is doubled."""
    return str(path).replace(",", ",,")
