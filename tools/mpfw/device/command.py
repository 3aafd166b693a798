# SPDX-License-Identifier: MIT
"""`mpfw device`: a vsock device for QEMU's vhost-user-vsock-pci, as vhost-device-vsock is one."""

import gc
import platform
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mpfw.capture.sinks import CaptureError
from mpfw.device.firmware import NoSources
from mpfw.device.programs import PathError
from mpfw.device.settings import (
    CARRIERS,
    Settings,
    SettingsError,
    checked,
    from_file,
    from_mapping,
    from_vm,
)
from mpfw.usage import examples, only_with
from mpfw.wakeup import Wakeup

if TYPE_CHECKING:
    from mpfw.device.faults.injector import Injector
    from mpfw.device.wire import Tap


@click.command(
    epilog=examples(
        "mpfw device --guest-cid 4 --socket /tmp/vhost4.socket --uds-path /tmp/vm4.vsock",
        "mpfw device --vm guest-cid=4,socket=/tmp/a,uds-path=/tmp/b     --vm for each guest",
        "mpfw device --config devices.yaml",
        "mpfw device --config devices.yaml --faults lossy.toml         docs/faults.md",
        "mpfw device --config devices.yaml --capture - | tshark -i -",
    )
)
@click.option("--guest-cid", help="The guest's CID. [default: 3]")
@click.option("--socket", help="Where QEMU finds the device: a Unix socket, or @name.")
@click.option("--uds-path", help="Where programs reach the guest: a Unix socket, or @name.")
@click.option("--forward-cid", help="In place of --uds-path: the host's CID that is called.")
@click.option("--forward-listen", help="Host ports, joined by +, whose calls go to the guest.")
@click.option("--tx-buffer-size", help="Bytes that a program may leave unread. [default: 262144]")
@click.option("--queue-size", help="Entries that a queue may have. [default: 1024]")
@click.option("--groups", help="Groups, joined by +, of guests that reach each other.")
@click.option("--socket-mode", help="Permissions of the sockets. [default: 600]")
@click.option("--datagrams", is_flag=True, default=None, help="Offer datagrams to the guest, too.")
@click.option(
    "--carrier",
    type=click.Choice(CARRIERS),
    help="What QEMU speaks at --socket. [default: vhost-user]",
)
@click.option("--vm", multiple=True, metavar="KEY=VALUE,...", help="The same, for each guest.")
@click.option("--config", type=click.Path(path_type=Path), help="The same, from a YAML file.")
@click.option("--capture", metavar="FILE", help="Where a capture of all packets goes (pcapng).")
@click.option(
    "--snaplen",
    type=click.IntRange(0, 65536),
    default=65536,
    show_default=True,
    metavar="BYTES",
    help="Of each packet's payload in the capture.",
)
@click.option(
    "--capture-size",
    type=click.IntRange(0),
    default=0,
    metavar="BYTES",
    help="Of a file of the capture before the next one begins. [default: no limit]",
)
@click.option("--faults", type=click.Path(path_type=Path), help="Fault rules, from a TOML file.")
def device(
    vm: tuple[str, ...],
    config: Path | None,
    capture: str | None,
    snaplen: int,
    capture_size: int,
    faults: Path | None,
    **single: str | bool | None,
) -> None:
    """Serve vsock devices to QEMU: the options of vhost-device-vsock, whose place it takes.

    QEMU connects with -chardev socket,id=c,path=SOCKET -device vhost-user-vsock-pci,chardev=c and
    memory that it shares. Programs connect to the Unix socket and say "CONNECT <port>"; the
    guest's calls to CID 2 go to the socket whose name ends in _<port>. docs/device.md has it all.
    """
    only_with("capture", "snaplen", "capture_size")
    if platform.machine() not in ("x86_64", "AMD64"):
        raise click.ClickException("mpfw device needs an x86-64 machine: memory order is its own")
    try:
        settings = checked(_settings(vm, config, single))
        injector = _rules(faults) if faults is not None else None
        with _captured(capture, snaplen, capture_size) as tap:
            _serve(settings, tap, injector)
    except (SettingsError, PathError, NoSources, CaptureError) as error:
        raise click.ClickException(str(error)) from None


def _settings(
    vm: tuple[str, ...], config: Path | None, single: dict[str, str | bool | None]
) -> list[Settings]:
    given = {name: value for name, value in single.items() if value is not None}
    if bool(given) + bool(vm) + bool(config) > 1:
        raise SettingsError("either --config, or --vm, or the options of one guest")
    if config is not None:
        return from_file(config)
    if vm:
        return [from_vm(each) for each in vm]
    if not given:
        raise SettingsError("which device? --socket and --uds-path, --vm or --config say it")
    return [from_mapping(given, "options")]


def _rules(path: Path) -> "Injector":
    """The rules of a file; what they do is told on standard error. Raises RuleError."""
    from mpfw.device.faults.files import from_file

    injector = from_file(path)
    injector.tell = _say
    _say(f"faults: {len(injector.rules)} rules, seed = {injector.seed}")
    return injector


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _captured(path: str | None, snaplen: int, size: int) -> "Iterator[Tap | None]":
    """What a wire tells its packets to, for them to be in the capture; None without one."""
    if path is None:
        yield None
        return
    from mpfw.capture import IN, OUT, Capture
    from mpfw.device.wire import TO_GUEST

    with Capture(path, snaplen, size) as capture:

        def tap(direction: int, header: memoryview, views: list[memoryview]) -> None:
            data = views[0] if len(views) == 1 else b"".join(views)
            capture.packet(OUT if direction == TO_GUEST else IN, bytes(header), data)

        yield tap


def _serve(settings: list[Settings], tap: "Tap | None", faults: "Injector | None") -> None:
    from mpfw.device.loop import IN
    from mpfw.device.switch import Switch

    _allow_descriptors()
    switch = Switch(settings, faults=faults)
    switch.tap(tap)

    def end(*_: Any) -> None:
        switch.stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    # Later: a handler may have cut in while a line was written.
    signal.signal(signal.SIGUSR1, lambda *_: switch.loop.soon(switch.report))
    with closing(Wakeup()) as wakeup:
        switch.loop.add(wakeup.fileno(), IN, wakeup.drain)
        switch.open()
        gc.freeze()  # what is here stays, what comes has no cycles: the collector has little to do
        gc.set_threshold(100_000)
        try:
            switch.run()
        finally:
            switch.report()
            switch.close()


def _allow_descriptors() -> None:
    """Thousands of connections are as many descriptors."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        pass
