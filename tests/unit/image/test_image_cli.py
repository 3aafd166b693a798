# SPDX-License-Identifier: MIT
"""`mpfw image`: the command line, its errors and its exit codes."""

import errno
import json
import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from mpfw import paths
from mpfw.image import ffs
from mpfw.image.cli import image as command
from mpfw.image.verify import parse


@pytest.fixture
def run(tmp_path, make_parts):
    """run("build", ...): the command with the parts' files given; returns click's result."""
    parts = make_parts()
    for name, data in (
        ("reset_vector.bin", parts.reset_vector),
        ("ipl.elf", parts.ipl),
        ("payload.elf", parts.payload),
    ):
        (tmp_path / name).write_bytes(data)

    def run(verb, *arguments):
        if verb == "build":
            arguments = (
                *("--reset-vector", tmp_path / "reset_vector.bin"),
                *("--ipl", tmp_path / "ipl.elf", "--payload", tmp_path / "payload.elf"),
                *("-o", tmp_path / "flash.bin", *arguments),
            )
        return CliRunner().invoke(command, [verb, *map(str, arguments)])

    return run


def app_data(layout, path):
    """The app volume's ROMFS image."""
    volume = parse(layout, path.read_bytes())["app"]
    file = volume.file(layout.volumes["app"].file)
    assert file is not None
    section = file.section(ffs.SECTION_RAW)
    assert section is not None
    return section.data


def test_build_then_verify_then_inspect(run, tmp_path):
    result = run("build")
    assert result.exit_code == 0
    assert re.search(r"payload \d+ of 900000 bytes; .*boot volume \d+ of 65536", result.stdout)
    result = run("verify", tmp_path / "flash.bin")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'flash.bin'}: whole\n")
    report = json.loads(run("inspect", "--json", tmp_path / "flash.bin").stdout)
    assert [volume["name"] for volume in report["volumes"]] == ["app", "main", "boot"]
    assert "payload:" in run("inspect", tmp_path / "flash.bin").stdout


def test_verify_prints_a_line_per_finding_and_fails(run, tmp_path):
    run("build")
    path = tmp_path / "flash.bin"
    data = bytearray(path.read_bytes())
    data[0x100] ^= 1  # the app volume's free space
    data[0xF0000 + 0x48] ^= 1  # the payload file's name
    path.write_bytes(data)
    result = run("verify", path)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0] == f"{path}: app volume: 0x000100: free space: not erased"
    assert lines[1].startswith(f"{path}: main volume: 0x0f0048: file header checksum: ")


def test_app_directory_becomes_a_romfs(run, tmp_path, layout):
    app = tmp_path / "app"
    (app / "lib").mkdir(parents=True)
    (app / "__pycache__").mkdir()
    (app / "main.py").write_text("import lib.thing\n")
    (app / "lib" / "thing.py").write_text("print('thing')\n")
    assert run("build", "--app", app).exit_code == 0
    data = app_data(layout, tmp_path / "flash.bin")
    assert data.startswith(b"\xd2\xcd1")
    for expected in (b"main.py", b"import lib.thing\n", b"lib", b"thing.py", b"print('thing')\n"):
        assert expected in data
    assert b"__pycache__" not in data


def test_app_file_is_taken_as_a_romfs(run, tmp_path, layout):
    romfs = tmp_path / "app.romfs"
    romfs.write_bytes(b"\xd2\xcd1\x00")
    assert run("build", "--app", romfs).exit_code == 0
    assert app_data(layout, tmp_path / "flash.bin") == b"\xd2\xcd1\x00"
    romfs.write_bytes(b"print('not a romfs')")
    result = run("build", "--app", romfs)
    assert result.exit_code == 1
    assert f"{romfs}: neither a directory nor a ROMFS image" in result.stderr


@pytest.mark.parametrize("name", ["reset_vector.bin", "ipl.elf", "payload.elf"])
def test_a_missing_part_is_named_and_the_old_image_stays(run, tmp_path, name):
    (tmp_path / "flash.bin").write_bytes(b"the user's")
    (tmp_path / name).unlink()
    result = run("build")
    assert result.exit_code == 1
    assert f"{tmp_path / name}: No such file" in result.stderr
    assert (tmp_path / "flash.bin").read_bytes() == b"the user's"


def test_a_missing_app_is_named(run, tmp_path):
    result = run("build", "--app", tmp_path / "nowhere")
    assert result.exit_code == 1
    assert f"{tmp_path / 'nowhere'}: No such file" in result.stderr


def test_a_failing_build_leaves_nothing_behind(run, tmp_path):
    (tmp_path / "payload.elf").write_bytes(b"not an ELF")
    before = sorted(tmp_path.iterdir())
    result = run("build")
    assert result.exit_code == 1
    assert "payload: ELF header: not an ELF" in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_failing_write_keeps_the_old_image(run, tmp_path, monkeypatch):
    path = tmp_path / "flash.bin"
    path.write_bytes(b"the user's")

    def full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(os, "replace", full_disk)
    result = run("build")
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert path.read_bytes() == b"the user's"
    assert not list(tmp_path.glob(".flash.bin*"))


def test_a_file_that_is_no_image_is_refused_clearly(run, tmp_path):
    path = tmp_path / "something"
    path.write_bytes(b"short")
    assert run("verify", path).exit_code == 1
    result = run("inspect", path)
    assert result.exit_code == 1
    assert "image: 5 bytes, not 2097152" in result.stderr


def test_the_package_runs_as_a_module():
    result = subprocess.run(
        [sys.executable, "-m", "mpfw", "image", "--help"],
        env=os.environ | {"PYTHONPATH": str(paths.ROOT / "tools")},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    for verb in ("build", "inspect", "verify"):
        assert verb in result.stdout
