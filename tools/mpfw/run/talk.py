# SPDX-License-Identifier: MIT
"""`mpfw run` without a program: a conversation both ways, then the console or power-off."""

import os
import sys
import time

from mpfw.guest.console import ConsoleError
from mpfw.guest.conversation import ConversationFailed, converse, summary
from mpfw.guest.errors import GuestError
from mpfw.guest.guest import Guest
from mpfw.run import parts, session, terminal
from mpfw.run.parts import Options, Refused


def talk(options: Options) -> int:
    """Boot the firmware and talk to it; the exit status. Raises Refused."""
    machine = parts.machine(options, {}, reboots=True)
    session.handle(dict.fromkeys(session.ENDING, session.end))
    guest = parts.guest(machine, options, program=False)
    carrier = "no vsock device" if guest.without_vsock else f"vsock device {guest.vsock.kind}"
    print(f"{options.image.name}: accelerator {machine.accelerator}, {carrier}")
    try:
        if not options.gdb:
            print(summary(converse(guest)), flush=True)
        if sys.stdin.isatty() and sys.stdout.isatty():
            hand_over(guest)
        elif options.gdb:
            watch(guest)
        else:
            power_off(guest)
    except (ConversationFailed, ConsoleError, GuestError) as error:
        print(guest.report(), file=sys.stderr)
        raise Refused(str(error).splitlines()[0]) from None
    return 0


def watch(guest: Guest) -> None:
    """Show the console until the guest is off."""
    while not guest.console.closed:
        _write(guest.console.unread())
        time.sleep(0.02)
    if guest.wait() != 0:
        raise GuestError(f"QEMU ended with {guest.wait()}")


def power_off(guest: Guest) -> None:
    """Interrupt what runs, ask MicroPython to power the machine off, wait for QEMU's end."""
    guest.console.interrupt()
    guest.console.send(b"import machine; machine.poweroff()\r")
    code = guest.wait()
    if code != 0:
        raise GuestError(f"QEMU ended with {code}")
    print("the guest has powered itself off")


def hand_over(guest: Guest) -> None:
    """Join this terminal and the guest's console until Ctrl-A x, or until the guest is off."""
    print("The console is yours: Ctrl-C for the prompt, Ctrl-A x to end.", flush=True)
    terminal.join(*guest.console.release())


def _write(data: bytes) -> None:
    if data:
        os.write(sys.stdout.fileno(), data)
