# SPDX-License-Identifier: MIT
"""The fw_cfg reader, byte by byte, against a device in software (the DMA way needs a QEMU)."""

import pytest
from fw_cfg_device import FwCfg
from pci_machine import Machine, imported

FILES = {"opt/a": b"1", "opt/a/b": b"22", "x" * 55: b"long", "empty": b""}


def test_files_are_found_by_their_whole_name():
    with imported(FwCfg(FILES), "fw_cfg") as fw_cfg:
        assert fw_cfg.names() == list(FILES)
        for name, contents in FILES.items():
            assert fw_cfg.read(name) == contents
            assert fw_cfg.size(name) == len(contents)


@pytest.mark.parametrize("name", ("opt", "pt/a", "opt/a/", "", "x" * 54, "x" * 56, "x" * 200))
def test_what_is_no_whole_name_is_not_found(name):
    with imported(FwCfg(FILES), "fw_cfg") as fw_cfg:
        assert fw_cfg.read(name) is None
        assert fw_cfg.size(name) is None


def test_a_file_beyond_the_limit_is_not_read():
    machine = FwCfg({"big": bytes(100)})
    with imported(machine, "fw_cfg") as fw_cfg:
        fw_cfg.names()
        before = machine.reads
        with pytest.raises(ValueError, match="100 bytes, more than 99"):
            fw_cfg.read("big", 99)
        assert machine.reads == before


def test_a_directory_that_claims_billions_of_files_is_cut():
    machine = FwCfg(FILES, count=0xFFFFFFFF)
    with imported(machine, "fw_cfg") as fw_cfg:
        assert fw_cfg.read("opt/a") == b"1"
        assert machine.reads < 100_000


def test_a_machine_without_the_device_has_no_files():
    with imported(Machine({}), "fw_cfg") as fw_cfg:
        assert not fw_cfg.present()
        assert fw_cfg.names() == []
        assert fw_cfg.read("opt/a") is None


def test_a_name_that_is_no_text_is_left_out():
    machine = FwCfg({"opt/a": b"1", "opt/b": b"2"})
    machine.items[0x19] = machine.items[0x19].replace(b"opt/a", b"\xffpt/a")
    with imported(machine, "fw_cfg") as fw_cfg:
        assert fw_cfg.names() == ["opt/b"]
        assert fw_cfg.read("opt/b") == b"2"
