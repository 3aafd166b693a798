# SPDX-License-Identifier: MIT
"""Guests whose vsock device is a PCI function of ours, in the QEMU that can serve it.

`proxied`: x-pci-proxy-dev (QEMU 7.2), where every register is ours and nothing interrupts.
`with_msi`: vfio-user-pci (10.1 on), with MSI-X. Where the machine's own QEMU does not do, one is
fetched once (`mpfw qemu`), bookworm's and sid's.
"""

from contextlib import contextmanager

from mpfw.device.pci_hosts import ProxyHost, VfioUserHost
from mpfw.guest.console import CTRL_D
from mpfw.guest.driven import DrivenGuest
from mpfw.guest.machine import Machine
from mpfw.lab import qemus

BANNER = "MicroPython v"


@contextmanager
def proxied(image, function, **machine):
    """A guest with the function and without interrupts; `machine` is Machine's."""
    made = Machine(
        **{"image": image, "qemu": qemus.with_device("x-pci-proxy-dev", "bookworm")} | machine
    )
    with DrivenGuest(made, ProxyHost(function)) as guest:
        yield guest


@contextmanager
def with_msi(image, function, **machine):
    """A guest with the function and its MSI-X."""
    made = Machine(**{"image": image, "qemu": qemus.with_device("vfio-user-pci", "sid")} | machine)
    with DrivenGuest(made, VfioUserHost(function, function.vectors)) as guest:
        yield guest


def said(guest):
    """What the console has said so far."""
    return bytes(guest.console.transcript).decode(errors="backslashreplace").replace("\r\n", "\n")


def refusal(guest, timeout=15):
    """Wait for the first prompt; what was said before it, which must be one sentence."""
    guest.console.wait_prompt(timeout)
    return one_sentence(guest)


def one_sentence(guest):
    """What was said before the first prompt."""
    before = said(guest).partition(BANNER)[0]
    assert "Traceback" not in before, before
    lines = [line for line in before.splitlines() if line.strip()]
    assert len(lines) == 1, before
    return lines[0]


def ready(guest, timeout=15):
    """Wait for the built-in echo; the CID that it names."""
    line = guest.console.expect(rb"READY vsock cid=(\d+)[^\n]*\n", timeout)
    return int(line.group(1))


def anew(guest):
    """Out of whatever runs, and a soft reset: the built-in echo begins again."""
    guest.console.interrupt()
    guest.console.send(CTRL_D)
    return ready(guest)


def echoes(function, data=b"are you there?", timeout=10):
    """The built-in echo answers a call, which stays open."""
    stream = function.policy.connect(1234, timeout)
    stream.send(data)
    assert stream.receive(len(data), timeout) == data
    return stream


def computes(guest, timeout=10):
    """Ctrl-C gives the prompt, which computes."""
    assert guest.console.exec("print(6 * 7)", timeout) == "42\n"


def quiet(guest, but=""):
    """Nothing of what an interrupt handler or a CPU exception prints was seen; `but` names the
    one kind of traceback that the test itself has caused."""
    text = said(guest) + guest.debugcon()
    tracebacks = text.count("Traceback") - (text.count(but + ":") if but else 0)
    assert not tracebacks and "exception" not in text and "Error" not in text, text


def settled(guest, timeout=15):
    """Wait for the echo (True), or for a refusal in one sentence."""
    seen = guest.console.expect(rb"READY vsock cid=\d+ |>>> ", timeout).group()
    if seen == b">>> ":
        one_sentence(guest)
    return seen != b">>> "
