# SPDX-License-Identifier: MIT
"""The file that becomes the guest's disk: what it is called, which sizes it may have."""

import os
from pathlib import Path

import pytest

from mpfw.guest.disk import KIB, MIB, NEW_SIZE, Disk, DiskError
from mpfw.guest.machine import Machine


@pytest.fixture
def image(tmp_path):
    """A flash image of 2 MiB."""
    path = tmp_path / "image.bin"
    path.write_bytes(b"")
    os.truncate(path, 2 * MIB)
    return path


@pytest.mark.parametrize(
    "text, name, size",
    [
        ("/d/disk.img", "/d/disk.img", 0),
        ("/d/disk.img,1M", "/d/disk.img", MIB),
        ("/d/disk.img,512k", "/d/disk.img", 512 * KIB),
        ("/d/disk.img,8192", "/d/disk.img", 8192),
        ("/d/a,b.img", "/d/a,b.img", 0),
        ("/d/a,b.img,16K", "/d/a,b.img", 16 * KIB),
        ("/d/a,1,16K", "/d/a,1", 16 * KIB),
    ],
)
def test_a_disk_is_a_file_and_perhaps_a_size(text, name, size):
    assert Disk.parse(text) == Disk(Path(name), size)


def test_a_path_is_made_absolute_so_that_its_colons_are_its_own():
    assert Disk.parse("nbd:disk").path == Path.cwd() / "nbd:disk"


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "the file is missing"),
        (",1M", "the file is missing"),
        ("disk.img,", "'' is no size of a disk: write bytes, or 512K, or 1M"),
        ("disk.img,1Mb", "'1Mb' is no size"),
        ("disk.img,1.5M", "'1.5M' is no size"),
        ("disk.img,0", "'0' is no size"),
    ],
)
def test_what_is_no_disk_is_said_in_a_sentence(text, says):
    with pytest.raises(DiskError, match=says) as raised:
        Disk.parse(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("size", [0, 8 * KIB, MIB, 6 * MIB])
def test_a_missing_file_is_made(tmp_path, image, size):
    disk = Disk(tmp_path / "disk.img", size).prepare(image)
    assert disk.size == disk.path.stat().st_size == (size or NEW_SIZE)
    assert not any(disk.path.read_bytes())


def test_an_empty_file_is_as_a_missing_one(tmp_path, image):
    path = tmp_path / "disk.img"
    path.touch()
    assert Disk(path, 16 * KIB).prepare(image).size == path.stat().st_size == 16 * KIB


@pytest.mark.parametrize("size", [0, 16 * KIB])
def test_a_file_that_is_there_is_left_as_it_is(tmp_path, image, size):
    path = tmp_path / "disk.img"
    path.write_bytes(b"kept" * 4 * KIB)
    assert Disk(path, size).prepare(image) == Disk(path, 16 * KIB)
    assert path.read_bytes() == b"kept" * 4 * KIB


@pytest.mark.parametrize(
    "size, machine, says",
    [
        (4 * KIB, "q35", "with 4 KiB: it needs a multiple of 4 KiB, 8 KiB at least"),
        (10_000, "q35", "with 10000 bytes: it needs a multiple of 4 KiB, 8 KiB at least"),
        (6 * MIB + 4 * KIB, "q35", "QEMU has room for 6 MiB beside the image .2 MiB."),
        (14 * MIB, "pc,max-fw-size=15M", "QEMU has room for 13 MiB beside the image"),
        (MIB, "q35,max-fw-size=2M,smm=off", "QEMU has room for 0 bytes beside the image"),
    ],
)
def test_other_sizes_are_a_sentence_and_make_nothing(tmp_path, image, size, machine, says):
    path = tmp_path / "disk.img"
    with pytest.raises(DiskError, match=says):
        Disk(path, size).prepare(image, machine)
    assert not path.exists()


def test_max_fw_size_makes_room(tmp_path, image):
    disk = Disk(tmp_path / "disk.img", 14 * MIB)
    assert disk.prepare(image, "q35,max-fw-size=16M,hpet=off").size == 14 * MIB


@pytest.mark.parametrize("size", [4 * KIB, 10_000, 7 * MIB])
def test_a_file_of_another_size_is_no_disk(tmp_path, image, size):
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, size)
    with pytest.raises(DiskError):
        Disk(path).prepare(image)
    assert path.stat().st_size == size


def test_a_size_that_the_file_does_not_have_is_refused(tmp_path, image):
    path = Disk(tmp_path / "disk.img", MIB).prepare(image).path
    with pytest.raises(DiskError, match="has 1 MiB, not 2 MiB: leave the size out, or name a new"):
        Disk(path, 2 * MIB).prepare(image)


def test_a_directory_is_no_disk(tmp_path, image):
    with pytest.raises(DiskError, match="cannot be a disk: it is no file"):
        Disk(tmp_path).prepare(image)


def test_a_missing_folder_is_named(tmp_path, image):
    with pytest.raises(DiskError, match="nowhere/disk.img cannot be a disk: No such file or dir"):
        Disk(tmp_path / "nowhere" / "disk.img").prepare(image)


def test_qemu_has_it_as_its_second_flash_chip(tmp_path):
    machine = Machine(image=Path("/image.bin"), disk=Disk(Path("/a,b.img"), MIB))
    words = machine.command((), tmp_path / "log")
    assert "if=pflash,format=raw,unit=1,file=/a,,b.img" in words
