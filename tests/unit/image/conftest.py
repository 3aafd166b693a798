# SPDX-License-Identifier: MIT
"""Images made of made-up parts: what the builder needs is bytes, not a compiler."""

import importlib.util
import struct
from pathlib import Path

import pytest

from mpfw.image import build, elf
from mpfw.image import layout as layouts

HERE = Path(__file__).parent
RESET_VECTOR_SIZE = 0x40


def make_elf(entry, segments):
    """A static x86-64 ELF of (vaddr, flags, data, memsz) segments."""
    table_end = elf.HEADER.size + elf.SEGMENT.size * len(segments)
    header = elf.HEADER.pack(
        b"\x7fELF",
        *(elf.CLASS_64, elf.LITTLE, 1, 0, 0),
        *(elf.EXEC, elf.X86_64, 1),
        *(entry, elf.HEADER.size, 0, 0, elf.HEADER.size),
        *(elf.SEGMENT.size, len(segments), 0, 0, 0),
    )
    table, contents = b"", b""
    for vaddr, flags, data, memsz in segments:
        offset = table_end + len(contents)
        table += elf.SEGMENT.pack(
            elf.PT_LOAD, flags, offset, vaddr, vaddr, len(data), memsz, elf.PAGE
        )
        contents += data
    return header + table + contents


def make_payload(text=b"\xf4", rodata=b"constant", data=b"variable", bss=100):
    """A payload as the port's linker script makes it: R+X, R, R+W, from 2 MiB up."""
    text_at = 0x200000
    rodata_at = text_at + -(-len(text) // elf.PAGE) * elf.PAGE
    data_at = rodata_at + -(-len(rodata) // elf.PAGE) * elf.PAGE
    segments = [
        (text_at, elf.PF_R | elf.PF_X, text, len(text)),
        (rodata_at, elf.PF_R, rodata, len(rodata)),
        (data_at, elf.PF_R | elf.PF_W, data, len(data) + bss),
    ]
    return make_elf(text_at, segments)


def make_ipl(layout, code=b"\xf4" * 999):
    """An IPL as firmware/Makefile links it: one segment of code at its place in flash."""
    entry = layout.ipl_entry
    return make_elf(entry, [(entry, elf.PF_R | elf.PF_X, code, len(code))])


def make_reset_vector(size=RESET_VECTOR_SIZE):
    """A reset vector that jumps to its own first byte."""
    jump = b"\xe9" + struct.pack("<h", -(size - 16 + 3))
    return (b"\xf4" * (size - 16) + jump).ljust(size, b"\xff")


class Blob(bytes):
    """Bytes that a failing test's report does not print."""

    def __repr__(self):
        return f"<{len(self)} bytes>"


@pytest.fixture(scope="session")
def layout():
    """The project's own layout."""
    return layouts.load()


@pytest.fixture(scope="session")
def make_parts(layout):
    """make_parts(**replacements): the parts of a small image."""

    def make(payload=None, ipl=None, reset_vector=None, app=b""):
        return build.Parts(
            reset_vector or make_reset_vector(),
            ipl or make_ipl(layout),
            payload or make_payload(),
            app,
        )

    return make


@pytest.fixture(scope="session")
def small_image(layout, make_parts):
    """A whole image with something in each of its volumes."""
    return Blob(build.build(layout, make_parts(app=b"\xd2\xcd1" + b"\x01rom")))


@pytest.fixture(scope="session")
def factories():
    """The functions that make ELF files, for tests that need odd ones, and Blob."""
    return {
        "blob": Blob,
        "elf": make_elf,
        "payload": make_payload,
        "ipl": make_ipl,
        "reset": make_reset_vector,
    }


@pytest.fixture(scope="session")
def ipl(tmp_path_factory):
    """The IPL's readers, compiled for this machine."""
    spec = importlib.util.spec_from_file_location("ipl_library", HERE / "ipl_library.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.IplLibrary(tmp_path_factory.mktemp("ipl"))
