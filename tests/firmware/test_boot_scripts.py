# SPDX-License-Identifier: MIT
"""Which script runs: fw_cfg, then the image's app volume, then the built-in payload."""

import subprocess
import sys

import pytest

from mpfw.guest.machine import Machine


def test_without_a_vsock_device_one_line_names_the_option_and_the_repl_comes(boot):
    guest = boot()
    said = guest.console.expect(rb"(.*)>>> ").group(1).decode()
    lines = [line for line in said.splitlines() if "vsock" in line]
    assert len(lines) == 1, said
    assert "-device vhost-vsock-pci,guest-cid=" in lines[0]
    assert guest.console.eval("6 * 7") == 42


def test_a_vsock_device_that_is_refused_is_one_sentence_and_the_prompt_comes(boot):
    script = """
import startup, vsock
from virtio.errors import NotSupported
def refuse(transport):
    raise NotSupported("00:02.0 has no CID")
vsock.devices = lambda: [None]
vsock.bring_up = refuse
startup._echo()
"""
    guest = boot(fw_cfg={"opt/micropython/main.py": script})
    said = guest.console.expect(rb"(.*)>>> ").group(1)
    assert b"The vsock device cannot be used: 00:02.0 has no CID\r\n" in said
    assert b"Traceback" not in said


def test_main_py_from_fw_cfg_runs_and_the_prompt_follows(boot):
    guest = boot(fw_cfg={"opt/micropython/main.py": "print('handed in', __name__)\nx = 5\n"})
    guest.console.expect(rb"handed in __main__\r\n.*>>> ")
    assert guest.console.eval("x") == 5


@pytest.mark.parametrize(
    "argv, words",
    [
        ("one two", ["one", "two"]),
        ("  one\ttwo ", ["one", "two"]),
        ("", []),
        ("a b\0", ["a b"]),
        ("--x='1 2'\0\0\"\0", ["--x='1 2'", "", '"']),
    ],
)
def test_argv_is_words_or_what_ends_with_nul_exactly(boot, argv, words):
    script = "import sys\nprint('argv', sys.argv[1:])\n"
    guest = boot(fw_cfg={"opt/micropython/main.py": script, "opt/micropython/argv": argv})
    printed = guest.console.expect(rb"argv (\[.*?\])\r\n").group(1)
    assert printed.decode() == repr(words)


def test_uncaught_exception_in_main_py_gives_traceback_and_prompt(boot):
    guest = boot(fw_cfg={"opt/micropython/main.py": "def f(): 1 // 0\n\nf()\n"})
    said = guest.console.expect(rb"Traceback(.*?)>>> ").group(1)
    assert b"main.py" in said and b"line 1, in f" in said
    assert b"ZeroDivisionError" in said


def test_ctrl_c_ends_main_py(boot):
    guest = boot(fw_cfg={"opt/micropython/main.py": "print('endless')\nwhile True: pass\n"})
    guest.console.expect(rb"endless\r\n")
    guest.console.send(b"\x03")
    guest.console.expect(rb"KeyboardInterrupt.*>>> ")


@pytest.fixture
def app_image(tmp_path):
    """A function: an image whose app volume holds the files given, {name: text}."""

    def make(files):
        app = tmp_path / "app"
        for name, text in files.items():
            path = app / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        image = tmp_path / "app.bin"
        command = [sys.executable, "-m", "mpfw", "image", "build", "--app", app, "-o", image]
        subprocess.run(command, check=True)
        return image

    return make


def test_main_py_from_the_app_volume_runs_and_imports_its_modules(host, app_image):
    image = app_image(
        {"main.py": "import helper\nprint(helper.text)\n", "helper.py": "text = 'from the app'\n"}
    )
    with host.guest(Machine(image=image), vsock=False) as guest:
        guest.console.expect(rb"from the app\r\n.*>>> ")


def test_fw_cfg_comes_before_the_app_volume(host, app_image):
    image = app_image({"main.py": "print('from the app')\n"})
    handed_in = {"opt/micropython/main.py": "print('from fw_cfg')\n"}
    with host.guest(Machine(image=image, fw_cfg=handed_in), vsock=False) as guest:
        said = guest.console.expect(rb"(.*)>>> ").group(1)
    assert b"from fw_cfg" in said
    assert b"from the app" not in said
