# SPDX-License-Identifier: MIT
"""firmware/layout.toml as Python objects, as a C header and as a nasm include.

The one reader of that file. Needs only the standard library, so that the firmware's Makefile can
run it before anything is installed: `python3 -m mpfw.image.layout c|nasm`.
"""

import sys
import tomllib
import uuid
from dataclasses import dataclass
from pathlib import Path

from mpfw import paths

FOUR_GIB = 1 << 32
LAYOUT_FILE = paths.data(paths.LAYOUT, paths.ROOT / "firmware")


@dataclass(frozen=True)
class Volume:
    """One firmware volume: its place in the image, in the address space, and its file's GUID."""

    name: str
    offset: int
    size: int
    base: int
    file: uuid.UUID


@dataclass(frozen=True)
class Layout:
    """The whole layout; sizes and addresses in bytes."""

    flash_size: int
    block_size: int
    volumes: dict[str, Volume]
    guids: dict[str, uuid.UUID]
    ipl: dict[str, int]
    payload: dict[str, int]
    platform: dict[str, int]

    @property
    def flash_base(self) -> int:
        """Address of the image's first byte; its last one is just below 4 GiB."""
        return FOUR_GIB - self.flash_size

    @property
    def ipl_entry(self) -> int:
        """Address of the IPL's first instruction, where the reset vector jumps."""
        return self.volumes["boot"].base + self.ipl["code_offset"]


def load(path: Path = LAYOUT_FILE) -> Layout:
    """Reads a layout file; ValueError if its volumes do not fill the flash block by block."""
    with open(path, "rb") as file:
        data = tomllib.load(file)
    flash_size, block_size = data["flash"]["size"], data["flash"]["block_size"]
    volumes: dict[str, Volume] = {}
    offset = 0
    for name, entry in data["volumes"].items():
        if entry["size"] % block_size:
            raise ValueError(f"{path}: volume {name} is not a whole number of blocks")
        base = FOUR_GIB - flash_size + offset
        volumes[name] = Volume(name, offset, entry["size"], base, uuid.UUID(entry["file"]))
        offset += entry["size"]
    if offset != flash_size:
        raise ValueError(f"{path}: volumes take {offset} bytes, the flash has {flash_size}")
    guids = {name: uuid.UUID(text) for name, text in data["guids"].items()}
    return Layout(
        flash_size,
        block_size,
        volumes,
        guids,
        data["ipl"],
        data["payload"],
        data["platform"],
    )


def numbers(layout: Layout) -> dict[str, int]:
    """Every number under the name that C and nasm know it by."""
    named = {"FLASH_BASE": layout.flash_base, "FLASH_SIZE": layout.flash_size}
    named["FLASH_BLOCK_SIZE"] = layout.block_size
    for name, volume in layout.volumes.items():
        named[f"{name.upper()}_VOLUME_BASE"] = volume.base
        named[f"{name.upper()}_VOLUME_SIZE"] = volume.size
    named["IPL_ENTRY"] = layout.ipl_entry
    for prefix, table in (
        ("IPL_", layout.ipl),
        ("PAYLOAD_", layout.payload),
        ("PLATFORM_", layout.platform),
    ):
        named.update({prefix + key.upper(): value for key, value in table.items()})
    return named


def guid_initializer(guid: uuid.UUID) -> str:
    """A GUID as the C initializer of its 16 bytes, in the order in which they lie in memory."""
    return "{" + ", ".join(f"0x{byte:02x}" for byte in guid.bytes_le) + "}"


def c_header(layout: Layout) -> str:
    """The text of layout.h."""
    lines = ["// Generated from firmware/layout.toml by mpfw.image.layout.", "#pragma once", ""]
    lines += [f"#define {name} (0x{value:x}ull)" for name, value in numbers(layout).items()]
    guids = {f"GUID_{name.upper()}": guid for name, guid in layout.guids.items()}
    guids |= {f"GUID_{name.upper()}_FILE": v.file for name, v in layout.volumes.items()}
    lines += [f"#define {name} {guid_initializer(guid)}" for name, guid in guids.items()]
    return "\n".join(lines) + "\n"


def nasm_include(layout: Layout) -> str:
    """The text of layout.inc."""
    lines = ["; Generated from firmware/layout.toml by mpfw.image.layout."]
    lines += [f"%define {name} 0x{value:x}" for name, value in numbers(layout).items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    WRITERS = {"c": c_header, "nasm": nasm_include}
    if len(sys.argv) != 2 or sys.argv[1] not in WRITERS:
        sys.exit("usage: python3 -m mpfw.image.layout c|nasm")
    sys.stdout.write(WRITERS[sys.argv[1]](load()))
