# SPDX-License-Identifier: MIT
"""`mpfw expand --report`: what was folded and inlined where, and what it costs."""

import textwrap

from click.testing import CliRunner
from expand_trees import lay

from mpfw.build import deps
from mpfw.expand import native
from mpfw.expand.cli import expand

FILES = {
    "inline.py": "def inline(function):\n    return function\n",
    "words.py": "from micropython import const\nSTATE = const(11)\nOWED = const(21)\n",
    "low.py": """
        import micropython
        from inline import inline

        import words


        @inline
        @micropython.viper
        def state(at: int) -> int:
            return ptr32(at)[words.STATE]


        @inline
        @micropython.viper
        def owes(at: int) -> int:
            return int(state(at)) + ptr32(at)[words.OWED]
        """,
    "pack/__init__.py": "",
    "pack/high.py": """
        import micropython

        import low
        from words import STATE


        class Device:
            @micropython.viper
            def poll(self, at: int) -> int:
                return int(low.state(at)) + int(low.owes(at)) + STATE


        def slow(at):
            return low.state(at) + STATE


        @micropython.viper
        def plain(at: int) -> int:
            return at
        """,
}


def reported(tmp_path, **others):
    """The result of the command for FILES, and its lines without the blanks around them."""
    source = lay(tmp_path / "source", FILES | others)
    command = [str(source), str(tmp_path / "target"), "--report"]
    result = CliRunner().invoke(expand, command)
    return result, [line.strip() for line in result.output.splitlines()]


def test_the_report_tells_where_names_and_bodies_went(tmp_path):
    result, lines = reported(tmp_path)
    assert result.exit_code == 0, result.output
    cells = [line.split() for line in lines]
    assert ["low", "2", "words", "2"] in cells
    assert ["pack.high", "2", "words", "2"] in cells
    assert ["all", "4"] in cells
    # `slow` still calls low.state, whose body is in Device.poll twice, once by way of `owes`.
    first = lines.index("low.state: 2, and called")
    assert lines[first + 1 : first + 3] == [
        "low.owes, line 16",
        "pack.high.Device.poll, line 10",
    ]
    first = lines.index("low.owes: 1")
    assert lines[first + 1] == "pack.high.Device.poll, line 10"
    assert (tmp_path / "target/pack/high.py").exists()


def test_the_report_tells_what_inlining_costs(tmp_path):
    _, lines = reported(tmp_path)
    rows = {cells[0]: cells[1:] for cells in map(str.split, lines) if cells}
    poll, before = map(int, rows["pack.high.Device.poll"])
    assert 0 < poll != before > 0
    assert rows["low.owes"][0] == "0" and int(rows["low.owes"][1]) > 0
    assert len(rows["pack.high.plain"]) == 1 and int(rows["pack.high.plain"][0]) > 0
    assert "pack.high.slow" not in rows


def test_what_compiles_only_inlined_has_no_size_with_calls(tmp_path):
    text = FILES["low.py"].replace("int(state(at))", "state(at)")
    result, lines = reported(tmp_path, **{"low.py": text})
    assert result.exit_code == 0, result.output
    assert lines[-1] == "?: compiles only with bodies in place of calls: low.py"
    rows = {cells[0]: cells[1:] for cells in map(str.split, lines) if cells}
    assert rows["low.state"][1] == rows["all"][1] == "?"
    assert int(rows["pack.high.Device.poll"][1]) > 0


MIXED = """
import micropython

def _(n=[a for a in (1,)], *, k=lambda: [b for b in (2,)]):
    return lambda m={c for c in (3,)}: m

@micropython.viper
def f0(a: int, s) -> int:
    b = [x for x in [y for y in s]]
    STEPS
    return a

class C(max([_], key=lambda e: 0) and object):
    def bytecode(self):
        return {i: [j for j in i] for i in self}

    @micropython.viper
    def f1(self, a: int) -> int:
        STEPS
        return a

    class Inner:
        @micropython.viper
        def f2(self, a: int) -> int:
            STEPS
            return a

@micropython.viper
def _C_f3(self, a: int) -> int:
    STEPS
    return a
C.f3 = _C_f3
del _C_f3

def outer():
    @micropython.viper
    def f4(a: int) -> int:
        STEPS
        return a
    yield from (f4(i) for i in [j for j in (1,)])

@micropython.native
def f5(a):
    STEPS
    return a
"""


def test_each_function_has_its_own_size(tmp_path):
    """Those with more steps are larger, so a mistaken name would show."""
    steps = [40, 10, 30, 20, 90, 50]
    parts = MIXED.split("STEPS")
    text = parts[0]
    for part, count in zip(parts[1:], steps, strict=True):
        text += "; ".join(["a += 3"] * count) + part
    micropython = deps.provide("micropython")
    found = native.sizes({tmp_path.relative_to("/") / "m.py": textwrap.dedent(text)}, micropython)
    prefix = ".".join(tmp_path.relative_to("/").parts) + ".m."
    names = ["f0", "C.f1", "C.Inner.f2", "C.f3", "outer.f4"]
    sizes = [found[prefix + name] for name in names]
    assert sorted(sizes) == [sizes[steps.index(each)] for each in sorted(steps[:5])]
    assert prefix + "f5" in found and prefix + "C.bytecode" not in found


def test_without_mpy_cross_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(native, "MPY_CROSS", tmp_path / "mpy-cross")
    result, lines = reported(tmp_path)
    assert result.exit_code == 1
    assert lines[-1].startswith("Error: ") and lines[-1].endswith(": `make image` builds it.")
    assert "all" in {line.split()[0] for line in lines if line}
