# SPDX-License-Identifier: MIT
"""QEMU is killed while the guest writes to /disk: every file that was synced is whole.

Its content is that of the last generation that the guest has called synced, or the next one's.
"""

import hashlib
import random
import time
from pathlib import Path

import disk_writer
import pytest
from disk_writer import NAMES

from mpfw.guest.disk import KIB, Disk

WRITER = Path(disk_writer.__file__).read_text()
LONG = [pytest.mark.long, pytest.mark.timeout(1200)]


@pytest.fixture
def disk(tmp_path, image):
    """A new disk of 256 KiB: small enough to be full of old blocks soon."""
    return Disk(tmp_path / "disk.img", 256 * KIB).prepare(image)


def kill(guest):
    """End QEMU as a power cut ends a machine."""
    guest.process.kill()
    guest.process.wait()
    guest.close()


def check_found(console, synced):
    """Compare what a guest finds with what was synced, {name: generation}, and bring that up."""
    said = console.expect(rb"(.*)all found\r\n", 30).group(1).decode()
    assert "/disk:" not in said, said
    found = [line.split()[1:] for line in said.splitlines() if line.startswith("found ")]
    assert [name for name, *_ in found] == list(NAMES)
    for name, generation, size, digest in found:
        assert int(generation) in (synced[name], synced[name] + 1), f"{name}, {synced}: {said}"
        expected = disk_writer.content(name, int(generation))
        assert int(size) == len(expected), f"{name}: {said}"
        assert digest == hashlib.sha256(expected).hexdigest(), f"{name}: {said}"
        synced[name] = int(generation)


def note_synced(text, synced):
    """Bring `synced` up to what a guest says; the last line counts if it is whole."""
    for line in text.decode().split("\r\n")[:-1]:
        if line.startswith("synced "):
            _, name, generation = line.split()
            synced[name] = int(generation)


@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=LONG)])
def test_what_was_synced_is_whole_after_qemu_is_killed(boot, disk, kills):
    chance = random.Random(kills)
    synced = dict.fromkeys(NAMES, 0)
    for _ in range(kills):
        guest = boot(disk=disk, fw_cfg={"opt/micropython/main.py": WRITER})
        check_found(guest.console, synced)
        said = b""
        for _ in range(chance.randrange(2 * len(NAMES))):
            said += guest.console.read_until(b"\r\n", 30)
        time.sleep(chance.random() / 50)
        kill(guest)
        note_synced(said + guest.console.unread(), synced)
    check_found(boot(disk=disk, fw_cfg={"opt/micropython/main.py": WRITER}).console, synced)
    assert min(synced.values()) >= kills // 2, synced


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=LONG)])
def test_a_new_disk_comes_up_after_qemu_was_killed_at_its_formatting(boot, disk, kills):
    chance = random.Random(kills)
    for _ in range(kills):
        disk.path.write_bytes(bytes(disk.size))
        guest = boot(disk=disk)
        before = disk.path.read_bytes()
        while disk.path.read_bytes() == before:
            pass
        time.sleep(chance.random() / 1000)
        kill(guest)
        guest = boot(disk=disk)
        guest.console.wait_prompt()
        assert guest.console.eval("__import__('os').listdir('/disk')") == []
        guest.close()
