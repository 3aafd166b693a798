# SPDX-License-Identifier: MIT
"""What a run is made of, as the command's options describe it: machine, vsock device, guest."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mpfw import paths
from mpfw.guest import channel, daemon
from mpfw.guest.guest import Guest
from mpfw.guest.machine import Entry, Machine, qemu_program
from mpfw.guest.vsockhost import (
    GUEST_CID,
    DatagramVsock,
    DeviceVsock,
    KernelVsock,
    VhostUserVsock,
    VsockHost,
    pick_kind,
)
from mpfw.run import cids

if TYPE_CHECKING:
    from mpfw.capture.writer import Passing
    from mpfw.guest.debugger import Stub
    from mpfw.guest.disk import Disk

_NAME_LIMIT = 96  # bytes of a Unix socket's name: "_4294967295" is put behind it, 107 are allowed
_WRONG_OVERLAY = 1  # status, as a compiler has it
_VOLUME = b"_FVH"  # of a firmware volume, with which a flash image begins (PI 1.8 vol. 3, 3.2.1)
_VOLUME_AT = 40


class Refused(Exception):
    """What cannot be had: one sentence, and the exit status."""

    def __init__(self, why: str, status: int = channel.OURS):
        super().__init__(why)
        self.status = status


class Ended(Exception):
    """The run is over: the exit status, and one sentence unless the script has said it all."""

    def __init__(self, status: int, why: str = ""):
        super().__init__(why)
        self.status = status


class Options(NamedTuple):
    """The command's options, by their names there, with its defaults."""

    code: str | None = None
    module: str | None = None
    interactive: bool = False
    cid: int | None = None
    uds_path: Path | None = None
    host: str = "auto"
    group: str | None = None
    memory: str = "64M"
    cpus: int = 1
    machine: str = "q35"
    accel: str = "auto"
    qemu: str | None = None  # None: the machine's, as in Machine
    qemu_args: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    libraries: tuple[Path, ...] = ()
    repl_port: int | None = None
    log_port: int | None = None
    disk: str | None = None
    timeout: float | None = None
    reboot: bool = False
    keep: bool = False
    datagrams: bool = False
    capture: str | None = None
    snaplen: int = 256
    log: Path | None = None
    dry_run: bool = False
    overlay: Path | None = None
    gdb: bool = False
    image: Path = paths.IMAGE
    daemon: Path | None = None  # in place of mpfw.guest.daemon's


def machine(options: Options, fw_cfg: dict[str, Entry], reboots: bool) -> Machine:
    """The machine that the options describe. Raises Refused."""
    _check_image(options.image)
    if options.log is not None:
        _check_writable(options.log)
    memory = options.memory + "M" * options.memory.isdigit()  # as QEMU's -m has it
    return Machine(
        image=options.image,
        machine=options.machine,
        memory=memory,
        smp=options.cpus,
        accel=options.accel,
        disk=_disk(options),
        fw_cfg=fw_cfg | _services(options) | _overlay(options),
        extra=(*(() if reboots else ("-no-reboot",)), *options.qemu_args),
        qemu=_find_program(options.qemu or qemu_program()),
    )


def _services(options: Options) -> dict[str, Entry]:
    """The fw_cfg entries that start the guest's services. Raises Refused."""
    ports = {"repl": options.repl_port, "log": options.log_port}
    wanted = {name: port for name, port in ports.items() if port is not None}
    if options.capture is not None:
        wanted["capture"] = options.snaplen
    if wanted and options.host == "none":
        raise Refused("--repl-port, --log-port, --capture need a vsock device: not --host none")
    return {f"opt/micropython/{name}": str(port) for name, port in wanted.items()}


def _disk(options: Options) -> "Disk | None":
    """The file behind /disk, made if it is missing, unless nothing is to be. Raises Refused."""
    if options.disk is None:
        return None
    from mpfw.guest.disk import Disk, DiskError

    try:
        disk = Disk.parse(options.disk).checked(options.image, options.machine)
        if not options.dry_run:
            disk.make()
    except DiskError as error:
        raise Refused(str(error)) from None
    return disk


def _find_program(name: str) -> str:
    """QEMU's path. Raises Refused."""
    places = [""] if "/" in name else os.get_exec_path()
    for place in places:
        path = os.path.join(place, name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return os.path.abspath(path)
    if "/" in name:
        raise Refused(f"{name}: there is no such program")
    raise Refused(f"{name} is not there: install QEMU (Debian: qemu-system-x86), or --qemu PATH")


def _check_image(image: Path) -> None:
    """Raise Refused unless a file begins as a flash image does."""
    try:
        with open(image, "rb") as file:
            start = file.read(_VOLUME_AT + len(_VOLUME))
    except OSError as error:
        hint = ": make image builds it" if isinstance(error, FileNotFoundError) else ""
        raise Refused(f"{image}: {error.strerror}{hint}") from None
    if start[_VOLUME_AT:] != _VOLUME:
        raise Refused(f"{image}: no flash image, it does not begin with a firmware volume")


def _check_writable(path: Path) -> None:
    """Raise Refused unless a file can be written."""
    try:
        with open(path, "wb"):
            pass
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None


def _overlay(options: Options) -> dict[str, bytes]:
    """The fw_cfg entry with the modules of an overlay; says which they are."""
    if options.overlay is None:
        return {}
    _need_tree("--overlay")
    from mpfw.guest.overlay import OverlayError, overlay

    try:
        modules = overlay(options.overlay, options.image)
    except OverlayError as error:
        raise Refused(str(error), _WRONG_OVERLAY) from None
    note(modules)
    return modules.fw_cfg


def capture(options: Options) -> "Passing | None":
    """What takes a guest's capture to a file, if there is to be one. Raises Refused."""
    path = options.capture
    if path is None:
        return None
    if options.host == "lab":
        raise Refused("--host lab: no --capture: its guests are inside")
    from mpfw.capture.sinks import STDOUT, CaptureError
    from mpfw.capture.writer import Passing

    if path == STDOUT:
        why = "--capture -: standard output is the program's: give a file, or a FIFO (mkfifo)"
        raise Refused(why)
    try:
        return Passing(path)
    except CaptureError as error:
        raise Refused(f"--capture {error}") from None


def _need_tree(what: str) -> None:
    """Raise Refused if there is no source tree, which `what` takes."""
    if not paths.IN_TREE:
        raise Refused(f"{what} needs the source tree of mpfw: it is not in the installed package")


def note(what: object) -> None:
    """Say something that only a person wants to know."""
    if sys.stderr.isatty():
        print(what, file=sys.stderr)


def guest(machine: Machine, options: Options, program: bool = True) -> Guest:
    """A guest on its way up, with a program's streams, or a console to talk to. Raises Refused."""
    stub = _stub(options) if options.gdb else None
    if stub is not None:
        machine = machine.with_options(extra=(*machine.extra, *stub.options))
    console = "stream" if program else "socket"
    if options.host == "lab":
        return _in_lab(machine, options, console)
    vsock = device(options)
    log = options.log and options.log.absolute()
    try:
        captures = options.capture is not None
        one = Guest(machine, vsock, console, program, log, options.keep, captures).__enter__()
    except ConnectionError as error:
        raise Refused("; ".join(str(error).split("\n"))) from None
    if stub is not None and stub.listens(one.process):
        print(f"stopped until gdb says continue:\n  {stub}", file=sys.stderr, flush=True)
    return one


def _in_lab(machine: Machine, options: Options, console: str) -> Guest:
    if options.group or options.uds_path or options.log or options.keep or options.gdb:
        names = "--group, --uds-path, --log, --keep, --gdb"
        raise Refused(f"--host lab: no {names}: its guests are inside")
    _need_tree("--host lab")
    from mpfw.build.deps import DependencyError
    from mpfw.guest.programs import ProgramError
    from mpfw.lab.host import lab_host
    from mpfw.lab.lab import LabError

    note("the lab boots, which takes some seconds")
    cid, program = options.cid or GUEST_CID, console == "stream"
    try:
        one = lab_host().guest(machine, console=console, program=program, cid=cid)
        return one.__enter__()
    except (DependencyError, LabError, ProgramError) as error:
        raise Refused(f"the lab: {str(error).splitlines()[-1]}") from None


def _warn(why: str) -> None:
    print(f"mpfw: {why}", file=sys.stderr)


def device(options: Options, warn: Callable[[str], object] = _warn) -> VsockHost | None:
    """The host's side of the vsock device; None if none is wanted, or, after a word to `warn`, if
    none was asked for and none can be had. Raises Refused."""
    if options.group and options.host == KernelVsock.kind:
        raise Refused(
            "--group: not with the kernel's device, whose guests do not reach each other"
        )
    try:
        if options.datagrams:
            return _with_datagrams(options)
        if options.host == "none":
            return None
        if not options.group and pick_kind(options.host) == KernelVsock.kind:
            return _kernels(options)
        return _daemons(options, warn)
    except cids.CidTakenError as error:
        raise Refused(str(error)) from None
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}") from None


def datagram_carrier(options: Options) -> str:
    """The device of QEMU's that lets the guest see datagrams. Raises Refused."""
    if options.host not in ("auto", DeviceVsock.kind) or options.group:
        raise Refused("--datagrams: not with --group, and with no other --host than device")
    from mpfw.guest import carriers

    carrier = carriers.choose(options.qemu or qemu_program())
    if carrier is None:
        raise Refused(
            "--datagrams: this QEMU has no device that lets a guest see them;"
            " 7.2 has one, and 10.1 and newer: --qemu PATH"
        )
    return carrier


def _with_datagrams(options: Options) -> VsockHost:
    carrier = datagram_carrier(options)
    path = options.uds_path and options.uds_path.absolute()
    if path is not None:
        _check_socket(path)
    cid, lock = cids.reserve(options.cid, kernel=False)
    vsock = DatagramVsock(carrier, cid=cid, uds_path=path, program=options.daemon)
    vsock.held.append(lock)
    return vsock


def _kernels(options: Options) -> VsockHost:
    if options.uds_path:
        raise Refused("--uds-path is for --host vhost-user and --host device")
    cid, lock = cids.reserve(options.cid, kernel=True)
    vsock = KernelVsock(cid)
    vsock.held.append(lock)
    return vsock


def _daemons(options: Options, warn: Callable[[str], object]) -> VsockHost | None:
    path = options.uds_path and options.uds_path.absolute()
    if path is not None:
        _check_socket(path)
    if options.host == DeviceVsock.kind and options.group:
        raise Refused("--group: not with --host device; one `mpfw device` serves several guests")
    try:
        if options.daemon is None and options.host != DeviceVsock.kind:
            daemon.program(unasked=options.host == "auto")
    except daemon.NoDaemonError as error:
        why = f"no vsock device: {error}"
        if options.host != "auto" or options.group:
            raise Refused(why) from None
        warn(why)
        return None
    if options.group:
        return _in_group(options.group, options)
    cid, lock = cids.reserve(options.cid, kernel=False)
    made = DeviceVsock if options.host == DeviceVsock.kind else VhostUserVsock
    vsock = made(cid, uds_path=path, program=options.daemon)
    vsock.held.append(lock)
    return vsock


def _in_group(name: str, options: Options) -> VsockHost:
    from mpfw.run import group

    if options.uds_path:
        raise Refused("--uds-path: not with --group, whose guests' sockets lie together")
    try:
        return group.join(name, options.cid)
    except group.GroupError as error:
        raise Refused(str(error)) from None


def _check_socket(path: Path) -> None:
    """Raise Refused unless a Unix socket can be made there."""
    if len(os.fsencode(path.name)) > _NAME_LIMIT:
        raise Refused(f"--uds-path: a socket's name has at most {_NAME_LIMIT} bytes")
    if path.exists() and not path.is_socket():
        raise Refused(f"{path}: there is a file, which is no socket")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise Refused(f"{path.parent}: no directory that can be written to")


def _stub(options: Options) -> "Stub":
    """Where gdb attaches. Raises Refused."""
    _need_tree("--gdb")
    from mpfw.guest import guarded
    from mpfw.guest.debugger import Stub
    from mpfw.image.built import Build, NotBuiltError

    try:
        Build().check(options.image)  # whose symbols gdb gets
    except NotBuiltError as error:
        raise Refused(str(error)) from None
    return Stub(guarded.make_directory() / "gdb")
