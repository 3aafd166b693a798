# SPDX-License-Identifier: MIT
"""Nothing is cut in two: native code of queues and connections calls no bytecode with a jump.

MicroPython looks for Ctrl-C and for handlers at the jumps of bytecode (docs/architecture.md). Two
looks at it: at every call that the sources make while a device and programs do everything to each
other, and at every call that is written, whether or not anything here gets there.
"""

import ast
import sys
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

import pytest
from pci_machine import MODULES
from road import Road
from road_model import w

from mpfw.check.sources import Module, imports, target

OURS = ("vsock/", "virtio/")
SEAM = "portable.py"  # its functions are not in the firmware
NOT_OURS = ("vsock/wait.py", "vsock/pcap.py", SEAM)  # what waits or writes files is bytecode
JUMPS = (
    *(ast.If, ast.IfExp, ast.BoolOp, ast.For, ast.While, ast.Try, ast.With, ast.Assert),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
# What is marked `inline` becomes a part of viper functions.
NATIVE = {"micropython.native", "micropython.viper", "inline"}
RX, TX, EVENT, CONFIG = range(4)


@dataclass(frozen=True)
class Function:
    """A function of the firmware: where it begins, whose it is, and what is compiled of it."""

    path: str
    line: int
    owner: str  # its class, or ""
    name: str
    native: bool
    jumps: bool
    module: Module = field(repr=False, hash=False, compare=False)
    node: ast.FunctionDef = field(repr=False, hash=False, compare=False)

    def __str__(self):
        return f"{self.path}: {self.owner}{'.' if self.owner else ''}{self.name}"

    @property
    def ours(self):
        return self.path.startswith(OURS) and not self.path.startswith(NOT_OURS)


@cache
def functions() -> list[Function]:
    """All of the firmware's."""
    found = []
    for path in sorted(MODULES.rglob("*.py")):
        parts = path.relative_to(MODULES).with_suffix("").parts
        package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if package else parts)
        body = ast.parse(path.read_text())
        module = Module(path.relative_to(MODULES).as_posix(), name, package, body)
        classes = [node for node in ast.walk(body) if isinstance(node, ast.ClassDef)]
        owners = {id(node): one.name for one in classes for node in one.body}
        for node in ast.walk(body):
            if isinstance(node, ast.FunctionDef):
                first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                native = bool(NATIVE & {ast.unparse(each) for each in node.decorator_list})
                jumps = any(isinstance(each, JUMPS) for each in ast.walk(node))
                owner = owners.get(id(node), "")
                what = (module.path, first, owner, node.name, native, jumps, module, node)
                found.append(Function(*what))
    return found


# -- calls that are made --------------------------------------------------------------------------


@contextmanager
def watched():
    """The set of calls that could be cut, as they are found."""
    known = {(MODULES.resolve() / each.path, each.line): each for each in functions()}
    seen: dict[CodeType, Function | None] = {}
    found: set[str] = set()

    def look(code: CodeType):
        if code not in seen:
            seen[code] = known.get((Path(code.co_filename).resolve(), code.co_firstlineno))
        return seen[code]

    def called(frame: FrameType, event: str, _):
        if event != "call":
            return
        function = look(frame.f_code)
        if function is None or function.native or not function.jumps:
            return
        way = [function]
        up = frame.f_back
        while up is not None and not way[-1].path.startswith(NOT_OURS):
            caller = look(up.f_code)
            if caller is None:
                return
            way.append(caller)
            if caller.native:
                if caller.ours:
                    found.add(" < ".join(map(str, way)))
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


# -- calls that are written -----------------------------------------------------------------------

# A method is found by its name alone, in whatever class of ours has it. Where that finds too much:
# of which classes an object is that a variable or an attribute of that name holds; (): of none.
OBJECTS = {
    "attention": ("Attention",),
    "conn": ("Connection",),
    "edges": (),  # a list
    "later": (),  # a Vector of the port's
    "out": ("Transmitter", "Loopback"),
    "packets": (),  # a list
    "queue": ("Virtqueue",),
    "store": ("Store",),
    "timer": (),  # as above
    "transport": ("PCITransport",),
    "virtio": ("VirtioDevice",),
    "watch": ("Ready",),
}
ABOVE = {"watch"}  # whose class is none of ours: it is found by this entry alone


@cache
def bound(module: Module) -> dict[str, tuple[str, str]]:
    """What the imports of a module bind: name -> (module, name in it or "")."""
    known = {each.module.name for each in functions()}
    found = {}
    for one in imports(module):
        place = target(one, known)
        found[one.bound] = place, one.name if place == one.module else ""
    return found


@cache
def mentioned(function: Function, handlers=False) -> list[tuple[str, str, str]]:
    """All that it mentions, since whoever is handed a function may call it.

    (module, "", name), or ("", object, method). `handlers`: only what it has interrupts call.
    """
    roots: list[ast.AST] = [function.node]
    if handlers:
        calls = [node for node in ast.walk(function.node) if isinstance(node, ast.Call)]
        roots = [each for call in calls if is_irq(call) for each in call.args]
    nodes = [node for root in roots for node in ast.walk(root)]
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    holders = {id(each.value) for each in attributes}
    names = bound(function.module)
    found = []
    for node in nodes:
        if isinstance(node, ast.Name) and id(node) not in holders:
            module, name = names.get(node.id, (function.module.name, node.id))
            found.append((module, "", name))
    for node in attributes:
        base = ast.unparse(node.value)
        module, name = names.get(base, ("", base))
        found.append(("", base, node.attr) if name else (module, "", node.attr))
    return found


def is_irq(call: ast.Call):
    """Whether it gives a Vector its handler."""
    return isinstance(call.func, ast.Attribute) and call.func.attr == "irq"


class Written:
    """Whom the names mean that functions mention."""

    def __init__(self, objects):
        self._objects = objects
        self._plain = {}  # (module, name) -> a function, or a class's __init__
        self._methods = defaultdict(list)  # name -> methods
        self._classes = {each.owner for each in functions()}
        for each in functions():
            if each.name == "__init__":
                self._plain[each.module.name, each.owner] = each
            elif each.owner:
                self._methods[each.name].append(each)
            else:
                self._plain[each.module.name, each.name] = each

    def called(self, function: Function, handlers=False) -> set[Function]:
        """The functions that it may call."""
        found = set()
        for module, base, name in mentioned(function, handlers):
            if not module:
                found |= self._meant(function, base, name)
            elif (module, name) in self._plain:
                found.add(self._plain[module, name])
        return found

    def _meant(self, function: Function, base: str, name: str) -> set[Function]:
        """The methods that `base.name` may be."""
        last = base.rpartition(".")[2]
        if base == "self":
            classes = (function.owner,)
        elif last in self._classes:
            classes = (last,)
        else:
            classes = self._objects.get(last.lstrip("_"))
        methods = self._methods.get(name, ())
        if classes is None:
            return {each for each in methods if each.ours}
        return {each for each in methods if each.owner in classes}


def cuts(unmarked="", objects=OBJECTS):
    """Where a call that is written could be cut; `unmarked`: as if that function were bytecode."""
    written = Written(objects)
    found = set()

    def is_native(function: Function):
        return function.path == SEAM or (function.native and str(function) != unmarked)

    for root in functions():
        if not root.ours:
            continue
        seen: set[Function] = set()
        waiting = [(each, "an interrupt") for each in written.called(root, handlers=True)]
        if root.native:
            waiting += [(each, str(root)) for each in written.called(root)]
        while waiting:
            function, way = waiting.pop()
            if function in seen or is_native(function):
                continue
            seen.add(function)
            way = f"{function} < {way}"
            if function.jumps:
                found.add(way)
            else:
                waiting += [(each, way) for each in written.called(function)]
    return found


def test_no_call_of_bytecode_with_a_jump_is_written_in_native_code():
    assert cuts() == set()


@pytest.mark.parametrize("name", sorted(OBJECTS.keys() - ABOVE))
def test_what_a_name_means_is_told_where_that_matters_only(name):
    assert cuts(objects={each: OBJECTS[each] for each in OBJECTS if each != name})


@pytest.mark.parametrize(
    "name",
    [
        "vsock/device.py: Device._interrupt",
        "vsock/device.py: Device._receive",
        "vsock/device.py: Device._read_cid",
        "vsock/device.py: Device.stop",
        "vsock/receive.py: fault",
        "vsock/stack.py: Stack.is_local",
        "vsock/stack.py: Stack.open",
        "vsock/stack.py: Stack._look",
        "vsock/store.py: Store.keep_bytes",
        "vsock/transmit.py: Transmitter.settle_debts",
        "virtio/device.py: VirtioDevice.close",
        "virtio/queue.py: refuse",
        "sockets/ready.py: Ready.add",
    ],
)
def test_a_function_on_the_road_that_were_bytecode_is_found(name):
    assert any(way.startswith(f"{name} <") for way in cuts(unmarked=name))
