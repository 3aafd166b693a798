# SPDX-License-Identifier: MIT
"""`mpfw profile`: where a guest's time goes while it is measured, by sampling from outside.

QEMU's monitor tells the processor's instruction pointer and what lies on the stack, without
stopping the guest. Under software emulation the pointer is that of the last indirect jump, which
is a function's entry or a return into it: good enough to tell functions apart, not lines. Frozen
viper and native functions have symbols of their own; for bytecode, the function is the first one
that a saved instruction pointer on the stack lies in.
"""

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import click

from mpfw import paths
from mpfw.bench import guests, plan
from mpfw.guest.conversation import ECHO_PORT
from mpfw.guest.guest import Guest
from mpfw.guest.machine import pick_accelerator
from mpfw.guest.symbolise import Symbols
from mpfw.image.frozen import PREFIX
from mpfw.usage import examples

STACK_WORDS = 160  # how far up the stack a bytecode function is looked for
INTERPRETER = "mp_execute_bytecode"
LOADS: dict[str, tuple[str | float, ...]] = {
    "rtt": ("rtt", ECHO_PORT, plan.SMALL, 20000),
    "sink": ("sink", plan.BULK, 5),
    "source": ("source", plan.BULK, 5),
    "echo": ("echo", ECHO_PORT, plan.BULK, plan.AHEAD, 5),
    "connect": ("connect", ECHO_PORT, 3000),
    "busy": ("busy", ECHO_PORT, 200, plan.SMALL, 5),
}


class Sampler:
    """Takes samples of a guest until stopped."""

    def __init__(self, guest: Guest, symbols: Symbols):
        self._guest = guest
        self._symbols = symbols
        self.where: Counter[str] = Counter()  # the function itself
        self.python: Counter[str] = Counter()  # the Python function on whose behalf
        self.callers: Counter[tuple[str, str]] = Counter()

    def run(self, stop: threading.Event) -> None:
        """Sample about every millisecond."""
        while not stop.is_set():
            self._sample()
            time.sleep(0.001)

    def _monitor(self, line: str) -> str:
        """What QEMU's monitor says to a command."""
        return str(self._guest.qmp("human-monitor-command", 10, **{"command-line": line}))

    def _sample(self) -> None:
        registers = self._monitor("info registers")
        rip, rsp = _register("RIP", registers), _register("RSP", registers)
        here = self._symbols.name(rip) or "?"
        halted = "HLT=1" in registers
        self.where["(halted)" if halted else here] += 1
        stack = self._monitor(f"x /{STACK_WORDS}gx {rsp:#x}")
        words = [int(word, 16) for word in re.findall(r" 0x(\w{16})", stack)]
        names = [here, *filter(None, map(self._symbols.name, words))]
        frozen = [name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)]
        if not halted:
            function = frozen[0] if frozen else "(none)"
            self.python[function] += 1
            self.callers[(here.removeprefix(PREFIX), function)] += 1


def _register(name: str, registers: str) -> int:
    found = re.search(rf"{name}=(\w+)", registers)
    if found is None:
        raise click.ClickException(f"QEMU's monitor shows no {name}: {registers[:200]}")
    return int(found.group(1), 16)


def _print(title: str, counter: Mapping[Any, int], top: int) -> None:
    total = sum(counter.values())
    click.echo(f"\n{title} ({total} samples)")
    for name, count in Counter(counter).most_common(top):
        text = name if isinstance(name, str) else f"{name[0]}  <-  {name[1]}"
        click.echo(f"  {100 * count / total:5.1f} %  {text}")


@click.command(
    epilog=examples(
        "mpfw profile echo --kind echo    the built-in echo",
        "mpfw profile rtt --top 5         a script that answers",
    )
)
@click.argument("load", type=click.Choice(sorted(LOADS)))
@click.option("--kind", default="script", show_default=True, help="script, echo or floor.")
@click.option("--top", default=25, show_default=True)
@click.option("--accel", default="auto", show_default=True)
def profile(load: str, kind: str, top: int, accel: str) -> None:
    """Sample a guest while one measurement of the benchmark, LOAD, runs against it."""
    os.environ.setdefault("RUST_LOG", "error")
    accel = pick_accelerator() if accel == "auto" else accel
    parts = guests.build(accel, peer=False)
    elf = paths.BUILD / ("bench/floor.elf" if kind == "floor" else "port/micropython.sym.elf")
    with guests.BenchGuest(parts, parts.kinds[kind]) as guest:
        sampler = Sampler(guest.guest, Symbols(elf))
        stop = threading.Event()
        thread = threading.Thread(target=sampler.run, args=(stop,))
        thread.start()
        try:
            result = guest.run(*LOADS[load], seconds=30)
        finally:
            stop.set()
            thread.join()
    if "samples_ns" in result:
        result = plan.trip_figures(result["samples_ns"])
    click.echo(f"{load} on {kind}: {result}")
    _print("function", sampler.where, top)
    _print("on behalf of Python function", sampler.python, top)
    _print("function <- Python function", sampler.callers, top)
