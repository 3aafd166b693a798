# SPDX-License-Identifier: MIT
"""The mirror comes from the machine's own apt sources, whichever way they are written."""

import pytest

from mpfw.build import debian

RELEASE = debian.codename()


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A function that makes apt believe in other sources: sources({file name: text})."""

    def use(files):
        parts = tmp_path / "sources.list.d"
        parts.mkdir()
        for name, text in files.items():
            (parts / name).write_text(text)
        config = tmp_path / "apt.conf"
        config.write_text(f'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "{parts}";\n')
        monkeypatch.setenv("APT_CONFIG", str(config))
        return debian.mirrors(tmp_path / "lists")

    return use


def test_one_line_sources(sources):
    text = f"deb [arch=amd64] http://mirror.example/debian {RELEASE} main contrib\n"
    assert sources({"debian.list": text}) == ["http://mirror.example/debian"]


def test_deb822_sources(sources):
    text = (
        f"Types: deb\nURIs: https://mirror.example/debian/\nSuites: {RELEASE}\nComponents: main\n"
    )
    assert sources({"debian.sources": text}) == ["https://mirror.example/debian"]


def test_a_file_that_lists_mirrors(sources):
    text = f"deb mirror+file:/etc/apt/mirrors/debian.list {RELEASE} main\n"
    assert sources({"debian.list": text}) == ["mirror+file:/etc/apt/mirrors/debian.list"]


def test_other_archives_are_no_mirrors(sources):
    text = (
        f"deb http://vendor.example/debian {RELEASE} stable\n"
        f"deb http://other.example/debian {RELEASE}-extras main\n"
        f"deb http://mirror.example/debian {RELEASE} main\n"
        f"deb http://mirror.example/debian {RELEASE}-updates main\n"
    )
    assert sources({"all.list": text}) == ["http://mirror.example/debian"]


def test_no_mirror_is_said_and_nothing_is_fetched(sources, tmp_path):
    sources({})
    suite = debian.Suite(tmp_path / "apt", "sid", "deb")
    with pytest.raises(debian.AptError, match="name no Debian mirror"):
        suite.binary({"hello": "1"}, tmp_path / "downloads")
