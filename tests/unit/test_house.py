# SPDX-License-Identifier: MIT
"""The house rules see what breaks them, on small trees made for it."""

import pytest

from mpfw.check import facts, layers, literals, sizes

WORDS = '''"""Layouts."""
from portable import const
STATE = const(11)
BLOCK_SHIFT = const(3 * 4)
'''


@pytest.fixture
def found(tmp_path):
    """found(rule, {path: text}): "path:line: words" of each place that breaks the rule."""

    def found(rule, files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return [str(finding) for finding in rule.check(tmp_path)]

    return found


# -- layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, line",
    [
        ("virtio/queue.py", "import vsock"),
        ("virtio/queue.py", "from vsock.device import Device"),
        ("pci/scan.py", "def f():\n    import virtio.device"),
        ("vsock/device.py", "def f():\n    from socket import socket"),
        ("vsock/device.py", "from sockets import endpoint"),
        ("sockets/endpoint.py", "import apps.echo"),
        ("hob.py", "import pci"),
    ],
)
def test_an_import_upwards_is_found(found, path, line):
    (one,) = found(layers, {f"mpy_modules/{path}": line})
    assert one.startswith(f"mpy_modules/{path}:{line.count(chr(10)) + 1}: ")
    assert "which is above it" in one


@pytest.mark.parametrize(
    "path, line",
    [
        ("apps/echo.py", "import socket, time"),
        ("socket.py", "from sockets.endpoint import Endpoint"),
        ("sockets/endpoint.py", "import vsock"),
        ("sockets/endpoint.py", "from . import options"),
        ("vsock/device.py", "import machine, micropython, virtio"),
        ("vsock/__init__.py", "from .device import Device\nimport virtio"),
        ("vsock/store.py", "from portable import addressof\nfrom . import packet"),
        ("vsock/packet.py", "import errnos, struct"),
        ("pci/scan.py", "import fw_cfg, machine"),
        ("virtio/__init__.py", "def f():\n    from . import pci"),
        ("portable.py", "import machine, micropython, uctypes"),
    ],
)
def test_imports_down_and_beside_are_fine(found, path, line):
    beside = {"mpy_modules/vsock/packet.py": "", "mpy_modules/sockets/options.py": ""}
    beside["mpy_modules/virtio/pci.py"] = ""
    assert found(layers, beside | {f"mpy_modules/{path}": line}) == []


@pytest.mark.parametrize(
    "line",
    [
        "import machine",
        "from machine import copy",
        "import micropython",
        "from uctypes import addressof",
        "from virtio import queue",
        "from . import transmit",
        "from .device import Device",
        "import vsock",
    ],
)
def test_the_protocol_knows_no_device(found, line):
    files = {"mpy_modules/vsock/transmit.py": "", "mpy_modules/vsock/store.py": line}
    (one,) = found(layers, files)
    assert "mpy_modules/vsock/store.py:1: a module of the protocol imports" in one


@pytest.mark.parametrize("line", ["import pci", "from pci.function import CAP_END"])
def test_in_virtio_one_transport_knows_pci(found, line):
    files = {f"mpy_modules/virtio/{name}.py": line for name in ("pci", "queue")}
    (one,) = found(layers, files)
    assert one.startswith("mpy_modules/virtio/queue.py:1: ")
    assert "in virtio only virtio.pci knows PCI" in one


def test_a_module_in_no_layer_is_found(found):
    (one,) = found(layers, {"mpy_modules/dns.py": "import socket"})
    assert one.startswith("mpy_modules/dns.py:1: dns is in no layer")


# -- facts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, text",
    [
        ("mpy_modules/vsock/stack.py", "_STATE = const(12)"),
        ("mpy_modules/vsock/stack.py", "STATE = 11"),
        (
            "mpy_modules/sockets/endpoint.py",
            "class E:\n    _A, _STATE = const(0), const(1)",
        ),
        ("mpy_modules/vsock/numbers.py", "from portable import const\nSTATE = const(1)"),
        ("mpy_modules/vsock/words.py", WORDS + "_STATE = const(12)\n"),
        ("tests/unit/test_stack.py", "STATE = 11"),
        ("tools/mpfw/peer.py", "A, _BLOCK_SHIFT = 0, 12"),
    ],
)
def test_a_name_of_a_constants_only_module_is_defined_nowhere_else(found, path, text):
    (one,) = found(facts, {"mpy_modules/vsock/words.py": WORDS, path: text})
    assert "is defined again: it is vsock." in one


@pytest.mark.parametrize(
    "path, text",
    [
        ("mpy_modules/vsock/stack.py", "from . import words as w\n_STATE = const(w.STATE)"),
        ("mpy_modules/vsock/numbers.py", "from .words import STATE\nSTATE = const(STATE)"),
        ("mpy_modules/vsock/stack.py", "from .words import STATE\n_STATE = const(1 << STATE)"),
        ("mpy_modules/vsock/stack.py", "def f():\n    STATE = 1"),
        ("mpy_modules/virtio/device.py", "_STATE = const(0x14)"),  # may not import vsock.words
        ("tests/unit/test_other.py", "STATE = 3"),  # another thing of that name
        ("tests/unit/test_other.py", 'STATE = "one"'),
    ],
)
def test_what_comes_from_that_module_or_means_another_thing_is_fine(found, path, text):
    text += "\n\ndef function(): pass" if "numbers" not in path else ""
    assert found(facts, {"mpy_modules/vsock/words.py": WORDS, path: text}) == []


def test_a_module_with_a_function_owns_no_names(found):
    files = {"mpy_modules/vsock/words.py": WORDS + "def f(): pass\n"}
    files["mpy_modules/vsock/stack.py"] = "STATE = const(1)\ndef f(): pass\n"
    assert found(facts, files) == []


# -- literals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "c = ptr32(at)\n    c[5] = 0",
        "c = ptr32(at)\n    return c[3 + i]",
        "c = ptr32(at)\n    return c[w.STATE + 2]",
        "c = ptr32(at)\n    return c[i * 8]",
        "c = ptr32(at)\n    return c[-1]",
        "return ptr16(at)[1]",
        "return self._words[2]",
        "return conn.block[0]",
        "return header[4:]",
        "reset = array('I', bytes(44))\n    reset[7] = 3",
        "return h[w.TYPE_OP] >> 16",
        "return left - 1 >> 12",
    ],
)
def test_a_literal_that_stands_for_a_layout_is_found(found, body):
    (one,) = found(literals, {"mpy_modules/vsock/stack.py": f"def f(at, i):\n    {body}\n"})
    assert "literal" in one


@pytest.mark.parametrize(
    "body",
    [
        "c = ptr32(at)\n    return c[w.STATE]",
        "c = ptr32(at)\n    return c[w.ADDRESS] | (c[w.ADDRESS + 1] << 32)",
        "c = ptr32(at)\n    return c[row + _LINK]",
        "return parts[0]",
        "return window >> 4",
        "return 1 << 16",
        "return h[w.TYPE_OP] >> w.OP_SHIFT",
    ],
)
def test_names_halves_of_addresses_and_other_lists_are_fine(found, body):
    assert found(literals, {"mpy_modules/vsock/stack.py": f"def f(at):\n    {body}\n"}) == []


def test_a_parameter_may_be_a_pointer(found):
    text = "def f(h: ptr32):\n    return h[9]\n"
    assert len(found(literals, {"mpy_modules/vsock/stack.py": text})) == 1


def test_other_folders_have_other_literals(found):
    text = "def f(words):\n    words[4] = 0\n"
    assert found(literals, {"mpy_modules/pci/function.py": text}) == []


# -- sizes ----------------------------------------------------------------------------------------

LONG = "    x = 1\n" * 60


@pytest.mark.parametrize(
    "path, text",
    [
        ("tools/a.py", "x = 1\n" * 601),
        ("port/a.S", "nop\n" * 601),
        ("tools/a.py", f"def f():\n{LONG}"),
        ("mpy_modules/a.py", f"class C:\n    async def f(self):\n{LONG.replace('    ', ' ' * 8)}"),
        ("port/a.c", f"static int f(void) {{\n{LONG}}}\n"),
        ("firmware/ipl/a.h", f"// Why not.\nint f(int a,\n    int b) {{\n{LONG}}}\n"),
    ],
)
def test_what_is_too_long_is_found(found, path, text):
    (one,) = found(sizes, {path: text})
    assert "lines, " in one


@pytest.mark.parametrize(
    "path, text",
    [
        ("tools/a.py", '"""Things.\n\nLong because it is a list.\n"""\n' + "x = 1\n" * 601),
        ("tools/a.py", f'def f():\n    """Long because it is one loop."""\n{LONG}'),
        ("tools/a.py", "def f():\n" + LONG[: len(LONG) - 10]),
        ("port/a.c", f"// Long because it is one table.\nint f(void) {{\n{LONG}}}\n"),
        ("port/a.c", "// Long because it is a list.\n" + "int x;\n" * 601),
        ("tests/unit/a.py", "x = 1\n" * 601),
    ],
)
def test_what_says_why_is_fine(found, path, text):
    assert found(sizes, {path: text}) == []
