# SPDX-License-Identifier: MIT
"""mpremote over vsock: its socket:// to `mpfw forward`, and that to the guest's REPL service."""

import re
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from mpremoting import Mpremote, copies_both_ways, has_a_repl, mounts
from sides import IDLE

from mpfw.guest.programs import pipe

PORT = 8266
pytestmark = pytest.mark.once


@pytest.fixture
def guest(boot):
    """A guest with the REPL on its vsock port."""
    guest = boot(vsock=True, fw_cfg=IDLE | {"opt/micropython/repl": str(PORT)})
    guest.console.wait_prompt(30)
    return guest


@pytest.fixture
def place(guest, host):
    """The address of the guest's REPL."""
    if host.kind in ("vhost-user", "device"):
        return f"uds:{guest.directory}/vsock-{guest.vsock.cid}:{PORT}"
    return f"vsock:{guest.vsock.cid}:{PORT}"


@contextmanager
def mpfw(*words):
    """`mpfw` with those words, while the `with` statement lasts; what it says first."""
    command = [sys.executable, "-m", "mpfw", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield pipe(process.stdout).readline()
        finally:
            process.terminate()
            assert process.wait(10) == 0


@pytest.fixture
def device(place):
    """What mpremote connects to: a TCP port that is the guest's REPL."""
    with mpfw("forward", "tcp:0", place) as said:
        found = re.match(r"tcp:(127\.0\.0\.1:\d+) -> ", said)
        assert found, said
        yield f"socket://{found[1]}"


@pytest.fixture
def mpremote(device, tmp_path):
    return Mpremote(device, tmp_path)


def test_exec(mpremote):
    assert mpremote("exec", "print('sum', 40 + 2)") == "sum 42\n"


def test_exec_shows_the_guests_traceback(mpremote):
    status, said = mpremote.run("exec", "1 // 0")
    assert status != 0
    assert "ZeroDivisionError: divide by zero" in said


def test_run_a_script(mpremote, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(sys.platform, [n * n for n in range(5)])\n")
    assert mpremote("run", script) == "x86_64 [0, 1, 4, 9, 16]\n"


def test_cp_each_way(mpremote, tmp_path):
    copies_both_ways(mpremote, tmp_path, 20_000)


@pytest.mark.long
@pytest.mark.timeout(1000)
def test_cp_of_a_mebibyte_each_way(mpremote, tmp_path):
    """mpremote asks for 256 bytes at a time and looks for an answer every 10 ms."""
    copies_both_ways(mpremote, tmp_path, 1 << 20, seconds=400)


def test_mount_a_host_directory(mpremote, tmp_path):
    mounts(mpremote, tmp_path)


def test_repl_and_ctrl_c_out_of_an_endless_loop(place, tmp_path):
    """On a terminal: mpremote 1.29 cannot wait for a key and for a socket:// at once."""
    link = tmp_path / "tty"
    with mpfw("repl", "--pty", link, place) as said:
        assert said.startswith(f"{link} -> /dev/pts/")
        has_a_repl(Mpremote(str(link), tmp_path))
    assert not link.is_symlink()


def test_soft_reset(mpremote):
    assert mpremote("exec", "x = 1; print(x)", "resume", "exec", "print(x)") == "1\n1\n"
    output = mpremote("resume", "soft-reset", "resume", "exec", "print('x' in globals())")
    assert output.endswith("False\n")


def test_twenty_sessions_leave_no_memory_behind(guest, mpremote):
    """What the collector has not found after a session it will not find after twenty."""
    count = "import gc; gc.collect(); print(gc.mem_alloc())"
    for _ in range(2):
        before = int(mpremote("exec", count))
    for _ in range(20):
        mpremote("exec", "pass")
    assert int(mpremote("exec", count)) < before + 2048
    guest.console.interrupt()
    assert guest.console.eval("6 * 7") == 42


def test_a_session_that_is_killed_leaves_the_guest_to_the_next(mpremote):
    command = [*mpremote.command, "exec", "while True: pass"]
    process = subprocess.Popen(command, env=mpremote.environment, stdout=subprocess.DEVNULL)
    time.sleep(1.5)
    process.kill()
    process.wait()
    assert mpremote("exec", "print(6 * 7)") == "42\n"
