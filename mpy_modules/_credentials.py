# SPDX-License-Identifier: MIT
"""Credentials: what a VMM tells its guest by name, the way systemd reads them.

From fw_cfg, `-fw_cfg name=opt/io.systemd.credentials/NAME,...`, or from a string of SMBIOS type 11
(DSP0134, 7.12), `-smbios type=11,value=io.systemd.credential:NAME=VALUE`; with
`io.systemd.credential.binary:` the value is base64. The host chooses all of it, so every length is
checked.
"""

import binascii

import fw_cfg
from micropython import const

_FOLDER = "opt/io.systemd.credentials/"
_TABLES = "etc/smbios/smbios-tables"
_TEXT = b"io.systemd.credential:"
_BINARY = b"io.systemd.credential.binary:"
_LIMIT = const(1 << 20)  # bytes; systemd's own limit for all credentials together
_OEM_STRINGS = const(11)  # a structure's type
_END = const(127)
_HEADER = const(4)  # u8 type, u8 length of the formatted part, le16 handle


def read(name):
    """The value of a credential, as bytes; None if the host gave none of that name.

    fw_cfg comes before SMBIOS. Raises ValueError for one that is too long, or no base64.
    """
    value = fw_cfg.read(_FOLDER + name, _LIMIT)
    if value is not None:
        return bytes(value)
    tables = fw_cfg.read(_TABLES, _LIMIT)
    if tables is None or tables.find(b"io.systemd.credential") < 0:
        return None
    wanted = name.encode() + b"="
    for text in oem_strings(tables):
        for prefix in (_TEXT, _BINARY):
            if text.startswith(prefix + wanted):
                value = text[len(prefix) + len(wanted) :]
                return _decoded(name, value) if prefix is _BINARY else value
    return None


def oem_strings(tables):
    """The strings of all structures of type 11, as bytes; of tables that are cut short, those
    before the cut."""
    found = []
    at = 0
    tables = bytes(tables)
    while at + _HEADER <= len(tables) and tables[at] != _END and tables[at + 1] >= _HEADER:
        kind = tables[at]
        at += tables[at + 1]
        end = tables.find(b"\0\0", at)
        if end < 0:
            break
        if kind == _OEM_STRINGS and end > at:
            found.extend(tables[at:end].split(b"\0"))
        at = end + 2
    return found


def _decoded(name, value):
    try:
        return binascii.a2b_base64(value)
    except ValueError:
        raise ValueError("the credential %s is no base64" % name)
