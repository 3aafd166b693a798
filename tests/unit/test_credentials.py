# SPDX-License-Identifier: MIT
"""Credentials as systemd's VMMs give them: SMBIOS type 11 strings and fw_cfg files."""

import base64
import struct
from contextlib import contextmanager

import pytest
from fw_cfg_device import FwCfg
from hypothesis import given
from hypothesis import strategies as st
from pci_machine import imported

TABLES = "etc/smbios/smbios-tables"
NAME = "vmm.notify_socket"


def structure(kind, formatted=b"", strings=()):
    """A structure of SMBIOS, as DSP0134 6.1 has it."""
    texts = b"".join(text + b"\0" for text in strings) or b"\0"
    return struct.pack("<BBH", kind, 4 + len(formatted), kind) + formatted + texts + b"\0"


def oem(*strings):
    return structure(11, bytes([len(strings)]), strings)


END = structure(127)


@contextmanager
def credentials(files):
    with imported(FwCfg(files), "_credentials") as module:
        yield module


def read(files, name=NAME):
    with credentials(files) as module:
        return module.read(name)


def test_a_string_among_other_structures():
    tables = (
        structure(0, bytes(20), [b"SeaBIOS", b"1.0"])
        + structure(1, bytes(23))
        + structure(17, bytes(10), [b"io.systemd.credential:vmm.notify_socket=not of type 11"])
        + oem(b"something else", b"io.systemd.credential:vmm.notify_socket=vsock:2:1234")
        + END
    )
    assert read({TABLES: tables}) == b"vsock:2:1234"
    assert read({TABLES: tables}, "vmm.notify") is None
    assert read({TABLES: tables}, "vmm.notify_socket2") is None


def test_several_structures_of_type_11_and_the_first_of_a_name():
    tables = (
        oem(b"io.systemd.credential:a=1")
        + oem(b"io.systemd.credential:b=2=3", b"io.systemd.credential:a=4")
        + END
    )
    assert read({TABLES: tables}, "a") == b"1"
    assert read({TABLES: tables}, "b") == b"2=3"


def test_binary_is_base64():
    value = bytes(range(256))
    text = b"io.systemd.credential.binary:vmm.notify_socket=" + base64.b64encode(value)
    assert read({TABLES: oem(text) + END}) == value
    with pytest.raises(ValueError, match="the credential vmm.notify_socket is no base64"):
        read({TABLES: oem(b"io.systemd.credential.binary:vmm.notify_socket=a") + END})


def test_fw_cfg_comes_first():
    tables = oem(b"io.systemd.credential:vmm.notify_socket=smbios") + END
    files = {TABLES: tables, "opt/io.systemd.credentials/" + NAME: b"fw_cfg"}
    assert read(files) == b"fw_cfg"


def test_a_host_that_says_nothing():
    assert read({}) is None
    assert read({TABLES: b""}) is None
    assert read({TABLES: structure(1, bytes(23), [b"QEMU"]) + END}) is None


def test_what_comes_after_the_end_is_nothing():
    tables = END + oem(b"io.systemd.credential:vmm.notify_socket=late")
    assert read({TABLES: tables}) is None


@given(st.binary(max_size=200), st.integers(0, 200))
def test_damaged_tables_are_survived(noise, cut):
    good = oem(b"io.systemd.credential:vmm.notify_socket=vsock:2:1") + END
    with credentials({}) as module:
        for tables in (noise, good[:cut], good[:cut] + noise, bytes([11, 5]) + noise):
            for text in module.oem_strings(tables):
                assert b"\0" not in text
        assert module.oem_strings(good) == [b"io.systemd.credential:vmm.notify_socket=vsock:2:1"]
