# SPDX-License-Identifier: MIT
"""Linux's vsock_test out of a package with a kernel's source, and what its output tells."""

import subprocess
import tarfile
from pathlib import Path

import linux_half
import pytest

from mpfw.build import debian, deps
from mpfw.lab import vsocktest

WANTED = ("tools/testing/vsock", "tools/include/linux")
PROGRAM = 'int main(void) { return __builtin_puts("ID\\tTest name") < 0; }\n'


def package(place, name, depends="", files=None):
    """A binary package of that name, with files below usr/src."""
    root = place / f"{name}-root"
    (root / "DEBIAN").mkdir(parents=True)
    fields = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody\n"
    (root / "DEBIAN" / "control").write_text(
        fields + (f"Depends: {depends}\n" if depends else "") + "Description: a test\n"
    )
    if files:
        (root / "usr" / "src").mkdir(parents=True)
        with tarfile.open(root / "usr" / "src" / f"{name}.tar.xz", "w:xz") as tar:
            tar.add(files, name)
    subprocess.run(
        ["dpkg-deb", "-b", root, place / f"{name}.deb"], check=True, capture_output=True
    )
    return place / f"{name}.deb"


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """archive(**files): the suite has a kernel's source with these programs in C."""
    found: dict[str, Path] = {}

    def newest(self, packages, dest):
        (name,) = packages
        if name not in found:
            raise debian.AptError(f"Unable to locate package {name}")
        return [found[name]]

    monkeypatch.setattr(debian.Suite, "newest", newest)

    def put(**programs):
        tree = tmp_path / "tree"
        for directory in (*WANTED, "net/vmw_vsock"):
            (tree / directory).mkdir(parents=True)
            (tree / directory / "README").write_text("a file\n")
        for name in vsocktest._SOURCES:
            text = programs.get(name, "")
            (tree / "tools/testing/vsock" / f"{name}.c").write_text(text)
        found["linux-source-6.12"] = package(tmp_path, "linux-source-6.12", files=tree)
        found["linux-source"] = package(tmp_path, "linux-source", "linux-source-6.12 (= 1)")

    return put


def test_two_directories_are_unpacked_and_a_program_is_built(archive, tmp_path):
    archive(vsock_test=PROGRAM)
    program = vsocktest.provide("trixie", tmp_path)
    said = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout
    assert linux_half.names_of(said) == []
    kept = {
        str(path.parent.relative_to(program.parent)) for path in program.parent.rglob("README")
    }
    assert kept == set(WANTED)
    assert vsocktest.provide("trixie", tmp_path) == program


def test_what_does_not_compile_is_said_and_not_kept(archive, tmp_path):
    archive(vsock_test="no C\n")
    with pytest.raises(deps.DependencyError, match=r"does not compile here:\n.*vsock_test\.c"):
        vsocktest.provide("trixie", tmp_path)
    assert not list((tmp_path / "vsock-test").iterdir())


def test_an_archive_that_is_cut_off_is_said(archive, tmp_path):
    archive(vsock_test=PROGRAM)
    tar = tmp_path / "linux-source-6.12-root/usr/src/linux-source-6.12.tar.xz"
    tar.write_bytes(tar.read_bytes()[:-100])
    subprocess.run(
        ["dpkg-deb", "-b", tar.parents[2], tmp_path / "linux-source-6.12.deb"],
        check=True,
        capture_output=True,
    )
    with pytest.raises(deps.DependencyError, match=r"6\.12\.deb could not be unpacked: "):
        vsocktest.provide("trixie", tmp_path)


def test_no_such_package_is_said(archive, tmp_path):
    with pytest.raises(deps.DependencyError, match=r"deps\.toml\), Debian sid:\nUnable to locate"):
        vsocktest.provide("sid", tmp_path)


def test_how_far_a_run_came():
    listed = "ID\tTest name\n0\tfirst\n1\tsecond one\n"
    assert linux_half.names_of(listed) == ["first", "second one"]
    begun = "Control socket connected to 127.0.0.1:5555.\n0 - first...skipped\n1 - second..."
    assert linux_half.reached(begun, 1, 3) == 1
    assert linux_half.reached(begun + "ok\n2 - third...", -9, 3) == 2
    assert linux_half.reached(begun + "ok\n2 - third...ok\nAll tests", 1, 3) == 3
    assert linux_half.reached("", 0, 3) == 3
    with pytest.raises(AssertionError, match="did not begin: usage"):
        linux_half.reached("usage", 1, 3)
