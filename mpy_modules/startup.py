# SPDX-License-Identifier: MIT
"""Which script runs: fw_cfg's, the image's app volume's, the RAM disk's, or the built-in echo.

The script runs as __main__, so that its names are there at the prompt that follows.
"""

import sys

import fw_cfg
import machine
from micropython import const

SCRIPT = "opt/micropython/main.py"
NAME = "opt/micropython/name"  # what the script is called, in tracebacks and in sys.argv[0]
ARGV = "opt/micropython/argv"
RUN = "opt/micropython/run"  # runner.py: "exit", or "interactive" for the prompt afterwards
FILES = ("/rom/main.py", "/main.py")
_ARGV_LIMIT = const(65536)
_NAME_LIMIT = const(4096)

NO_DEVICE = (
    "No vsock device: start QEMU with -device vhost-vsock-pci,guest-cid=33 "
    "(or vhost-user-vsock-pci) to have one"
)


def run(namespace):
    """Find the script and run it in `namespace`; sys.argv is set for it."""
    name, source = _find()
    sys.argv[:] = [name] + words(fw_cfg.read(ARGV, _ARGV_LIMIT) or b"")
    machine.log("startup", name)

    def start():
        if source is None:
            _echo()
        else:
            exec(compile(source, name, "exec"), namespace)

    mode = fw_cfg.read(RUN, _NAME_LIMIT)
    if mode is None:
        start()
        return
    import runner

    runner.run(start, mode == b"interactive")


def _echo():
    import vsock

    if not vsock.devices():
        print(NO_DEVICE)
        return
    from apps import echo

    echo.main()


def _find():
    """(name, source) of the script; no source for the built-in echo."""
    source = fw_cfg.read(SCRIPT)
    if source is not None:
        name = fw_cfg.read(NAME, _NAME_LIMIT)
        return str(name, "utf-8") if name else "main.py", _text(source)
    for path in FILES:
        try:
            with open(path, "rb") as file:
                return path, _text(file.read())
        except OSError:
            pass  # not there
    return "apps.echo", None


def _text(source):
    """A script's text: UTF-8, with or without a byte order mark."""
    if source[:3] == b"\xef\xbb\xbf":
        source = source[3:]
    return str(source, "utf-8")


def words(argv):
    """The arguments in fw_cfg's string: each ended by a NUL, or, if none is there, words."""
    text = str(argv, "utf-8")
    if "\0" in text:
        return text.split("\0")[:-1] if text[-1] == "\0" else text.split("\0")
    return text.split()
