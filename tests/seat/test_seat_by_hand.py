# SPDX-License-Identifier: MIT
"""`--dry-run` prints commands that do in a shell what a run does."""

import subprocess

import pytest

APP = """
import helper, os, sys
print(sys.argv, helper.NAME, os.environ['A'], sys.stdout.buffer.write(b'\\0\\r\\n'))
sys.exit(3)
"""


def in_shell(seat, lines, **options):
    """What a shell makes of the commands."""
    with subprocess.Popen(
        ["sh"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=seat.environment,
        **options,
    ) as shell:
        out, err = shell.communicate(lines, 120)
    return shell.returncode, out, err


here = pytest.mark.hosts("none", "vhost-user", "device", "vhost-vsock")


@here
def test_the_commands_pasted_into_a_shell_do_the_same(seat, write, tmp_path):
    write("a b/helper.py", "NAME = 'helped'")
    words = ["--env", "A=it's; $HOME", write("a b/it's.py", APP), "", "two words", "é"]
    expected = seat(*words)
    assert expected.code == 3
    dry = seat("--dry-run", *words)
    assert (dry.code, dry.err) == (0, b"")
    assert in_shell(seat, dry.out, cwd=tmp_path)[:2] == (3, expected.out)
    seat.wait_for_nothing()


@here
def test_what_is_pasted_shows_the_traceback(seat):
    dry = seat("--dry-run", "-c", "print('out')\n1 / 0")
    code, out, err = in_shell(seat, dry.out)
    assert (code, out) == (1, b"out\n")
    assert b"ZeroDivisionError" in err


def test_every_line_names_paths_and_starts_nothing(quick, write, tmp_path):
    disk = tmp_path / "disk.img"
    script = write("app.py", "print(open('/disk/file', 'w').write('kept'))")
    dry = quick("--dry-run", "--disk", disk, script)
    assert not disk.exists() and not list(quick.tmp.iterdir())
    assert in_shell(quick, dry.out)[:2] == (0, b"4\n")
    assert disk.stat().st_size == 1 << 20


def test_what_no_commands_can_do_is_a_sentence(quick):
    result = quick("--dry-run", "--host", "lab", "-c", "")
    assert (result.code, result.out) == (125, b"")
    assert result.err.startswith(b"mpfw: --dry-run") and result.err.count(b"\n") == 1
