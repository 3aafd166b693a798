# SPDX-License-Identifier: MIT
"""Which vhost-device-vsock is taken, and what is said if none can be had."""

import os

import pytest

from mpfw import paths
from mpfw.build import deps
from mpfw.guest import daemon


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty directory for what is fetched; nothing is on PATH, nothing can be fetched."""
    monkeypatch.setattr(paths, "fetched", lambda: tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("VHOST_DEVICE_VSOCK", raising=False)
    (tmp_path / "bin").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def fetches(cache, monkeypatch):
    """A list of what was tried to be fetched."""
    asked = []

    def provide(name, build):
        asked.append(name)
        raise deps.DependencyError("cannot fetch it\nat all", "no mirror answers")

    monkeypatch.setattr(deps, "provide", provide)
    return asked


def make(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    path.chmod(0o755)
    return str(path)


def test_the_users_own_comes_first_then_the_fetched_one_then_path(cache, fetches, monkeypatch):
    on_path = make(cache.parent / "bin/vhost-device-vsock")
    assert daemon.program() == on_path
    fetched = make(cache / "deps/vhost-device-vsock/usr/bin/vhost-device-vsock")
    assert daemon.program() == fetched
    own = make(cache.parent / "own")
    monkeypatch.setenv("VHOST_DEVICE_VSOCK", own)
    assert daemon.program() == own
    assert fetches == []


def test_the_users_own_that_is_no_program_is_named(cache, monkeypatch):
    monkeypatch.setenv("VHOST_DEVICE_VSOCK", "/no/where")
    with pytest.raises(daemon.NoDaemonError, match="VHOST_DEVICE_VSOCK=/no/where: there is no"):
        daemon.program()


def test_what_cannot_be_fetched_is_one_sentence_that_says_what_to_do(fetches):
    with pytest.raises(daemon.NoDaemonError) as raised:
        daemon.program()
    assert str(raised.value) == (
        "vhost-device-vsock cannot be fetched (no mirror answers): set VHOST_DEVICE_VSOCK to a "
        "program of your own, or do without a device (--host none)"
    )


def test_a_fetch_that_failed_is_tried_again_after_a_while_or_if_asked_for(cache, fetches):
    for _ in range(3):
        with pytest.raises(daemon.NoDaemonError, match="no mirror answers"):
            daemon.program(unasked=True)
    assert len(fetches) == 1
    with pytest.raises(daemon.NoDaemonError):
        daemon.program()
    assert len(fetches) == 2
    failed = cache / "vhost-device-vsock.failed"
    an_hour_ago = failed.stat().st_mtime - 3600
    os.utime(failed, (an_hour_ago, an_hour_ago))
    with pytest.raises(daemon.NoDaemonError):
        daemon.program(unasked=True)
    assert len(fetches) == 3


def test_a_directory_that_cannot_be_written_is_named(cache, monkeypatch):
    monkeypatch.setattr(paths, "fetched", lambda: cache.parent / "file/cache")
    (cache.parent / "file").write_text("")
    with pytest.raises(daemon.NoDaemonError, match="cannot be put into .*/file/cache"):
        daemon.program()
