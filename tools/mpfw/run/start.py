# SPDX-License-Identifier: MIT
"""Puts a run together from the command's options, and runs it. Nothing is torn down here:
mpfw.guest.guarded.end_all() ends everything at once."""

import gc
import sys

from mpfw.guest import channel
from mpfw.guest.guarded import GuardianError
from mpfw.run import parts, program
from mpfw.run.marks import mark
from mpfw.run.parts import Ended, Options, Refused


def start(words: tuple[str, ...], options: Options) -> int:
    """Run what the command line says; the exit status. What went wrong is on standard error."""
    gc.enable()  # mpfw.__main__ had it off
    try:
        return _start(words, options)
    except Ended as ended:
        return complain(ended, ended.status) if str(ended) else ended.status
    except Refused as refused:
        return complain(refused, refused.status)
    except (program.ProgramError, GuardianError) as error:
        return complain(error, channel.OURS)


def complain(why: object, status: int) -> int:
    """Say one sentence; the status given."""
    print(f"mpfw: {why}", file=sys.stderr)
    return status


def _start(words: tuple[str, ...], options: Options) -> int:
    if options.code is None and options.module is None and not words:
        if options.capture is not None:
            raise Refused("--capture needs a program: give a script, -c or -m")
        from mpfw.run.talk import talk

        return talk(options)
    mark("the command line is read")
    what, words = _program(words, options)
    stays = options.interactive or options.keep
    fw_cfg = program.fw_cfg(
        what,
        words,
        options.environment,
        options.folders,
        options.libraries,
        stays,
        options.image,
    )
    machine = parts.machine(options, fw_cfg, reboots=options.reboot)
    if options.dry_run:
        from mpfw.run import by_hand

        return by_hand.show(what, machine, options)
    mark("the machine is described")
    capture = parts.capture(options)
    guest = parts.guest(machine, options)
    mark("QEMU is asked for")
    from mpfw.run import session  # while the guest boots

    wishes = session.Wishes(
        options.timeout, options.interactive, options.keep, options.gdb, capture
    )
    return session.run(guest, wishes)


def _program(words: tuple[str, ...], options: Options) -> tuple[program.Program, tuple[str, ...]]:
    """The program and its arguments."""
    if options.code is not None:
        return program.code(options.code), words
    if options.module is not None:
        return program.module(options.module), words
    return program.script(words[0]), words[1:]
