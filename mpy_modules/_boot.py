# SPDX-License-Identifier: MIT
"""Runs first, before boot.py: mounts the RAM disk at /, after formatting it at power-on."""

import machine
import vfs

try:
    fs = vfs.VfsLfs2(machine.ramdisk)
except OSError:
    vfs.VfsLfs2.mkfs(machine.ramdisk)
    fs = vfs.VfsLfs2(machine.ramdisk)
vfs.mount(fs, "/")

del fs
