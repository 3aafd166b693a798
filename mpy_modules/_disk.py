# SPDX-License-Identifier: MIT
"""The flash chip beside the firmware's, machine.disk, as a littlefs at /disk.

What it holds comes from another time and perhaps another hand: only a chip that never held
anything is formatted.
"""

import machine
import vfs

PLACE = "/disk"
# One command of the chip programs 256 bytes; littlefs keeps four times that in RAM for each open
# file, and a bit for each block of the largest chip while it looks for free ones.
_LITTLEFS = {"readsize": 32, "progsize": 256, "lookahead": 512}


def mount():
    """Mount it, formatted if it is blank; if that cannot be done, one line says why."""
    try:
        filesystem = vfs.VfsLfs2(machine.disk, **_LITTLEFS)
    except OSError as error:
        if not _blank(machine.disk):
            print(
                "No %s: machine.disk holds no littlefs of its size, or a damaged one (error %d). "
                "It is left as it is; vfs.VfsLfs2.mkfs(machine.disk) empties it"
                % (PLACE, error.errno)
            )
            return
        try:
            vfs.VfsLfs2.mkfs(machine.disk, **_LITTLEFS)
            filesystem = vfs.VfsLfs2(machine.disk, **_LITTLEFS)
        except OSError as error:
            print(
                "No %s: machine.disk cannot be formatted (error %d): is it too small or read-only?"
                % (PLACE, error.errno)
            )
            return
    vfs.mount(filesystem, PLACE)


def _blank(disk):
    """Whether every block is as a new file has it or as erasing leaves it.

    Both occur together if the machine was switched off while it formatted the disk.
    """
    size = disk.ioctl(5, 0)
    new, erased, block = bytes(size), b"\xff" * size, bytearray(size)
    for number in range(disk.ioctl(4, 0)):
        disk.readblocks(number, block)
        if block != new and block != erased:
            return False
    return True
