# SPDX-License-Identifier: MIT
"""QEMU's command line is made from a machine in one place, by the contract."""

import errno
from pathlib import Path

import pytest

from mpfw.guest import machine
from mpfw.guest.machine import Machine


def command(tmp_path, **fields):
    return Machine(**fields).command(("-serial", "null"), tmp_path / "log", tmp_path)


def option(words, name):
    return [words[at + 1] for at, word in enumerate(words) if word == name]


def test_defaults_are_the_contracts(tmp_path):
    words = command(tmp_path, image=Path("/image.bin"))
    assert option(words, "-drive") == ["if=pflash,format=raw,unit=0,file=/image.bin,readonly=on"]
    assert option(words, "-nic") == ["none"]
    assert option(words, "-m") == ["64M"]
    assert option(words, "-machine")[0].startswith("q35,")
    assert "isa-debugcon,iobase=0x402,chardev=debugcon" in option(words, "-device")


def test_commas_in_paths_are_doubled(tmp_path):
    words = command(tmp_path, image=Path("/a,b.bin"))
    assert "file=/a,,b.bin" in option(words, "-drive")[0]


def test_fw_cfg_contents_go_through_files(tmp_path):
    words = command(tmp_path, fw_cfg={"opt/one": "text", "opt/two": b"\x00bytes,"})
    values = option(words, "-fw_cfg")
    assert [value.split(",")[0] for value in values] == ["name=opt/one", "name=opt/two"]
    contents = [Path(value.split("file=")[1]).read_bytes() for value in values]
    assert contents == [b"text", b"\x00bytes,"]


def test_vhost_user_devices_share_the_memory(tmp_path):
    assert "share=on" in option(command(tmp_path, share_memory=True), "-object")[0]
    assert "share=on" not in option(command(tmp_path), "-object")[0]


@pytest.mark.parametrize(
    "opens, flags, accelerator",
    [
        (True, "fpu vmx sse", "kvm"),
        (True, "fpu svm sse", "kvm"),
        (True, "fpu sse", "tcg"),  # /dev/kvm opens and emulates every instruction
        (False, "fpu vmx sse", "tcg"),
    ],
)
def test_kvm_only_where_it_is_real(monkeypatch, opens, flags, accelerator):
    def open_kvm(path, mode):
        if not opens:
            raise PermissionError(errno.EACCES, path)
        return 99

    monkeypatch.setattr(machine.os, "open", open_kvm)
    monkeypatch.setattr(machine.os, "close", lambda fd: None)
    monkeypatch.setattr(machine.Path, "read_text", lambda self: f"flags : {flags}\n")
    assert machine.pick_accelerator() == accelerator
