# SPDX-License-Identifier: MIT
"""`mpfw run --dry-run`: the commands for a shell that do by hand what a run would do.

By hand there is no port for standard error: it goes to the console, and that, at the end, to the
shell's standard error. Standard input is not joined; docs/run.md says how a program does that.
"""

import base64
import os
import shlex
from pathlib import Path

from mpfw.guest import channel
from mpfw.guest.machine import Entry, Machine, escape
from mpfw.guest.vsockhost import (
    GUEST_CID,
    DatagramVsock,
    DeviceVsock,
    KernelVsock,
    VhostUserVsock,
    VsockHost,
    pick_kind,
)
from mpfw.run.parts import Options, Refused, datagram_carrier
from mpfw.run.program import Program

_WORDS = ("opt/micropython/argv", "opt/micropython/env")  # each ended by a NUL
_SCRIPT = "opt/micropython/main.py"


def show(program: Program, machine: Machine, options: Options) -> int:
    """Print the commands; 0. Raises Refused for what needs more than commands."""
    if options.host == "lab" or options.group:
        raise Refused("--dry-run: neither for --host lab nor for --group")
    directory = Path(f"/tmp/mpfw-{os.urandom(8).hex()}")
    lines = [f"mkdir -m 700 {directory}"]
    if machine.disk is not None:
        disk = shlex.quote(str(machine.disk.path))
        lines.append(f"[ -s {disk} ] || truncate -s {machine.disk.size} {disk}")
    entries: dict[str, Entry] = {}
    for name, content in machine.fw_cfg.items():
        if name == _SCRIPT and program.file is not None:
            entries[name] = program.file.absolute()
        else:
            entries[name] = directory / Path(name).name
            lines.append(_written(name, content, directory / Path(name).name))
    machine = machine.with_options(fw_cfg=entries)
    vsock = _device(options)
    if isinstance(vsock, VhostUserVsock):
        lines += _daemon(vsock, directory)
    if vsock is not None:
        machine = machine.with_options(
            devices=vsock.devices,
            extra=(*vsock.options, *machine.extra),
            share_memory=vsock.shares_memory,
        )
    # /dev/stdout is a pipe then: a file would be opened anew, with a position of its own.
    lines.append(f"{{ {_qemu(machine, options, directory)}; echo $? >{directory}/status; }} | cat")
    lines += [f"cat {directory}/console >&2", f"status=$(cat {directory}/status)"]
    if isinstance(vsock, VhostUserVsock):
        lines.append("kill $daemon")
    # QEMU ends with 2 * status + 1, and with 1 if it fails itself.
    lines += [f"rm -r {directory}", f"(exit $((status == 1 ? {channel.OURS} : status / 2)))"]
    print("\n".join(lines))
    return 0


def _written(name: str, content: Entry, path: Path) -> str:
    """The command that writes a file."""
    data = content.encode() if isinstance(content, str) else content
    assert isinstance(data, bytes)
    if name in _WORDS:
        words = data.decode().split("\0")[:-1]
        return f"printf '%s\\0' {shlex.join(words)} >{path}"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        return f"printf %s {shlex.quote(text)} >{path}"
    lines = base64.encodebytes(data).decode()
    return f"base64 -d >{path} <<'END'\n{lines}END"


def _device(options: Options) -> VsockHost | None:
    if options.datagrams:
        return _with_datagrams(options)
    if options.host == "none":
        return None
    cid = options.cid or GUEST_CID
    if pick_kind(options.host) == KernelVsock.kind:
        return KernelVsock(cid)
    made = DeviceVsock if options.host == DeviceVsock.kind else VhostUserVsock
    return made(cid, uds_path=options.uds_path and options.uds_path.absolute())


def _with_datagrams(options: Options) -> VsockHost:
    from mpfw.guest.carriers import PROXY

    carrier = datagram_carrier(options)
    if carrier == PROXY:
        raise Refused("--dry-run: this QEMU's device for --datagrams is handed a connection")
    path = options.uds_path and options.uds_path.absolute()
    return DatagramVsock(carrier, cid=options.cid or GUEST_CID, uds_path=path)


def _daemon(vsock: VhostUserVsock, directory: Path) -> list[str]:
    """The commands that start the daemon and wait until it listens."""
    command = vsock.command(directory)
    place = f"cd {shlex.quote(str(vsock.path.parent))} && exec "
    return [
        f"({place}{shlex.join(command)}) &",
        "daemon=$!",
        f"until [ -S {shlex.quote(str(vsock.path))} ]; do sleep 0.1; done",
    ]


def _qemu(machine: Machine, options: Options, directory: Path) -> str:
    stdout = f"file,id={channel.IO_PORT},path=/dev/stdout"
    extra = (*machine.extra, "-chardev", stdout, *channel.devices(channel.IO_PORT))
    if options.capture is not None:
        file = escape(Path(options.capture).absolute())
        extra += ("-chardev", f"file,id={channel.CAPTURE_PORT},path={file}", *channel.capture())
    machine = machine.with_options(extra=extra)
    log = options.log.absolute() if options.log else directory / "log"
    serial = ("-serial", f"file:{directory}/console", "-monitor", "none")
    return shlex.join(machine.command(serial, log))
