# SPDX-License-Identifier: MIT
"""What a guest's own addresses are called: functions of frozen modules, places of faults."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mpfw.guest.console import RemoteError
from mpfw.guest.guest import Guest
from mpfw.guest.symbolise import Code
from mpfw.image.built import Build

UNMAPPED = 0x7FFF_0000_0000  # above all RAM and every PCI window

# On the guest: where the code of a module's functions and methods lies (py/objfun.h,
# mp_obj_fun_bc_t), by their names there.
LIST = """
import machine
def functions(thing, prefix):
    for name in dir(thing):
        value = getattr(thing, name, None)
        if type(value) is type and not prefix.count('.'):
            functions(value, prefix + name + '.')
        elif type(value) is type(functions) and ' at 0x' in repr(value):
            print(prefix + name, machine.mem64[id(value) + 24])
"""


def _module(path: Path) -> str:
    parts = path.relative_to(Build().modules).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def test_each_function_of_the_frozen_modules_is_called_by_its_name(repl: Guest) -> None:
    code = Code(Build().symbols)
    repl.console.exec(LIST)
    wrong, right = [], 0
    names = {_module(path) for path in Build().modules.rglob("*.py")}
    for path in sorted(Build().modules.rglob("*.py")):
        module = _module(path)
        if module in ("_boot", "main", "manifest"):  # running them is not looking at them
            continue
        try:
            repl.console.exec(f"import {module} as looked_at")
        except RemoteError as error:  # a module for CPython only
            assert "ImportError" in str(error)
            continue
        # runner has taken itself out of sys.modules; a package may have another thing of the name.
        found = f"sys.modules.get('{module}', looked_at)"
        listed = repl.console.exec(f"import sys\nfunctions({found}, '')")
        called: dict[int, set[str]] = {}  # one function may have several names
        for line in listed.splitlines():
            name, at = line.split()
            called.setdefault(int(at), set()).add(f"{module}.{name}")
        for address, known in called.items():
            said = code.describe(address).partition("+")[0]
            inside = any(said.startswith(f"{name}.") for name in names if len(name) > len(module))
            if said.startswith(f"{module}.") and not inside:  # else it is from elsewhere
                right += said in known
                wrong += [] if said in known else [(said, known)]
    assert wrong == []
    assert right > 200


def fault(guest: Guest, code: str) -> None:
    with pytest.raises(RemoteError, match="EFAULT"):
        guest.console.exec(code)


def test_a_guests_last_words_tell_the_place_of_its_last_fault(repl: Guest) -> None:
    assert "CPU exceptions" not in repl.report()
    fault(repl, f"import machine\nmachine.mem32[{UNMAPPED}]")
    said = repl.report().partition("--- CPU exceptions ---")[2]
    assert re.search(r"at [0-9a-f]+: machine_mem_subscr at .*extmod/machine_mem\.c:\d+", said)
    assert re.search(r"[0-9a-f]+: mp_execute_bytecode at .*py/vm\.c:\d+", said)


def test_a_fault_in_frozen_viper_code_has_the_functions_name(repl: Guest) -> None:
    fault(repl, f"import fw_cfg\nfw_cfg._big_endian({UNMAPPED}, 0, 4)")
    said = repl.report().partition("--- CPU exceptions ---")[2]
    assert re.search(r"at [0-9a-f]+: fw_cfg\._big_endian\+0x[0-9a-f]+ \(frozen Python\)", said)


def test_a_fault_in_code_that_the_guest_has_compiled_is_not_given_a_name(repl: Guest) -> None:
    code = f"@micropython.viper\ndef f(p: ptr8) -> int:\n    return p[0]\nf({UNMAPPED})"
    fault(repl, f"import micropython\n{code}")
    assert "native code made at run time" in repl.report()


def test_the_command_explains_a_log_from_elsewhere(repl: Guest, tmp_path: Path) -> None:
    fault(repl, f"import machine\nmachine.mem32[{UNMAPPED}]")
    log = tmp_path / "debug.log"
    log.write_text(repl.debugcon())
    command = [sys.executable, "-m", "mpfw", "symbolise", str(log)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert ": machine_mem_subscr at " in said
    assert set(log.read_text().splitlines()) <= set(said.splitlines())
