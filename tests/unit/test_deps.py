# SPDX-License-Identifier: MIT
"""Outside inputs: used only when their digest agrees; failures say what to do."""

import hashlib
import tarfile

import pytest

from mpfw.build import debian, deps


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A tarball, and an entry of deps.toml that names it; apt "downloads" it."""
    source = tmp_path / "source" / "thing-1"
    source.mkdir(parents=True)
    (source / "file").write_text("content")
    path = tmp_path / "thing.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        tar.add(source, "thing-1")
    entry = {
        "origin": "debian-source",
        "suite": "trixie",
        "package": "thing",
        "version": "1-1",
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "unpack": "thing-1",
        "override": "THING_DIR",
        "override-means": "a directory with thing's source",
    }
    monkeypatch.setattr(deps, "manifest", lambda: {"thing": entry})
    monkeypatch.delenv("THING_DIR", raising=False)
    return path


@pytest.fixture
def apt(archive, monkeypatch):
    """A list of what apt was asked for; it delivers the tarball."""
    asked = []

    def source(self, package, version, dest):
        asked.append((self.suite, package, version))
        dest.mkdir(parents=True, exist_ok=True)
        (dest / archive.name).write_bytes(archive.read_bytes())

    monkeypatch.setattr(debian.Suite, "source", source)
    return asked


def test_fetched_once_and_unpacked(apt, tmp_path):
    build = tmp_path / "build"
    for _ in range(2):
        place = deps.provide("thing", build)
        assert (place / "file").read_text() == "content"
    assert apt == [("trixie", "thing", "1-1")]


def test_a_file_brought_by_hand_is_not_fetched(apt, archive, tmp_path):
    downloads = tmp_path / "build/downloads"
    downloads.mkdir(parents=True)
    (downloads / archive.name).write_bytes(archive.read_bytes())
    deps.provide("thing", tmp_path / "build")
    assert apt == []


def test_a_changed_file_is_refused_and_removed(apt, archive, tmp_path):
    archive.write_bytes(archive.read_bytes() + b"more")
    with pytest.raises(deps.DependencyError, match="deps.toml wants"):
        deps.provide("thing", tmp_path / "build")
    assert not (tmp_path / "build/downloads" / archive.name).exists()
    assert not (tmp_path / "build/thing-1").exists()


def test_the_users_own_is_used_as_it_is(apt, tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("THING_DIR", str(own))
    assert deps.provide("thing", tmp_path / "build") == own
    assert apt == []


def test_the_users_own_that_is_not_there_is_named(apt, monkeypatch):
    monkeypatch.setenv("THING_DIR", "/nowhere/thing")
    with pytest.raises(deps.DependencyError, match="THING_DIR=/nowhere/thing: no such"):
        deps.provide("thing")


@pytest.mark.parametrize(
    "said, told",
    [
        ("E: Failed to fetch thing: 404", "cannot fetch thing: Debian source package thing 1-1"),
        ("E: Version '1-1' for 'thing' was not found", "1-1 is no longer in Debian's trixie"),
        ("E: Failed to fetch thing: 404", "To bring your own: set THING_DIR to a directory"),
        ("E: Failed to fetch thing: 404", "or put thing.tar.xz into build/downloads/"),
    ],
)
def test_a_failed_download_says_what_from_where_and_what_to_do(
    archive, tmp_path, monkeypatch, said, told
):
    def fail(*arguments):
        raise debian.AptError(said)

    monkeypatch.setattr(debian.Suite, "source", fail)
    with pytest.raises(deps.DependencyError) as raised:
        deps.provide("thing", tmp_path / "build")
    assert told in str(raised.value)
    assert said in str(raised.value)


def test_every_input_has_origin_version_and_digest():
    for name, entry in deps.manifest().items():
        if entry.get("origin") in ("debian-source", "debian-binary"):
            dep = deps.dependency(name)
            assert len(dep.sha256) == 64
            assert dep.version in dep.file.replace("%3a", ":") or dep.origin == "debian-source"


def test_every_python_package_is_locked_with_a_digest():
    lock = (deps.paths.ROOT / deps.manifest()["python"]["lock"]).read_text()
    for line in lock.splitlines():
        if line and not line.startswith(("#", " ")):
            name, _, version = line.partition("==")
            assert version.endswith(" \\"), line
            after = lock.split(line)[1].lstrip().splitlines()[0]
            assert after.startswith("--hash=sha256:"), f"{name} has no digest"
