# SPDX-License-Identifier: MIT
"""Runs first, before boot.py: mounts the RAM disk at /, after formatting it at power-on.

FAT, because it refuses a write to a file that is open for reading, which littlefs does not.
"""

import machine
import vfs

try:
    vfs.mount(machine.ramdisk, "/")
except OSError:
    vfs.VfsFat.mkfs(machine.ramdisk)
    vfs.mount(machine.ramdisk, "/")
