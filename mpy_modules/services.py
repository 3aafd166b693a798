# SPDX-License-Identifier: MIT
"""Starts the services that the host asked for by fw_cfg, before any script: docs/services.md."""

import struct

import fw_cfg
import machine
from portable import const

REPL = "opt/micropython/repl"  # the REPL's vsock port
LOG = "opt/micropython/log"  # the host's port that the log goes to
CAPTURE = "opt/micropython/capture"  # a capture, with so many bytes of each payload
_LIMIT = const(32)


def start():
    """Start them, and what machine.terminal kept over a soft reset: a REPL's connection."""
    import vsock

    kept = machine.terminal.kept()

    if not vsock.devices():
        print("The services that fw_cfg asks for need a vsock device.")
        return
    snaplen = _number(CAPTURE)  # first: it is to see what the others do
    if snaplen is not None:
        from apps import captures

        _try(CAPTURE, captures.start, snaplen)
    port = _number(REPL)
    words = None
    if kept:
        was = struct.unpack("<I", kept)[0]
        port = port or was
        words = kept[4:]
    if port is not None:
        from apps import repl

        _try(REPL, repl.start, port, words)
    port = _number(LOG)
    if port is not None:
        from apps import logs

        _try(LOG, logs.start, port)


def _try(name, start, *arguments):
    try:
        start(*arguments)
    except OSError as error:
        print("%s: %s" % (name, error))


def _number(name):
    """The port in a file of fw_cfg, None if there is none; what is no port is said."""
    try:
        text = fw_cfg.read(name, _LIMIT)
    except (OSError, ValueError) as error:
        print("%s: %s" % (name, error))
        return None
    if text is None:
        return None
    try:
        port = int(str(text, "utf-8").rstrip("\0\n"))
        if 0 <= port < 0xFFFFFFFF:
            return port
    except ValueError:
        pass
    print("%s: a vsock port is a number, not %r" % (name, bytes(text)))
    return None
