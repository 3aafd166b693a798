# SPDX-License-Identifier: MIT
"""machine.disk and /disk: a second flash chip whose files outlive the machine."""

import subprocess
import sys

import pytest

from mpfw.guest.console import RemoteError
from mpfw.guest.disk import KIB, MIB, Disk
from mpfw.image import layout

BLOCK = 4 * KIB
EIO = r"OSError: \[Errno 5\] EIO"
ERASED = b"\xff" * BLOCK


@pytest.fixture
def disk(tmp_path, image):
    """A new disk of 256 KiB."""
    return Disk(tmp_path / "disk.img", 256 * KIB).prepare(image)


@pytest.fixture
def boot_disk(boot, disk):
    """A function that boots a guest with the disk and waits for its prompt."""

    def boot_disk(**machine):
        guest = boot(**{"disk": disk} | machine)
        guest.console.wait_prompt()
        return guest

    return boot_disk


def power_off(guest):
    """Have the guest switch itself off."""
    guest.console.interrupt()
    guest.console.send(b"import machine; machine.poweroff()\r")
    assert guest.wait() == 0


def said_of_disk(guest):
    """The console's lines so far in which the disk occurs."""
    lines = bytes(guest.console.transcript).decode().splitlines()
    return [line for line in lines if "disk" in line]


def test_files_survive_power_off(boot_disk):
    guest = boot_disk()
    guest.console.exec("import os; os.mkdir('/disk/d')")
    guest.console.exec("with open('/disk/d/kept', 'w') as f: f.write('kept' * 5000)")
    power_off(guest)
    guest = boot_disk()
    assert guest.console.eval("open('/disk/d/kept').read() == 'kept' * 5000")
    assert said_of_disk(guest) == []


def test_files_survive_qemus_end(boot_disk):
    guest = boot_disk()
    guest.console.exec("with open('/disk/kept', 'w') as f: f.write('kept')")
    guest.process.kill()
    guest.process.wait()
    assert boot_disk().console.eval("open('/disk/kept').read()") == "kept"


def test_files_survive_machine_reset(boot_disk):
    guest = boot_disk()
    guest.console.exec("file = open('/disk/open', 'w'); file.write('not closed')")
    guest.console.interrupt()
    guest.console.send(b"import machine; machine.reset()\r")
    guest.console.expect(rb"MicroPython v.*>>> ")
    assert guest.console.eval("open('/disk/open').read()") == "not closed"


def test_power_off_writes_what_open_files_hold_back(boot_disk):
    guest = boot_disk()
    guest.console.exec("file = open('/disk/open', 'w'); file.write('not closed')")
    power_off(guest)
    assert boot_disk().console.eval("open('/disk/open').read()") == "not closed"


def test_a_soft_reset_writes_what_open_files_hold_back(boot_disk):
    guest = boot_disk()
    guest.console.exec("files = [open('/disk/%d' % n, 'w') for n in range(9)]")
    guest.console.exec("for file in files: file.write('not closed')")
    guest.console.soft_reset()
    guest.process.kill()
    guest.process.wait()
    said = boot_disk().console.eval("[open('/disk/%d' % n).read() for n in range(9)]")
    assert said == ["not closed"] * 9


def test_os_sync_writes_what_open_files_hold_back(boot_disk):
    guest = boot_disk()
    guest.console.exec(
        "import os\nfile = open('/disk/open', 'w')\nother = open('/disk/other', 'w')"
    )
    guest.console.exec("file.write('not closed'); other.write('nor this'); os.sync()")
    guest.console.exec("file.write(', lost'); other.write(', lost')")
    guest.process.kill()
    guest.process.wait()
    guest = boot_disk()
    assert guest.console.eval("open('/disk/open').read()") == "not closed"
    assert guest.console.eval("open('/disk/other').read()") == "nor this"


FILL = """
import os
kept = b'kept' * 1000
with open('/disk/kept', 'wb') as file:
    file.write(kept)
try:
    with open('/disk/large', 'wb') as file:
        while True:
            file.write(bytes(1000))
except OSError as error:
    print(error.errno, file)
try:
    with open('/disk/kept', 'wb') as file:
        file.write(bytes(1000000))
except OSError as error:
    print(error.errno)
print(open('/disk/kept', 'rb').read() == kept)
os.remove('/disk/large')
with open('/disk/fits', 'wb') as file:
    print(file.write(bytes(100000)))
"""


def test_a_full_disk_is_enospc_and_keeps_what_it_has(boot_disk):
    said = boot_disk().console.exec(FILL).splitlines()
    assert said == ["28 <io.FileIO>", "28", "True", "100000"]


def test_without_the_chip_nothing_of_it_is_there(repl):
    assert repl.console.eval("hasattr(__import__('machine'), 'disk')") is False
    assert repl.console.eval("__import__('os').listdir('/')") == []
    assert repl.console.eval("[n for n in __import__('sys').modules if 'disk' in n]") == []
    assert said_of_disk(repl) == []
    with pytest.raises(RemoteError, match="AttributeError: 'module' object has no attribute"):
        repl.console.exec("import machine; machine.disk")
    with pytest.raises(RemoteError, match="AttributeError"):
        repl.console.exec("machine.disk = 1")


def test_with_it_nothing_stays_behind_at_the_prompt(boot_disk):
    guest = boot_disk()
    assert "_disk" not in guest.console.eval("dir()")
    assert guest.console.eval("__import__('sys').path") == ["", ".frozen", "/lib"]
    assert guest.console.eval("__import__('os').listdir('/')") == ["disk"]


# -- what is on it already --


def test_a_damaged_file_system_is_said_and_left_alone(boot_disk, disk):
    power_off(boot_disk())
    content = bytearray(disk.path.read_bytes())
    content[: 2 * BLOCK] = b"\x00" * 100 + content[100 : 2 * BLOCK]
    content[BLOCK : BLOCK + 100] = bytes(100)
    content[-BLOCK:] = b"data" * (BLOCK // 4)
    disk.path.write_bytes(content)
    guest = boot_disk()
    assert said_of_disk(guest) == [
        "No /disk: machine.disk holds no littlefs of its size, or a damaged one (error 84). It is "
        "left as it is; vfs.VfsLfs2.mkfs(machine.disk) empties it"
    ]
    assert guest.console.eval("__import__('os').listdir('/')") == []
    assert disk.path.read_bytes() == content
    guest.console.exec("import machine, vfs; vfs.VfsLfs2.mkfs(machine.disk)")
    guest.console.soft_reset()
    assert guest.console.eval("__import__('os').listdir('/disk')") == []


def test_what_is_no_file_system_is_left_alone(boot_disk, disk):
    content = bytes(disk.size - 1) + b"x"
    disk.path.write_bytes(content)
    guest = boot_disk()
    (said,) = said_of_disk(guest)
    assert "It is left as it is" in said
    power_off(guest)
    assert disk.path.read_bytes() == content


def test_a_file_system_of_another_size_is_left_alone(boot_disk, disk, image):
    power_off(boot_disk())
    content = disk.path.read_bytes() + ERASED
    disk.path.write_bytes(content)
    guest = boot_disk(disk=Disk(disk.path).prepare(image))
    (said,) = said_of_disk(guest)
    assert said.startswith("No /disk: machine.disk holds no littlefs of its size")
    assert disk.path.read_bytes() == content


def test_power_that_went_during_the_formatting_is_no_damage(boot_disk, disk):
    disk.path.write_bytes(bytes(BLOCK) + ERASED + bytes(disk.size - 2 * BLOCK))
    guest = boot_disk()
    assert said_of_disk(guest) == []
    assert guest.console.eval("__import__('os').listdir('/disk')") == []


def test_a_disk_that_is_too_small_is_said(boot_disk, disk):
    disk.path.write_bytes(bytes(BLOCK))
    assert said_of_disk(boot_disk()) == [
        "No /disk: machine.disk cannot be formatted (error 28): is it too small or read-only?"
    ]


# -- the chip --


def read_only(disk):
    """QEMU's options for a chip that cannot be written to."""
    return ("-drive", f"if=pflash,format=raw,unit=1,file={disk.path},readonly=on")


def test_a_chip_that_refuses_to_write_is_eio(boot_disk, disk):
    guest = boot_disk()
    guest.console.exec("with open('/disk/kept', 'w') as f: f.write('kept')")
    power_off(guest)
    before = disk.path.read_bytes()
    guest = boot_disk(disk=None, extra=read_only(disk))
    assert guest.console.eval("open('/disk/kept').read()") == "kept"
    with pytest.raises(RemoteError, match=EIO):
        guest.console.exec("with open('/disk/kept', 'w') as f: f.write('new')")
    guest.console.exec("import machine; disk = machine.disk")
    assert guest.console.eval("disk.ioctl(6, 9)") == -5
    assert guest.console.eval("disk.writeblocks(9, bytes(4096))") == -5
    assert guest.console.eval("disk.writeblocks(9, b'many', 0)") == -5
    assert guest.console.eval("disk.writeblocks(9, b'1', 0)") == -5
    assert guest.console.eval("open('/disk/kept').read()") == "kept"
    assert disk.path.read_bytes() == before


def test_a_blank_chip_that_refuses_to_write_is_said(boot_disk, disk):
    guest = boot_disk(disk=None, extra=read_only(disk))
    assert said_of_disk(guest) == [
        "No /disk: machine.disk cannot be formatted (error 5): is it too small or read-only?"
    ]


def test_blocks_are_read_written_and_erased(boot_disk, disk):
    guest = boot_disk()
    guest.console.exec("import machine; disk = machine.disk; block = bytearray(8192)")
    assert guest.console.eval("(disk.ioctl(4, 0), disk.ioctl(5, 0))") == (64, BLOCK)
    guest.console.exec("pattern = bytes(range(256)) * 32")
    assert guest.console.eval("disk.writeblocks(30, pattern)") == 0
    assert guest.console.eval("(disk.readblocks(30, block), block == pattern)") == (0, True)
    assert guest.console.eval("disk.ioctl(6, 31)") == 0
    assert guest.console.eval("disk.readblocks(31, block, 1)") == 0
    assert guest.console.eval("block[:4095] == b'\\xff' * 4095")
    # Whatever the bounds of the chip's write buffer:
    guest.console.exec("parts = ((0, 1), (1, 254), (255, 2), (257, 700), (957, 3139))")
    code = "[disk.writeblocks(31, pattern[at : at + size], at) for at, size in parts]"
    assert guest.console.eval(code) == [0] * 5
    pattern = bytes(range(256)) * 32
    assert disk.path.read_bytes()[30 * BLOCK : 32 * BLOCK] == pattern


@pytest.mark.parametrize(
    "call",
    [
        "disk.readblocks(64, block)",
        "disk.readblocks(-1, block)",
        "disk.readblocks(63, bytearray(4097))",
        "disk.readblocks(1 << 60, block, 1 << 62)",
        "disk.readblocks(0, block, -1)",
        "disk.readblocks(0, block, 64 * 4096 - 4095)",
        "disk.writeblocks(64, block)",
        "disk.writeblocks(63, bytes(8192))",
        "disk.writeblocks(0, bytes(4095))",
        "disk.writeblocks(63, b'12', 4095)",
        "disk.ioctl(6, 64)",
        "disk.ioctl(6, -1)",
    ],
)
def test_places_that_the_disk_does_not_have_are_einval(boot_disk, disk, call):
    guest = boot_disk()
    before = disk.path.read_bytes()
    guest.console.exec("import machine; disk = machine.disk; block = bytearray(4096)")
    assert guest.console.eval(call) == -22
    assert disk.path.read_bytes() == before


def test_the_largest_disk_works(boot_disk, tmp_path, image):
    machine = "pc,max-fw-size=16M"
    disk = Disk(tmp_path / "large.img", 16 * MIB - image.stat().st_size).prepare(image, machine)
    guest = boot_disk(disk=disk, machine=machine)
    assert guest.console.eval("__import__('os').statvfs('/disk')[2]") == disk.size // BLOCK
    guest.console.exec("import machine; last = machine.disk.ioctl(4, 0) - 1")
    assert guest.console.eval("machine.disk.writeblocks(last, b'end' + bytes(4093))") == 0
    assert disk.path.read_bytes()[-BLOCK:].startswith(b"end\x00")


def test_it_can_be_mounted_elsewhere_too(boot_disk):
    guest = boot_disk()
    guest.console.exec("with open('/disk/kept', 'w') as f: f.write('kept')")
    guest.console.exec("import machine, vfs; vfs.umount('/disk'); vfs.mount(machine.disk, '/d')")
    assert guest.console.eval("open('/d/kept').read()") == "kept"


def test_its_bytes_are_never_executed(boot_disk, disk):
    guest = boot_disk()
    start = layout.load().flash_base - disk.size
    guest.console.exec(f"""
import machine
@micropython.viper
def function():
    pass
machine.mem64[id(function) + 24] = {start:#x}
""")
    with pytest.raises(RemoteError, match="EFAULT") as raised:
        guest.console.exec("function()")
    assert f"execution of {start:x}: not permitted" in raised.value.output


# -- mpfw run --disk --


def mpfw_run(*arguments):
    """`mpfw run` without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "mpfw", "run", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_run_makes_the_disk_and_the_guest_formats_it(image, tmp_path):
    path = tmp_path / "made.img"
    result = mpfw_run("--image", image, "--disk", f"{path},64K")
    assert result.returncode == 0, result.stdout + result.stderr
    content = path.read_bytes()
    assert len(content) == 64 * KIB
    assert b"littlefs" in content[: 2 * BLOCK]


@pytest.mark.parametrize(
    "value, says",
    [
        ("new.img,5000", "it needs a multiple of 4 KiB, 8 KiB at least"),
        ("new.img,7M", "QEMU has room for 6 MiB beside the image"),
        ("new.img,1Mb", "'1Mb' is no size of a disk: write bytes, or 512K, or 1M"),
    ],
)
def test_run_refuses_other_sizes_in_a_sentence(image, tmp_path, monkeypatch, value, says):
    monkeypatch.chdir(tmp_path)
    result = mpfw_run("--image", image, "--disk", value)
    assert result.returncode != 0
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("mpfw: ") and says in line
    assert list(tmp_path.iterdir()) == []


def test_run_refuses_a_disk_that_another_guest_has(boot_disk, image, disk):
    boot_disk()
    result = mpfw_run("--image", image, "--disk", disk.path)
    assert result.returncode != 0
    assert "is another guest's disk at this moment" in result.stderr
