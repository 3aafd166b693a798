# SPDX-License-Identifier: MIT
"""Runs first, before boot.py: mounts the RAM disk at /, formatted at power-on, and what QEMU adds.

FAT in RAM, because it refuses a write to a file that is open for reading, which littlefs does not.
"""

import fw_cfg  # before the RAM disk is there, whose files have no say in how it comes up
import machine
import vfs

try:
    vfs.mount(machine.ramdisk, "/")
except OSError:
    vfs.VfsFat.mkfs(machine.ramdisk)
    vfs.mount(machine.ramdisk, "/")
if fw_cfg.size("opt/micropython/overlay") is not None:
    import _overlay

    _overlay.mount()
    del _overlay
if hasattr(machine, "disk"):
    import _disk

    _disk.mount()
    del _disk
if (
    machine.terminal.keeps()
    or fw_cfg.size("opt/micropython/repl") is not None
    or fw_cfg.size("opt/micropython/log") is not None
    or fw_cfg.size("opt/micropython/capture") is not None
):
    import services

    services.start()
    del services
del fw_cfg  # what is bound here is there at the prompt
