# SPDX-License-Identifier: MIT
"""Modules that the host hands in to be used in place of the frozen ones (`mpfw run --overlay`).

fw_cfg has them as a ROMFS image of .mpy files. Whoever can start QEMU with it could as well start
another flash image, so it is trusted as that is. Each package in it is complete: MicroPython
looks for the modules of a package in one place only.
"""

import sys

import fw_cfg
import machine
import vfs

FILE = "opt/micropython/overlay"
PLACE = "/overlay"


def mount():
    """Mount it, and have import look there before it looks at what is frozen."""
    try:
        contents = fw_cfg.read(FILE)
    except (OSError, ValueError) as error:
        print("%s: %s, so the frozen modules run" % (FILE, error))
        return
    try:
        vfs.mount(vfs.VfsRom(contents), PLACE)
    except OSError:
        print("%s: not a ROMFS image, so the frozen modules run" % FILE)
        return
    sys.path.insert(sys.path.index(".frozen"), PLACE)
    del sys.modules["fw_cfg"]  # the one in use so far is the frozen one
    machine.log("overlay", "%d bytes at %s" % (len(contents), PLACE))
