# SPDX-License-Identifier: MIT
"""mpremote, unmodified, on the guest's serial port as a terminal."""

import hashlib
import os
import pty
import random
import subprocess
import sys
import time

import pytest
from terminal import read_until, type_until

from mpfw.guest.disk import KIB, Disk


class Mpremote:
    """mpremote connected to one guest."""

    def __init__(self, terminal: str, home):
        self.command = [sys.executable, "-m", "mpremote", "connect", terminal]
        self.environment = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}
        self.environment["PYTHONUNBUFFERED"] = "1"  # or what went wrong comes before what was done

    def run(self, *arguments: str, timeout=60) -> tuple[int, str]:
        """Run mpremote; its exit status, and its output with \\n line ends."""
        result = subprocess.run(
            [*self.command, *map(str, arguments)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        return result.returncode, result.stdout.decode().replace("\r\n", "\n")

    def __call__(self, *arguments: str, timeout=60) -> str:
        """Run mpremote; its output. It must succeed."""
        status, output = self.run(*arguments, timeout=timeout)
        assert status == 0, output
        return output


@pytest.fixture
def mpremote(boot, tmp_path):
    """mpremote on a guest of its own."""
    return Mpremote(boot(console="pty").pty, tmp_path)


def test_exec(mpremote):
    assert mpremote("exec", "print('sum', 40 + 2)") == "sum 42\n"


def test_exec_shows_the_guests_traceback(mpremote):
    result = subprocess.run(
        [*mpremote.command, "exec", "1 // 0"],
        env=mpremote.environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert result.returncode != 0
    assert b"ZeroDivisionError: divide by zero" in result.stdout + result.stderr


def test_run_a_script(mpremote, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(sys.platform, [n * n for n in range(5)])\n")
    assert mpremote("run", script) == "x86_64 [0, 1, 4, 9, 16]\n"


def test_cp_up_and_down(mpremote, tmp_path):
    data = random.Random(1).randbytes(20_000)
    up, down = tmp_path / "up.bin", tmp_path / "down.bin"
    up.write_bytes(data)
    mpremote("cp", up, ":kept.bin")
    listing = mpremote("ls")
    assert "20000 kept.bin" in listing
    assert hashlib.sha256(data).hexdigest() in mpremote("sha256sum", ":kept.bin")
    mpremote("cp", ":kept.bin", down)
    assert down.read_bytes() == data


def test_cp_to_the_disk_stays_there(boot, image, tmp_path):
    data = random.Random(2).randbytes(20_000)
    (tmp_path / "up.bin").write_bytes(data)
    disk = Disk(tmp_path / "disk.img", 128 * KIB).prepare(image)
    guest = boot(console="pty", disk=disk)
    Mpremote(guest.pty, tmp_path)("cp", tmp_path / "up.bin", ":/disk/kept.bin")
    guest.close()
    mpremote = Mpremote(boot(console="pty", disk=disk).pty, tmp_path)
    assert hashlib.sha256(data).hexdigest() in mpremote("sha256sum", ":/disk/kept.bin")


def test_cp_a_directory_and_import_from_it(mpremote, tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("from .part import answer\n")
    (package / "part.py").write_text("answer = 42\n")
    mpremote("cp", "-r", package, ":")
    assert mpremote("exec", "import package; print(package.answer)") == "42\n"


def test_mount_a_host_directory(mpremote, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "hostmodule.py").write_text("def greet(): return 'from the host'\n")
    code = (
        "import hostmodule; print(hostmodule.greet())\n"
        "open('written', 'w').write('from the guest')\n"
    )
    output = mpremote("mount", shared, "exec", code)
    assert "from the host\n" in output
    assert (shared / "written").read_text() == "from the guest"


def test_raw_paste_of_200_kb(mpremote, tmp_path):
    lines = [f"t += {n}\n" for n in range(20_000)]
    script = tmp_path / "long.py"
    script.write_text("t = 0\n" + "".join(lines) + "print(t)\n")
    assert script.stat().st_size >= 200_000
    assert mpremote("run", script) == f"{sum(range(20_000))}\n"


def test_soft_reset(mpremote):
    assert mpremote("exec", "x = 1; print(x)", "resume", "exec", "print(x)") == "1\n1\n"
    output = mpremote("resume", "soft-reset", "resume", "exec", "print('x' in globals())")
    assert output.endswith("False\n")


def test_repl_and_ctrl_c_out_of_an_endless_loop(mpremote):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*mpremote.command, "repl"],
        env=mpremote.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        read_until(ours, b"Use Ctrl-] or Ctrl-x to exit this shell")
        type_until(ours, b"\r", b">>> ")
        os.write(ours, b"while True: pass\r\r")
        time.sleep(1)
        os.write(ours, b"\x03")
        read_until(ours, b"KeyboardInterrupt: \r\n>>> ")
        os.write(ours, b"6 * 7\r")
        read_until(ours, b"42\r\n>>> ")
        os.write(ours, b"\x1d")  # Ctrl-]
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize("has_app", [False, True])
def test_romfs_deploy_is_refused_by_a_sentence_that_names_the_ways(boot, tmp_path, has_app):
    app, machine = tmp_path / "app", {}
    app.mkdir()
    (app / "module.py").write_text("pass\n")
    if has_app:
        machine["image"] = tmp_path / "image.bin"
        command = [sys.executable, "-m", "mpfw", "image", "build", "--app", app]
        subprocess.run([*command, "-o", machine["image"]], check=True)
    mpremote = Mpremote(boot(console="pty", **machine).pty, tmp_path)
    assert ("ROMFS image size: " in mpremote("romfs", "query")) == has_app
    status, said = mpremote.run("romfs", "deploy", app)
    assert status != 0
    assert said.rstrip().splitlines()[-1] == (
        "OSError: [Errno 30] EROFS: romfs deploy cannot write to this flash: `mpfw image build "
        "--app DIR` puts DIR at /rom, `mpfw run --disk FILE` keeps what is copied to /disk"
    )
