# SPDX-License-Identifier: MIT
"""`mpfw doctor`: what of this machine a guest can use, and what to do about what it cannot.

Looks only: nothing is fetched, built or changed.
"""

import fcntl
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from mpfw import paths
from mpfw.guest import daemon
from mpfw.guest.machine import QEMU, QEMU_VARIABLE
from mpfw.guest.vsockhost import KERNEL_DEVICE
from mpfw.usage import examples

_KVM = Path("/dev/kvm")
_CPUINFO = Path("/proc/cpuinfo")
_KVM_CREATE_VM = 0xAE01  # linux/kvm.h
_VHOST_GET_FEATURES = 0x8008AF00  # linux/vhost.h
_OLDEST = (7, 2)  # QEMU's version: Debian 12's
_DEVICES = ("virtio-serial-pci", "virtserialport", "isa-debug-exit")  # docs/run.md
_SOCKET_ROOM = 60  # bytes of the temporary directory's name: a socket's has at most 107

OK, WITHOUT, BAD = "ok", "--", "!!"  # works; runs do without it; no run is possible


@dataclass(frozen=True)
class Finding:
    """One thing of the machine: how it is, in a sentence, and what to do about it."""

    state: str
    what: str
    said: str
    advice: str = ""

    def __str__(self) -> str:
        lines = [f"{self.state}  {self.what:20} {self.said}"]
        if self.advice:
            lines.append(f"{'':25}{self.advice}")
        return "\n".join(lines)


def qemu(name: str) -> Finding:
    """The QEMU that runs guests: there, new enough, with the devices that a run takes."""
    path = shutil.which(name)
    if path is None:
        advice = "as root: apt-get install qemu-system-x86; elsewhere: --qemu PATH"
        return Finding(BAD, "QEMU", f"there is no program {name}", advice)
    said = _output([path, "--version"])
    found = re.search(r"version (\d+)\.(\d+)[.\d]*", said)
    if found is None:
        return Finding(BAD, "QEMU", f"{path} --version says {said[:60]!r}", "install it anew")
    if (int(found[1]), int(found[2])) < _OLDEST:
        advice = f"install {_OLDEST[0]}.{_OLDEST[1]} or newer, which Debian 12 has"
        return Finding(BAD, "QEMU", f"{path} is {found[0]}: too old", advice)
    listed = _output([path, "-device", "help"])
    missing = [device for device in _DEVICES if f'"{device}"' not in listed]
    if missing:
        advice = "take a QEMU that was built with it, such as Debian's: --qemu PATH"
        return Finding(BAD, "QEMU", f"{path} has no device {', '.join(missing)}", advice)
    return Finding(OK, "QEMU", f"{path}, {found[0]}")


def image(path: Path) -> Finding:
    """The flash image: there, and whole."""
    from mpfw.image import ImageError, layout, verify

    try:
        data = path.read_bytes()
        damage = verify.verify(layout.load(), data)
    except OSError as error:
        return Finding(BAD, "image", f"{path}: {error.strerror}", "make image builds it")
    except ImageError as error:
        return Finding(BAD, "image", f"{path}: {error}", "make image builds one")
    if damage:
        advice = "mpfw image verify says where; make image builds it anew"
        return Finding(BAD, "image", f"{path} is damaged", advice)
    return Finding(OK, "image", f"{path}, {len(data) >> 20} MiB")


def kvm(device: Path = _KVM, cpuinfo: Path = _CPUINFO) -> Finding:
    """Hardware virtualisation; without it QEMU emulates the processor (TCG)."""
    trouble = _trouble(device, _KVM_CREATE_VM)
    if isinstance(trouble, FileNotFoundError):
        advice = "to have it: virtualisation on in the PC's set-up; in a VM: nested virtualisation"
        return Finding(WITHOUT, "KVM", f"no {device}: guests run emulated (TCG)", advice)
    if isinstance(trouble, PermissionError):
        return Finding(WITHOUT, "KVM", f"you may not open {device}: emulated (TCG)", _join(device))
    if trouble is not None:
        said = f"{device} makes no machine ({trouble.strerror}): guests run emulated (TCG)"
        return Finding(WITHOUT, "KVM", said, "the kernel's log says why: dmesg | grep -i kvm")
    flags = cpuinfo.read_text().split()
    if "vmx" not in flags and "svm" not in flags:
        said = f"{device} is there, but the processor has no virtualisation: emulated (TCG)"
        return Finding(WITHOUT, "KVM", said, "nothing to do: --accel kvm would be slower here")
    return Finding(OK, "KVM", f"{device} works")


def vhost_vsock(device: Path = KERNEL_DEVICE) -> Finding:
    """The kernel's own vsock device."""
    trouble = _trouble(device, _VHOST_GET_FEATURES)
    if isinstance(trouble, FileNotFoundError):
        advice = "as root: modprobe vhost_vsock; containers need it as a device"
        return Finding(WITHOUT, "vhost-vsock", f"no {device}", advice)
    if isinstance(trouble, PermissionError):
        return Finding(WITHOUT, "vhost-vsock", f"you may not open {device}", _join(device))
    if trouble is not None:
        said = f"{device} does not answer ({trouble.strerror})"
        return Finding(
            WITHOUT, "vhost-vsock", said, "as root: modprobe -r vhost_vsock, then again"
        )
    return Finding(OK, "vhost-vsock", f"{device} works: host programs use AF_VSOCK")


def device_program(qemu_name: str = QEMU) -> Finding:
    """vhost-device-vsock, which is a vsock device where the kernel's is missing."""
    what = daemon.NAME
    try:
        place = daemon.present()
    except daemon.NoDaemonError as error:
        advice = "set it to the program's path, or unset it: then one is fetched"
        return Finding(WITHOUT, what, str(error), advice)
    if place is None:
        said = "not here yet: the first run that needs it fetches it from Debian's archive"
        return Finding(OK, what, said)
    said = _output([place, "--version"])
    if not said.startswith(what):
        advice = f"set {daemon.OVERRIDE} to one that runs here; it needs glibc 2.34 or newer"
        return Finding(WITHOUT, what, f"{place} does not run: {said[:60]!r}", advice)
    program = shutil.which(qemu_name)
    if program and '"vhost-user-vsock-pci"' not in _output([program, "-device", "help"]):
        advice = "take a QEMU that has it, such as Debian's: --qemu PATH"
        return Finding(WITHOUT, what, "QEMU has no vhost-user-vsock-pci for it", advice)
    return Finding(OK, what, f"{said.split()[-1]}: host programs use Unix sockets")


def shared_memory() -> Finding:
    """memfd: how the daemon sees a guest's memory."""
    try:
        os.close(os.memfd_create("mpfw-doctor"))
    except (AttributeError, OSError) as error:
        advice = "vhost-device-vsock cannot be used: --host vhost-vsock, lab or none"
        return Finding(WITHOUT, "shared memory", f"no memfd ({error})", advice)
    return Finding(OK, "shared memory", "memfd works")


def temporary() -> Finding:
    """Where a run's sockets and files lie."""
    place = tempfile.gettempdir()
    if len(os.fsencode(place)) > _SOCKET_ROOM:
        advice = "set TMPDIR to a shorter name, such as /tmp: sockets there have 107 bytes"
        return Finding(BAD, "temporary files", f"the name of {place} is too long", advice)
    try:
        with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as probe:
            probe.bind(f"{directory}/socket")
    except OSError as error:
        advice = "set TMPDIR to a directory that you can write to and that takes Unix sockets"
        return Finding(BAD, "temporary files", f"{place}: {error.strerror}", advice)
    return Finding(OK, "temporary files", place)


def socat() -> Finding:
    """What the conversation of `mpfw run` without a program, and the documents, use."""
    path = shutil.which("socat")
    if path is None:
        advice = "as root: apt-get install socat; mpfw run without a program talks through it"
        return Finding(WITHOUT, "socat", "there is no such program", advice)
    return Finding(OK, "socat", path)


def lab(build: Path = paths.BUILD) -> Finding:
    """The small Linux guest that has the kernel's vsock device on any machine."""
    from mpfw.lab import image as lab_image

    suite = lab_image.default_suite()
    made = [one for one in sorted((build / "lab").glob(f"{suite}-*")) if one.is_dir()]
    if not made:
        said = f"Debian {suite}'s: not here yet, made from Debian's archive when first needed"
        return Finding(OK, "lab kernel", said)
    versions = dict(line.split() for line in (made[-1] / "versions").read_text().splitlines())
    return Finding(OK, "lab kernel", f"Linux {versions['linux-image-cloud-amd64']}, {suite}'s")


def examine(qemu_name: str, flash: Path) -> Iterator[Finding]:
    """Everything, in the order in which it is told."""
    yield qemu(qemu_name)
    yield image(flash)
    yield temporary()
    yield kvm()
    yield vhost_vsock()
    yield device_program(qemu_name)
    yield shared_memory()
    yield socat()
    if paths.IN_TREE:  # a wheel has no lab
        yield lab()


def conclusion(findings: list[Finding]) -> str:
    """One sentence: what runs here."""
    states = {finding.what: finding.state for finding in findings}
    bad = [finding.what for finding in findings if finding.state == BAD]
    if bad:
        return f"No guest can run here: see {' and '.join(bad)} above."
    how = "under KVM" if states["KVM"] == OK else "emulated"
    if states["vhost-vsock"] == OK:
        device = "the kernel's vsock device"
    elif states["vhost-device-vsock"] == states["shared memory"] == OK:
        device = "vhost-device-vsock as its vsock device"
    else:
        return f"Guests run here, {how}, without a vsock device; --host lab gives them one."
    return f"Guests run here, {how}, with {device}."


@click.command(
    epilog=examples(
        "mpfw doctor                   what works here, and what to do about what does not",
        "mpfw doctor && mpfw run app.py         its status is 0 if a guest can run, else 1",
    )
)
@click.option("--qemu", "qemu_name", metavar="PATH", default=QEMU, envvar=QEMU_VARIABLE)
@click.option("--image", "flash", type=click.Path(path_type=Path), default=paths.IMAGE)
def doctor(qemu_name: str, flash: Path) -> None:
    """Look at this machine: QEMU, KVM, vsock devices, permissions. Nothing is changed."""
    findings = []
    for finding in examine(qemu_name, flash):
        click.echo(finding)
        findings.append(finding)
    click.echo(conclusion(findings))
    if any(finding.state == BAD for finding in findings):
        raise SystemExit(1)


def _trouble(device: Path, request: int) -> OSError | None:
    """What happens when a device is opened and asked something; None if it answers."""
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return error
    try:
        answer = fcntl.ioctl(descriptor, request, 0 if request == _KVM_CREATE_VM else bytes(8))
        if isinstance(answer, int):
            os.close(answer)  # a machine
    except OSError as error:
        return error
    finally:
        os.close(descriptor)
    return None


def _join(device: Path) -> str:
    """What gives a user a device that is its group's."""
    try:
        group = device.group()
    except (OSError, KeyError):
        group = "kvm"
    return f"as root: adduser {os.environ.get('USER', 'YOU')} {group}; then log in anew"


def _output(command: list[str]) -> str:
    """What a program prints, or why it cannot be run."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (run.stdout + run.stderr).strip()
