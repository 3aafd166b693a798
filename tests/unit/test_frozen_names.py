# SPDX-License-Identifier: MIT
"""Symbols of frozen functions: found as mpy-tool.py numbers them, named as Python names them."""

import re
import subprocess
from pathlib import Path

from mpfw import paths
from mpfw.image.built import Build
from mpfw.image.frozen import names

MODULE = """\
import micropython


@micropython.viper
def first(n: int) -> int:
    return n


def plain():
    return lambda: [n for n in (1, 2)]


class Thing:
    size = 3

    @micropython.viper
    def get(self) -> int:
        return 1

    @micropython.native
    def put(self):
        pass


if first(1):

    @micropython.viper
    def second(n: int) -> int:
        return n
else:

    @micropython.viper
    def second(n: int) -> int:
        return -n


@micropython.viper
def _Thing_moved(self, n: int) -> int:
    return n


Thing.moved = _Thing_moved
del _Thing_moved
"""
VIPER = "pack_mod_pack_slash_mod_dot_py"
EXPECTED = {
    "fun_data_pack_mod__lt_module_gt_": "py.pack.mod.<module>",
    f"fun_data_{VIPER}": "py.pack.mod.first",
    "fun_data_pack_mod_plain": "py.pack.mod.plain",
    "fun_data_pack_mod_plain__lt_lambda_gt_": "py.pack.mod.plain.<lambda>",
    "fun_data_pack_mod_Thing": "py.pack.mod.Thing",
    "fun_data_pack_mod_Thing_pack_slash_mod_dot_py": "py.pack.mod.Thing.get",
    "fun_data_pack_mod_Thing_put": "py.pack.mod.Thing.put",
    f"fun_data_{VIPER}2": "py.pack.mod.second",
    f"fun_data_{VIPER}3": "py.pack.mod.second'",
    f"fun_data_{VIPER}4": "py.pack.mod.Thing.moved",
}


def test_each_function_is_named_as_in_its_source(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "mod.py").write_text(MODULE)
    found = names(tmp_path)
    assert {symbol: name for symbol, name in found.items() if symbol in EXPECTED} == EXPECTED


def test_a_package_has_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("def f():\n    pass\n")
    assert names(tmp_path)["fun_data_pack___init___f"] == "py.pack.f"


def test_those_are_the_symbols_that_mpy_tool_makes(tmp_path: Path) -> None:
    source = tmp_path / "pack" / "mod.py"
    source.parent.mkdir()
    source.write_text(MODULE)
    build, compiled = Build(), tmp_path / "mod.mpy"
    options = [*build.flags, "-s", "pack/mod.py", "-o", str(compiled)]
    subprocess.run([str(build.mpy_cross), *options, str(source)], check=True)
    tool = next(paths.BUILD.glob("micropython-*/tools/mpy-tool.py"))
    qstrs = paths.BUILD / "port" / "genhdr" / "qstrdefs.preprocessed.h"
    command = ["python3", str(tool), "-f", "-q", str(qstrs), "-mmpz-dig-size=32", str(compiled)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    made = set(
        re.findall(r"^static const byte (fun_data_\w+?)(?:_prelude)?\[", text, re.MULTILINE)
    )
    assert made <= set(names(tmp_path))
    assert len(made) >= len(EXPECTED)


def test_the_payloads_symbols_have_them() -> None:
    command = ["nm", "--defined-only", str(Build().symbols[0])]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    symbols = {line.split()[2] for line in listing.splitlines()}
    assert set(names(Build().modules).values()) - symbols == set()
    ours = ("fun_data_vsock", "fun_data_virtio", "fun_data_pci", "fun_data_fw_cfg")
    assert [name for name in symbols if name.startswith(ours)] == []
