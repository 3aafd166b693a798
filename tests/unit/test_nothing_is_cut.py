# SPDX-License-Identifier: MIT
"""What takes a packet is compiled all the way down: bytecode that jumps is where handlers and
Ctrl-C come, in the middle of a change ("Nothing is cut in two", docs/architecture.md).

Functions are found by their names alone, so that one of another class may be found too.
"""

import ast
import collections

from mpfw import paths

MODULES = paths.ROOT / "mpy_modules"
FILES = [
    *(MODULES / "vsock").glob("*.py"),
    *(MODULES / "virtio" / name for name in ("buffers.py", "queue.py")),
    *(MODULES / "sockets" / name for name in ("options.py", "ready.py")),
]
ROADS = ("_receive", "control", "after", "reap", "arm")
JUMPS = (ast.If, ast.For, ast.While, ast.BoolOp, ast.IfExp, ast.Try, ast.With, ast.comprehension)
BROKEN = {"close", "refuse", "stop"}  # the device breaks: what they find half done they drop
EVENTS = {"_read_cid", "check"}  # of poll_events, which looks again behind them
NAMESAKES = {"add", "fill", "get", "pop", "put"}  # methods of sets, dicts, and Packet's


def definitions():
    """Name -> every function of that name."""
    found = collections.defaultdict(list)
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                found[node.name].append(node)
    return found


def is_bytecode(function):
    """Whether it stays bytecode, and jumps."""
    marks = {ast.unparse(each).rpartition(".")[2] for each in function.decorator_list}
    return not marks & {"native", "viper", "inline"} and any(
        isinstance(node, JUMPS) for node in ast.walk(function)
    )


def called(function):
    """The names of what it calls."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "attr", getattr(node.func, "id", ""))


def test_what_takes_a_packet_is_compiled_all_the_way_down():
    known = definitions()
    seen, waiting, bytecode = set(), list(ROADS), set()
    while waiting:
        name = waiting.pop()
        if name in seen or name in BROKEN:
            continue
        seen.add(name)
        for function in known[name]:
            if is_bytecode(function):
                bytecode.add(name)
            else:
                waiting += called(function)
    assert {"fault", "open", "is_local", "settle_debts", "keep_bytes"} <= seen
    assert bytecode <= EVENTS | NAMESAKES
