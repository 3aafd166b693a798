# SPDX-License-Identifier: MIT
"""The lab's archive writer and its choice of files, on small trees: no packages, no network."""

import io
import stat
from pathlib import Path

import pytest

from mpfw.build import debian, deps
from mpfw.lab import image as lab_image
from mpfw.lab.initramfs import Cpio, add_modules


def entries(archive: bytes) -> list[tuple[str, int, bytes]]:
    """(name, mode, data) of every entry of a "newc" archive, its trailer checked and left out."""
    found, place = [], 0
    while place < len(archive):
        assert archive[place : place + 6] == b"070701"
        assert place % 4 == 0
        fields = [int(archive[place + 6 + 8 * n : place + 14 + 8 * n], 16) for n in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        start = place + 110
        name = archive[start : start + length - 1].decode()
        start += length + -(110 + length) % 4
        found.append((name, mode, archive[start : start + size]))
        place = start + size + -size % 4
    assert found.pop() == ("TRAILER!!!", 0, b"")
    return found


@pytest.fixture
def cpio():
    return Cpio(io.BytesIO())


def test_files_links_devices_and_directories_are_written(cpio):
    cpio.file("init", b"#!/bin/sh\n", 0o755)
    cpio.symlink("sh", "busybox")
    cpio.device("console", 5, 1)
    cpio.directory("proc")
    cpio.end()
    assert entries(cpio._file.getvalue()) == [
        ("init", stat.S_IFREG | 0o755, b"#!/bin/sh\n"),
        ("sh", stat.S_IFLNK | 0o777, b"busybox"),
        ("console", stat.S_IFCHR | 0o600, b""),
        ("proc", stat.S_IFDIR | 0o755, b""),
    ]


def test_parent_directories_come_first_and_once(cpio):
    cpio.file("usr/bin/one", b"1")
    cpio.file("usr/bin/two", b"22")
    cpio.end()
    names = [name for name, _, _ in entries(cpio._file.getvalue())]
    assert names == ["usr", "usr/bin", "usr/bin/one", "usr/bin/two"]


def test_archives_may_follow_one_another(tmp_path):
    path = tmp_path / "both"
    with open(path, "wb") as file:
        for name in ("first", "later"):
            cpio = Cpio(file)
            cpio.file(name, b"abc")
            cpio.end()
    data = path.read_bytes()
    half = data.index(b"TRAILER!!!") + len(b"TRAILER!!!\0\0\0\0")
    assert [entries(part)[0][0] for part in (data[:half], data[half:])] == ["first", "later"]


def test_links_bring_what_they_lead_to(tmp_path):
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/libc.so.6.1").write_bytes(b"")
    (tmp_path / "usr/lib/libc.so.6").symlink_to("libc.so.6.1")
    (tmp_path / "usr/lib/libc.so").symlink_to("/usr/lib/libc.so.6")
    chain = lab_image._with_links(tmp_path, tmp_path / "usr/lib/libc.so")
    assert {path.name for path in chain} == {"libc.so", "libc.so.6", "libc.so.6.1"}


def test_modules_come_after_those_they_need(tmp_path, cpio):
    place = tmp_path / "usr/lib/modules/6.1/kernel"
    place.mkdir(parents=True)
    for name, needs in (("vhost-vsock", "vhost,vsock"), ("vhost", "vhost_iotlb"), ("vsock", "")):
        (place / f"{name}.ko").write_bytes(b"ELF\0depends=" + needs.encode() + b"\0rest")
    add_modules(tmp_path, ["vhost_vsock", "built-in"], cpio, "lab")
    cpio.end()
    order = dict((name, data) for name, _, data in entries(cpio._file.getvalue()))["lab/modules"]
    assert [Path(line).stem for line in order.decode().split()] == [
        "vhost",
        "vsock",
        "vhost_vsock",
    ]


def test_packages_that_cannot_be_had_are_named_in_deps_tomls_terms(tmp_path, monkeypatch):
    def no_network(*_):
        raise debian.AptError("no mirror answers")

    monkeypatch.setattr(debian.Suite, "closure", no_network)
    with pytest.raises(deps.DependencyError, match=r"\[lab\] in deps.toml.*\nno mirror answers"):
        lab_image.provide("trixie", tmp_path)
