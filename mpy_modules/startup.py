# SPDX-License-Identifier: MIT
"""Which script runs: fw_cfg's, the image's app volume's, the RAM disk's, or the built-in echo.

The script runs as __main__, so that its names are there at the prompt that follows.
"""

import sys

import fw_cfg
import machine
from micropython import const

SCRIPT = "opt/micropython/main.py"
ARGV = "opt/micropython/argv"
FILES = ("/rom/main.py", "/main.py")
_ARGV_LIMIT = const(65536)

NO_DEVICE = (
    "No vsock device: start QEMU with -device vhost-vsock-pci,guest-cid=33 "
    "(or vhost-user-vsock-pci) to have one"
)


def run(namespace):
    """Find the script and run it in `namespace`; sys.argv is set for it."""
    argv = fw_cfg.read(ARGV, _ARGV_LIMIT) or b""
    name, source = _find()
    sys.argv[:] = [name] + split(str(argv, "utf-8").rstrip("\0"))
    machine.log("startup", name)
    if source is not None:
        exec(compile(source, name, "exec"), namespace)
        return
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
        return "main.py", str(source, "utf-8")
    for path in FILES:
        try:
            with open(path) as file:
                return path, file.read()
        except OSError:
            pass  # not there
    return "apps.echo", None


def split(text):
    """Split as a shell does: blanks separate, quotes and backslashes join. Raises ValueError."""
    words = []
    word = None  # None between words: quotes alone make an empty one
    quote = ""
    escaped = False
    for letter in text:
        if escaped:
            if quote and letter not in '"\\$`\n':
                word += "\\"
            word = (word or "") + letter
            escaped = False
        elif letter == "\\" and quote != "'":
            escaped = True
            word = word or ""
        elif quote:
            if letter == quote:
                quote = ""
            else:
                word += letter
        elif letter in "'\"":
            quote = letter
            word = word or ""
        elif letter in " \t\r\n":
            if word is not None:
                words.append(word)
                word = None
        else:
            word = (word or "") + letter
    if quote or escaped:
        raise ValueError("argv: unfinished " + (quote or "\\"))
    if word is not None:
        words.append(word)
    return words
