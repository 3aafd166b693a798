# SPDX-License-Identifier: MIT
"""Guests that run modules laid over the image's: what `--overlay` and fw_cfg do at boot."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from terminal import on_terminal, read_until

from mpfw import paths
from mpfw.guest.console import RemoteError
from mpfw.guest.guest import Guest
from mpfw.guest.overlay import FW_CFG, MODULES, overlay

QUEUE = "virtio/queue.py"  # its @inline functions go into modules of vsock
CORE = "virtio.queue"


def edit(directory: Path, module: str, old: str, new: str) -> Path:
    """Put a copy of a module with one edit into the overlay `directory`."""
    source = (MODULES / module).read_text()
    assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times in {module}"
    path = directory / module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source.replace(old, new))
    return path


@pytest.fixture
def boot_with(boot: Callable[..., Guest], image: Path) -> Callable[..., Guest]:
    """A function that boots a guest with an overlay: boot_with(directory, fw_cfg, **machine)."""

    def boot_with(directory: Path, fw_cfg: dict | None = None, **machine) -> Guest:
        handed_in = overlay(directory, image).fw_cfg | (fw_cfg or {})
        return boot(fw_cfg=handed_in, **machine)

    return boot_with


def test_an_edited_module_runs_in_place_of_the_frozen_one(boot_with, tmp_path):
    edit(tmp_path, "startup.py", '"No vsock device: ', '"Edited. No vsock device: ')
    guest = boot_with(tmp_path)
    guest.console.expect(rb"Edited\. No vsock device: .*>>> ")
    assert guest.console.eval("__import__('startup').__file__") == "/overlay/startup.mpy"
    assert "INFO overlay: " in guest.debugcon()


def test_it_still_does_after_a_soft_reset(boot_with, tmp_path):
    edit(tmp_path, "startup.py", '"No vsock device: ', '"Edited. No vsock device: ')
    guest = boot_with(tmp_path)
    guest.console.wait_prompt()
    guest.console.soft_reset()
    assert bytes(guest.console.transcript).count(b"Edited. ") == 2


def test_the_module_that_read_the_overlay_can_be_replaced_too(boot_with, tmp_path):
    edit(tmp_path, "fw_cfg.py", "_directory = None\n", "_directory = None\nMARK = 'edited'\n")
    guest = boot_with(tmp_path)
    guest.console.wait_prompt()
    assert guest.console.eval("__import__('fw_cfg').MARK") == "edited"
    assert guest.console.eval("__import__('startup').fw_cfg.MARK") == "edited"


def test_a_new_module_can_be_imported(boot_with, tmp_path):
    (tmp_path / "fresh").mkdir()
    (tmp_path / "fresh" / "__init__.py").write_text("from .inner import VALUE\n")
    (tmp_path / "fresh" / "inner.py").write_text("VALUE = 42\n")
    guest = boot_with(tmp_path)
    guest.console.wait_prompt()
    assert guest.console.eval("__import__('fresh').VALUE") == 42


def test_a_changed_constant_counts(boot_with, tmp_path):
    edit(tmp_path, "startup.py", "_ARGV_LIMIT = const(65536)", "_ARGV_LIMIT = const(3)")
    guest = boot_with(tmp_path, {"opt/micropython/argv": "four"})
    guest.console.expect(rb"ValueError: fw_cfg file opt/micropython/argv has 4 bytes, more than 3")


def test_a_changed_inlined_function_reaches_into_other_modules(boot_with, image, tmp_path):
    source = (MODULES / QUEUE).read_text()
    head = source[source.index("@inline\n@micropython.viper\ndef publish(") :]
    first = head[: head.index('"""\n', head.index('"""') + 3) + 4]  # up to the docstring's end
    counted = first + "    counts = ptr32(COUNTS)\n    counts[0] = counts[0] + 1\n"
    path = edit(tmp_path, QUEUE, first, counted)
    path.write_text(path.read_text() + "\nCOUNTS = bytearray(4)\n")
    modules = overlay(tmp_path, image)
    callers = [str(each) for each in modules.replaced if str(each) != QUEUE]
    assert callers, modules
    script = f"import {CORE}\nimport socket\n"
    script += "".join(f"import {name[:-3].replace('/', '.')}\n" for name in callers)
    guest = boot_with(tmp_path, {"opt/micropython/main.py": script}, vsock=True)
    guest.console.wait_prompt()
    for name in callers:
        module = f"__import__('sys').modules['{name[:-3].replace('/', '.')}']"
        guest.console.exec(f"assert {module}._queue_COUNTS is {CORE}.COUNTS")
    guest.console.exec("listener = socket.create_server((socket.VMADDR_CID_ANY, 77))")
    before = guest.console.eval(f"bytes({CORE}.COUNTS)")
    with guest.vsock.dial(77):
        guest.console.exec("connection = listener.accept()[0]\nconnection.send(b'x')")
    assert guest.console.eval(f"bytes({CORE}.COUNTS)") != before


def test_a_traceback_has_the_sources_file_and_line(boot_with, tmp_path):
    after = "from array import array\n"
    trip = "\n\ndef trip():\n    raise ValueError('tripped')\n\n\n"
    path = edit(tmp_path, QUEUE, after, after + trip)
    line = path.read_text().splitlines().index("    raise ValueError('tripped')") + 1
    guest = boot_with(tmp_path)
    guest.console.wait_prompt()
    with pytest.raises(RemoteError) as raised:
        guest.console.exec(f"import {CORE}\n{CORE}.trip()")
    assert f'File "{QUEUE}", line {line}, in trip' in str(raised.value)


def test_what_is_no_overlay_is_said_and_the_frozen_modules_run(boot):
    guest = boot(fw_cfg={FW_CFG: b"no ROMFS image"})
    said = guest.console.expect(rb"(.*)>>> ").group(1).decode()
    assert f"{FW_CFG}: not a ROMFS image, so the frozen modules run\r\n" in said
    assert "Traceback" not in said and "No vsock device" in said


def test_without_an_overlay_nothing_of_it_is_there(boot):
    guest = boot()
    guest.console.wait_prompt()
    assert guest.console.eval("__import__('sys').path") == ["", ".frozen", "/lib"]
    assert "overlay" not in guest.console.eval("__import__('os').listdir('/')")
    assert not {"fw_cfg", "_overlay"} & set(guest.console.eval("dir()"))


def test_run_shows_the_edit_on_a_terminal(image, tmp_path):
    edit(tmp_path, "apps/echo.py", "def main(", "print('the edited echo')\n\n\ndef main(")
    command = [sys.executable, "-m", "mpfw", "run", "--image", image, "--overlay", tmp_path]
    with on_terminal(command) as (ours, process):
        read_until(ours, b"overlay: apps/echo.py (in place of the frozen ones)", 60)
        read_until(ours, b"The console is yours", 60)
        os.write(ours, b"\x03")
        read_until(ours, b">>> ")
        os.write(ours, b"import apps.echo; apps.echo.__file__\r")
        read_until(ours, b"/overlay/apps/echo.mpy")
        os.write(ours, b"\x01x")  # Ctrl-A x
        assert process.wait(20) == 0


def pytest_run(*arguments: str | Path) -> subprocess.CompletedProcess:
    """One of this suite's tests in a pytest of its own."""
    test = "test_without_a_vsock_device_one_line_names_the_option_and_the_repl_comes"
    test = f"tests/firmware/test_boot_scripts.py::{test}"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test, *arguments]
    return subprocess.run(
        command, cwd=paths.ROOT, capture_output=True, text=True, timeout=100, check=False
    )


def test_pytest_gives_it_to_every_guest(image, tmp_path):
    edit(tmp_path, "startup.py", "vhost-vsock-pci,guest-cid=33", "of another name")
    result = pytest_run("--image", image, "--overlay", tmp_path)
    assert "overlay: startup.py (in place of the frozen ones)" in result.stdout
    assert "1 failed" in result.stdout


def test_pytest_refuses_a_bad_one_in_one_line(image, tmp_path):
    (tmp_path / "startup.py").write_text("def run(:\n")
    result = pytest_run("--image", image, "--overlay", tmp_path)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    said = [line for line in result.stderr.splitlines() if line]
    assert said == [f"ERROR: {tmp_path}/startup.py:1: invalid syntax"]
