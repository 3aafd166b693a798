# SPDX-License-Identifier: MIT
"""The port's `os`, and an environment: what the host handed in (`mpfw run --env NAME=VALUE`).

fw_cfg has it as NAME=VALUE words, each ended by a NUL. A program may change its own copy.
"""

import fw_cfg
import machine
from uos import (  # noqa: F401  the module in C, which this one stands before
    VfsFat,
    chdir,
    dupterm,
    getcwd,
    ilistdir,
    listdir,
    mkdir,
    mount,
    remove,
    rename,
    rmdir,
    sep,
    stat,
    statvfs,
    sync,
    umount,
    uname,
    unlink,
    urandom,
)

_FILE = "opt/micropython/env"
_LIMIT = 1 << 20  # bytes

environ = {}
try:
    for _word in str(fw_cfg.read(_FILE, _LIMIT) or b"", "utf-8").split("\0"):
        _name, _equals, _value = _word.partition("=")
        if _equals:
            environ[_name] = _value
except (OSError, ValueError) as _error:
    machine.log("os", "%s: %s" % (_FILE, _error), "WARNING")
del fw_cfg, machine


def strerror(code):
    """What an error number means, as Linux's C library says it."""
    text = OSError(code).strerror
    return "Unknown error %d" % code if text is None else text


def getenv(name, default=None):
    """The value of a variable of the environment."""
    return environ.get(name, default)


def putenv(name, value):
    """Set a variable of the environment."""
    environ[name] = value


def unsetenv(name):
    """Take a variable out of the environment."""
    environ.pop(name, None)
