# SPDX-License-Identifier: MIT
"""mpremote, unmodified, as a program beside a guest, and what is asked of it on every wire."""

import hashlib
import os
import random
import subprocess
import sys

import terminal


class Mpremote:
    """mpremote connected to one guest: `device` as its `connect` takes it."""

    def __init__(self, device: str, home):
        self.command = [sys.executable, "-m", "mpremote", "connect", device]
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


def copies_both_ways(mpremote, folder, size, place=":kept.bin", seconds=60):
    """cp of `size` bytes to the guest and back: equal hashes everywhere."""
    data = random.Random(size).randbytes(size)
    up, down = folder / "up.bin", folder / "down.bin"
    up.write_bytes(data)
    mpremote("cp", up, place, timeout=seconds)
    assert hashlib.sha256(data).hexdigest() in mpremote("sha256sum", place)
    mpremote("cp", place, down, timeout=seconds)
    assert down.read_bytes() == data


def mounts(mpremote, folder):
    """mount: the guest imports from and writes to a directory of the host."""
    shared = folder / "shared"
    shared.mkdir()
    (shared / "hostmodule.py").write_text("def greet(): return 'from the host'\n")
    code = (
        "import hostmodule; print(hostmodule.greet())\n"
        "open('written', 'w').write('from the guest')\n"
    )
    output = mpremote("mount", shared, "exec", code)
    assert "from the host\n" in output
    assert (shared / "written").read_text() == "from the guest"


def has_a_repl(mpremote):
    """repl on a terminal: Ctrl-C gets out of an endless loop, Ctrl-] out of the REPL."""
    greeting = b"Use Ctrl-] or Ctrl-x to exit this shell"
    terminal.has_a_repl([*mpremote.command, "repl"], greeting, mpremote.environment)
