# SPDX-License-Identifier: MIT
"""Nothing is cut in two: native code of queues and connections calls no bytecode with a jump.

MicroPython looks for Ctrl-C and for handlers at the jumps of bytecode (docs/architecture.md). Here
the sources run as a device and programs do everything to each other, and every call is looked at.
"""

import ast
import sys
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

import pytest
from pci_machine import MODULES
from road import Road
from road_model import w

OURS = ("vsock/", "virtio/")
# What waits is bytecode; the seam's other side is not in the firmware.
NOT_OURS = ("vsock/wait.py", "portable.py")
JUMPS = (
    *(ast.If, ast.IfExp, ast.BoolOp, ast.For, ast.While, ast.Try, ast.With, ast.Assert),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
NATIVE = {"micropython.native", "micropython.viper"}
RX, TX, EVENT, CONFIG = range(4)


def functions():
    """(file, first line) -> (name, whether it is native, whether it jumps)."""
    found = {}
    for path in MODULES.rglob("*.py"):
        short = path.relative_to(MODULES).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                marks = {ast.unparse(each) for each in node.decorator_list}
                first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                jumps = any(isinstance(each, JUMPS) for each in ast.walk(node))
                name = f"{short}: {node.name}"
                found[path.resolve(), first] = name, bool(marks & NATIVE), jumps
    return found


@contextmanager
def watched():
    """The set of calls that could be cut, as they are found."""
    known = functions()
    seen: dict[CodeType, tuple[str, bool, bool] | None] = {}
    found: set[str] = set()

    def look(code: CodeType):
        if code not in seen:
            seen[code] = known.get((Path(code.co_filename).resolve(), code.co_firstlineno))
        return seen[code]

    def called(frame: FrameType, event: str, _):
        if event != "call":
            return
        function = look(frame.f_code)
        if function is None or function[1] or not function[2]:
            return
        way = [function[0]]
        up = frame.f_back
        while up is not None and not way[-1].startswith(NOT_OURS):
            caller = look(up.f_code)
            if caller is None:
                return
            way.append(caller[0])
            if caller[1]:
                if caller[0].startswith(OURS) and not caller[0].startswith(NOT_OURS):
                    found.add(" < ".join(way))
                return
            up = up.f_back

    sys.setprofile(called)
    try:
        yield found
    finally:
        sys.setprofile(None)


def traffic(engine, **settings):
    """A little of everything."""
    road = Road(engine, **settings)
    name = road.open(1234, 5000)
    other = road.open(1235, 5001)
    for line in name, other:
        engine.call(f"{line}.settimeout", 0)
        engine.attempt("program.write_once", line, bytes(9000))
    engine.call(f"{name}.settimeout", None)
    engine.call(f"{name}.send", bytes(100_000))  # lent
    engine.many(["stack.look_for_stalled"], ["stack.end_stalled", 3], ["stack.expire"])
    engine.program.listen("~mine", 77)
    engine.program.socket("~to")
    engine.call("~to.settimeout", 0)
    engine.attempt("~to.connect", [w.CID_LOCAL, 77])
    engine.attempt("~to.send", bytes(200_000))
    return road


BREAKS = [
    ["ring", RX, "put", 127, 0],
    ["ring", TX, "put", 127, 0],
    ["ring", EVENT, "put", 127, 0],
    ["transport.needs_reset"],
    ["host.event", w.EVENT_BYTES],
]


@pytest.mark.parametrize("breaks", BREAKS, ids=str)
@pytest.mark.parametrize("stubborn", [False, True])
def test_native_code_calls_no_bytecode_with_a_jump(engines, breaks, stubborn):
    engine = engines["source"]
    with watched() as found:
        traffic(engine, stubborn=stubborn)
        engine.clock.looks_take(1000)
        engine.call(*breaks)
        for queue in (EVENT, TX, RX, CONFIG):
            if engine.host.broken() is None:
                engine.call("transport.fire", queue)
    assert found == set()
