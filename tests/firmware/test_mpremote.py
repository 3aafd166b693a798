# SPDX-License-Identifier: MIT
"""mpremote, unmodified, on the guest's serial port as a terminal."""

import hashlib
import random
import subprocess
import sys

import pytest
from mpremoting import Mpremote, copies_both_ways, has_a_repl, mounts

from mpfw.guest.disk import KIB, Disk


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
    copies_both_ways(mpremote, tmp_path, 20_000)
    assert "20000 kept.bin" in mpremote("ls")


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
    mounts(mpremote, tmp_path)


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
    has_a_repl(mpremote)


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
