# SPDX-License-Identifier: MIT
"""The fw_cfg reader, byte by byte and by DMA, against a device in software, which may lie."""

import builtins
import contextlib
import struct
from errno import EIO, ENOMEM

import pytest
from fw_cfg_device import ERROR, READ, SELECT, FwCfg, FwCfgDma, address_of
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


# -- a host that lies

BOTH = pytest.mark.parametrize("device", [FwCfg, FwCfgDma])


@contextlib.contextmanager
def read_from(machine):
    """The module, which reads from that device."""
    with imported(machine, "fw_cfg") as fw_cfg:
        fw_cfg.addressof = address_of
        yield fw_cfg


def directory(*entries, count=None):
    """A directory's bytes of (size, key, name) entries; names are 56 bytes."""
    raw = struct.pack(">I", len(entries) if count is None else count)
    return raw + b"".join(
        struct.pack(">IHH56s", size, key, 0, name) for size, key, name in entries
    )


def test_dma_reads_what_there_is():
    machine = FwCfgDma(FILES)
    with read_from(machine) as fw_cfg:
        assert fw_cfg.names() == list(FILES)
        for name, contents in FILES.items():
            assert fw_cfg.read(name) == contents
    assert machine.reads == 0


@pytest.mark.parametrize("end", [ERROR, READ, READ | SELECT, 0xFFFFFFFF])
def test_dma_that_fails_or_does_not_end_is_eio_at_once(end):
    """QEMU has done a transfer when the register's write returns; who has not never will."""
    machine = FwCfgDma(FILES, end=end, after=2)
    with read_from(machine) as fw_cfg:
        assert fw_cfg.size("opt/a/b") == 2
        with pytest.raises(OSError, match="DMA transfer failed") as caught:
            fw_cfg.read("opt/a/b")
        assert caught.value.errno == EIO
    assert len(machine.asked) == 3


@pytest.mark.parametrize("after", [0, 1])
def test_a_directory_that_cannot_be_read_names_no_files(after):
    machine = FwCfgDma(FILES, end=ERROR, after=after)
    with read_from(machine) as fw_cfg:
        assert fw_cfg.names() == []
        assert fw_cfg.read("opt/a") is None
    assert len(machine.asked) == after + 1  # nor is it tried again
    assert [line[0] for line in machine.log_lines] == ["WARNING"]


@BOTH
def test_a_directory_of_billions_of_files_is_cut(device):
    machine = device(FILES, count=0xFFFFFFFF)
    with read_from(machine) as fw_cfg:
        assert fw_cfg.read("opt/a") == b"1"
        assert fw_cfg.read("no such file") is None
        assert machine.reads < 100_000


@BOTH
def test_names_without_an_end_and_names_that_are_no_text_are_no_files(device):
    machine = device({})
    entries = [
        (1, 1, b"n" * 56),
        (1, 2, b"\xff\xfe"),
        (1, 3, b""),
        (1, 4, b"good"),
        (1, 5, b"good"),
    ]
    machine.items[0x19] = directory(*entries)
    machine.items[4] = b"4"
    with read_from(machine) as fw_cfg:
        assert fw_cfg.names() == ["", "good", "good"]
        assert fw_cfg.read("good") == b"4"
        for n in (54, 55, 56, 57):
            assert fw_cfg.read("n" * n) is None


@BOTH
@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x80000000, (64 << 20) + 1])
def test_a_size_beyond_all_limits_is_not_read(device, size):
    machine = device({})
    machine.items[0x19] = directory((size, 1, b"big"))
    with read_from(machine) as fw_cfg:
        with pytest.raises(ValueError, match=f"big has {size} bytes, more than"):
            fw_cfg.read("big")
        assert fw_cfg.size("big") == size
        assert machine.reads < 100


@BOTH
def test_a_size_beyond_the_memory_is_enomem(device):
    machine = device({})
    machine.items[0x19] = directory((64 << 20, 1, b"big"))

    def small_memory(size=0):
        if size > 1 << 20:
            raise MemoryError
        return builtins.bytearray(size)

    with read_from(machine) as fw_cfg:
        fw_cfg.bytearray = small_memory
        with pytest.raises(
            OSError, match="no memory for the 67108864 bytes of fw_cfg's big"
        ) as no:
            fw_cfg.read("big")
        assert no.value.errno == ENOMEM
        assert machine.reads < 100


@BOTH
def test_a_file_shorter_than_its_size_ends_in_zeros(device):
    machine = device({})
    machine.items[0x19] = directory((1000, 1, b"short"), (1000, 2, b"nothing"))
    machine.items[1], machine.items[2] = b"x", b""
    with read_from(machine) as fw_cfg:
        assert fw_cfg.read("short") == b"x" + bytes(999)
        assert fw_cfg.read("nothing") == bytes(1000)


def test_what_changes_between_two_reads_is_the_first_directory_and_whatever_contents_came():
    def changes(device):
        n = len(device.asked)
        if n == 1:  # between the count and the entries
            device.items[0x19] = directory(*[(9, 1, b"opt/a")] * 2000)
        elif n == 2:
            device.items[0x19] = directory((0xFFFFFFFF, 2, b"opt/a"))
        device.items[1] = bytes([n]) * 20

    machine = FwCfgDma(FILES, changes=changes)
    with read_from(machine) as fw_cfg:
        assert fw_cfg.read("opt/a") == bytes([2]) * 9
        assert fw_cfg.read("opt/a") == bytes([3]) * 9
        assert fw_cfg.size("opt/a") == 9
        assert fw_cfg.names() == ["opt/a"] * len(FILES)
    assert machine.asked == [4, 64 * len(FILES), 9, 9]


def test_dma_that_comes_and_goes_is_read_either_way():
    class Fickle(FwCfgDma):
        looks = 0

        def port_read(self, port, width):
            self.looks += port == 0x514
            return 0 if port == 0x514 and self.looks % 2 else super().port_read(port, width)

    with read_from(Fickle(FILES)) as fw_cfg:
        for name, contents in FILES.items():
            assert len(fw_cfg.read(name) or b"") in (0, len(contents))


class WithBus(FwCfg):
    """With the PCI machine's configuration space as well."""

    def port_read(self, port, width):
        kind = Machine if port >= 0xCF8 else FwCfg
        return kind.port_read(self, port, width)

    def port_write(self, port, value, width):
        kind = Machine if port >= 0xCF8 else FwCfg
        kind.port_write(self, port, value, width)


@pytest.mark.parametrize("size", [9, 0xFFFFFFFF])
def test_a_file_of_roots_that_is_none_leaves_the_bus_as_it_is(size):
    machine = WithBus({})
    machine.items[0x19] = directory((size, 1, b"etc/extra-pci-roots"))
    machine.items[1] = b"\xff" * 9
    with imported(machine, "pci") as pci:
        assert len(pci.devices()) == 1
    assert [line for line in machine.log_lines if line[0] == "WARNING"]
