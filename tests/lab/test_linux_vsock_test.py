# SPDX-License-Identifier: MIT
"""Linux's own vsock_test in the lab, against a guest: as its server and as its client.

The programs are those of Linux 6.12 and of sid (`mpfw vsock-test`). Where the guest does not pass
a test, a Linux guest at the same place must not pass it either: some fail on the host whatever the
guest does.
"""

import ast
import inspect
from pathlib import Path

import linux_half
import prelude
import pytest
from sides import HostSide, program

from mpfw.differential import nested
from mpfw.differential.sides import LinuxSide
from mpfw.guest.driven import AGENT
from mpfw.guest.machine import Machine
from mpfw.lab import vsocktest

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(1800)]

GUEST, HOST = 33, 2
GUEST_FILES = sorted((Path(__file__).parent / "guest").glob("*.py"))
SECONDS = 600  # that one go through the tests may take
FEWEST = 26  # tests: as many as Linux 6.12's has
OTHER = {"client": "server", "server": "client"}


class OurHalf:
    """A guest of ours, and the script that speaks for it."""

    def __init__(self, guest):
        self.guest = guest
        guest.files.put("/prelude.py", inspect.getsource(prelude))
        for path in GUEST_FILES:
            guest.files.put("/" + path.name, path)
        guest.run("from vsock_half import half, unknown", timeout=SECONDS)

    def turn(self, role, names, skipped):
        """Go through the tests: the number of the one that failed, or how many there are; how."""
        return self.guest.call("half", role, names, skipped, timeout=SECONDS)


class LinuxHalf:
    """A Linux guest, which runs the program of the same source."""

    def __init__(self, lab, data):
        lab.run(["mkdir", "-p", "/tmp/guest/lab"])
        put_program(lab, "/tmp/guest/lab/vsock_test", data)
        nested.prepare(lab)
        self._side = LinuxSide(lambda: nested.start(lab))

    def turn(self, role, names, skipped):
        """The same."""
        arguments = ("/lab/vsock_test", role, HOST, skipped, linux_half.CONTROL, HOST)
        script = program(linux_half.run_linux_half, arguments)
        (printed,) = self._side.run([script], SECONDS)
        out, errors, code = ast.literal_eval(printed)
        return linux_half.reached(out, code, len(names)), errors

    def close(self):
        self._side.close()


def put_program(lab, path, data):
    lab.put(path, data)
    lab.run(["chmod", "755", path])


@pytest.fixture(params=["trixie", "sid"])
def source(request):
    """Whose vsock_test it is."""
    return request.param


@pytest.fixture
def names(lab, source):
    """The program is in the lab, with these tests."""
    put_program(lab.lab, linux_half.PROGRAM, vsocktest.provide(source).read_bytes())
    listed = lab.lab.run([linux_half.PROGRAM, "--list"], check=False).out.decode()
    names = linux_half.names_of(listed)
    assert len(names) >= FEWEST, listed
    return names


def failures(lab, half, role, names):
    """How each test failed that did, by its name: each ran once, with the half as `role`."""
    failed: dict[str, str] = {}
    skipped: list[int] = []
    while True:
        arguments = (OTHER[role], GUEST, skipped, linux_half.CONTROL, None)
        host = HostSide(lab).start(linux_half.run_linux_half, linux_half.PROGRAM, *arguments)
        number, how = half.turn(role, names, skipped)
        out, errors, code = host.result(SECONDS)
        at = min(number, linux_half.reached(out, code, len(names)))
        if at == len(names):
            return failed
        assert at >= len(skipped), f"neither half got anywhere: {how}{out}{errors}"
        failed[names[at]] = f"guest: {how}\nhost: {errors}"
        skipped = list(range(at + 1))  # those before it have passed


@pytest.mark.parametrize("role", ["client", "server"])
def test_linux_own_test_passes_as_it_does_with_a_linux_guest(lab, image, source, names, role):
    machine = Machine(image=image, memory=f"{nested.MEMORY}M")
    with lab.guest(machine, cid=GUEST, drive=AGENT) as guest:
        ours = OurHalf(guest)
        assert guest.call("unknown", names) == [], "steps are missing in tests/lab/guest"
        failed = failures(lab, ours, role, names)
    if failed and not (source == "trixie" and version(lab) >= (6, 12)):
        linux = LinuxHalf(lab.lab, vsocktest.provide(source).read_bytes())
        try:
            excused = failures(lab, linux, role, names)
        finally:
            linux.close()
        print(f"a Linux guest at {list(excused.items())}, here {list(failed)}")
        failed = {name: how for name, how in failed.items() if name not in excused}
    assert not failed, "\n".join(f"{name}: {how}" for name, how in failed.items())


def version(lab):
    """Of the lab's kernel: (6, 12)."""
    release = lab.lab.run(["uname", "-r"]).out.decode()
    return tuple(int(part) for part in release.split(".")[:2])
