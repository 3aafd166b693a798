# SPDX-License-Identifier: MIT
"""mpfw.Guest: a guest for a program or a test suite, from a few words. docs/api.md describes it.

What it is made of is decided where `mpfw run` decides it (mpfw.run.parts), what it can do stands
in mpfw.guest.driven.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mpfw import paths
from mpfw.guest.driven import AGENT, SCRIPT, DrivenGuest
from mpfw.guest.errors import NotPossible, StartError
from mpfw.guest.guarded import GuardianError
from mpfw.guest.machine import Entry
from mpfw.guest.snapshot import Snapshot
from mpfw.guest.vsockhost import VhostUserVsock
from mpfw.run import parts, program

_RUN = "opt/micropython/run"
_SCRIPT = "opt/micropython/main.py"
_NAME = "opt/micropython/name"


class Guest(DrivenGuest):
    """A context manager: the guest is booted on entry and gone on exit, however that comes.

    Without a script it waits for run(), call() and files; with one it runs that as `mpfw run`
    does, and has a status. Any thread may use it; what is asked of its Python is done one by one.
    """

    def __init__(
        self,
        script: str | os.PathLike[str] | None = None,
        args: Sequence[str] = (),
        *,
        code: str | None = None,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        app: Sequence[str | os.PathLike[str]] = (),
        lib: Sequence[str | os.PathLike[str]] = (),
        cid: int | None = None,
        host: str = "auto",
        device: VhostUserVsock | None = None,
        daemon: str | os.PathLike[str] | None = None,
        uds_path: str | os.PathLike[str] | None = None,
        group: str | None = None,
        datagrams: bool = False,
        memory: str = "64M",
        cpus: int = 1,
        machine: str = "q35",
        accel: str = "auto",
        disk: str | None = None,
        image: str | os.PathLike[str] = paths.IMAGE,
        qemu: str | os.PathLike[str] | None = None,
        qemu_args: Sequence[str] = (),
        timeout: float = 60.0,
        snapshot: Snapshot | None = None,
    ):
        """Long because each option of a guest is a parameter. Raises StartError.

        `script` is a file, or a directory with main.py; `code` a script's text; `args` and
        `stdin` are the script's. `env`: the guest's os.environ. `app`: directories whose modules
        and files come along; `lib`: where imports look besides. `cid`: else a free one. `host`:
        "auto", "vhost-user" (`daemon`: in place of vhost-device-vsock, with its options;
        `uds_path`: where its socket is to be; `group`: guests of one name reach each other by
        CID), "device" (the same by `mpfw device`), "vhost-vsock" or "none". `device`: in place of
        all that one of your own, such as pytest's `vsock_device`. `datagrams`: by a "device" that
        offers them, where this QEMU lets the guest see them. `memory` as QEMU
        writes it. `disk`: what keeps /disk, "FILE" or "FILE,SIZE". `timeout`: seconds that each
        wait takes at most. `snapshot`: go on from there, the other arguments as that guest's.
        """
        self._options = parts.Options(
            cid=cid,
            uds_path=None if uds_path is None else Path(uds_path),
            host=host,
            group=group,
            datagrams=datagrams,
            daemon=None if daemon is None else Path(daemon).absolute(),
            memory=memory,
            cpus=cpus,
            machine=machine,
            accel=accel,
            qemu=None if qemu is None else os.fspath(qemu),
            qemu_args=tuple(qemu_args),
            environment=tuple(f"{name}={value}" for name, value in (env or {}).items()),
            folders=tuple(map(Path, app)),
            libraries=tuple(map(Path, lib)),
            disk=disk,
            image=Path(image),
        )
        drive = AGENT if script is None and code is None else SCRIPT
        try:
            made = parts.machine(
                self._options, _entries(self._options, script, code, args), drive == AGENT
            )
        except (parts.Refused, program.ProgramError) as error:
            raise StartError(str(error)) from None
        super().__init__(made, drive=drive, stdin=stdin, restore=snapshot)
        self._device = device
        self.timeout = timeout

    def __enter__(self) -> "Guest":
        try:
            self._vsock = self._device or parts.device(self._options, self._no_device)
            super().__enter__()
        except (parts.Refused, GuardianError, ConnectionError) as error:
            raise StartError(str(error)) from None
        except OSError as error:
            raise StartError(f"{error.filename}: {error.strerror}") from None
        except ValueError as error:  # a host that does not exist
            raise StartError(str(error)) from None
        return self

    def _no_device(self, why: str) -> None:
        self.no_device = why

    @property
    def cid(self) -> int:
        """Its CID."""
        return self.vsock.cid

    @property
    def uds_path(self) -> Path:
        """The hybrid Unix socket that stands for its vsock device. Raises NotPossible for the
        kernel's device, which has none."""
        if not isinstance(self.vsock, VhostUserVsock):
            raise NotPossible("the kernel's vsock device has no Unix socket: connect to its CID")
        return self.vsock.path


def _entries(
    options: parts.Options,
    script: str | os.PathLike[str] | None,
    code: str | None,
    args: Sequence[str],
) -> dict[str, Entry]:
    """The guest's fw_cfg entries. Raises ProgramError."""
    if script is not None and code is not None:
        raise program.ProgramError("a guest runs a script or code, not both")
    if script is not None:
        what = program.script(os.fspath(script))
    else:
        what = program.code(code or "")
    entries = program.fw_cfg(
        what,
        args,
        options.environment,
        options.folders,
        options.libraries,
        False,
        options.image,
    )
    if script is None and code is None:
        for name in (_RUN, _SCRIPT, _NAME):  # the agent's own
            del entries[name]
    return entries
