# SPDX-License-Identifier: MIT
"""The IPL's readers, compiled for this machine from the firmware's own source.

What they read lies between two inaccessible pages: reading one byte too much is a crash.
"""

import ctypes
import mmap
import subprocess
from pathlib import Path

from mpfw import paths
from mpfw.image import layout

HERE = Path(__file__).parent
SOURCES = ("volume.c", "elf.c", "memory_map.c", "fw_cfg.c")
PAGE = mmap.PAGESIZE
PROT_NONE = 0

libc = ctypes.CDLL(None, use_errno=True)


class Section(ctypes.Structure):
    """struct section"""

    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_uint32)]


class Range(ctypes.Structure):
    """struct range"""

    _fields_ = [("start", ctypes.c_uint64), ("end", ctypes.c_uint64)]


class MemoryMap(ctypes.Structure):
    """struct memory_map"""

    _fields_ = [("count", ctypes.c_uint32), ("ram", Range * 32)]


class Segment(ctypes.Structure):
    """struct segment"""

    _fields_ = [("range", Range), ("writable", ctypes.c_bool), ("executable", ctypes.c_bool)]


class Image(ctypes.Structure):
    """struct image"""

    _fields_ = [
        ("entry", ctypes.c_uint64),
        ("segments", ctypes.c_uint32),
        ("segment", Segment * 8),
    ]


IN8 = ctypes.CFUNCTYPE(ctypes.c_uint8, ctypes.c_uint16)
OUT = ctypes.CFUNCTYPE(None, ctypes.c_uint16, ctypes.c_uint32)


class Ports(ctypes.Structure):
    """struct host_ports"""

    _fields_ = [("in8", IN8), ("out", OUT)]


class Fenced:
    """Memory that ends at an inaccessible page and begins after one."""

    def __init__(self, limit):
        self.size = -(-limit // PAGE) * PAGE
        self._map = mmap.mmap(-1, self.size + 2 * PAGE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.end = base + PAGE + self.size
        for page in (base, self.end):
            if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect")

    def put(self, data):
        """Places `data` so that its last byte is the last accessible one; its address."""
        address = self.end - len(data)
        ctypes.memmove(address, bytes(data), len(data))
        return address


class IplLibrary:
    """The compiled code."""

    def __init__(self, directory: Path):
        (directory / "layout.h").write_text(layout.c_header(layout.load()))
        library = directory / "ipl.so"
        ipl = paths.ROOT / "firmware" / "ipl"
        ports = directory / "ports.c"
        ports.write_text("struct host_ports host_ports;\n")
        command: list[str | Path] = ["gcc", "-std=gnu11", "-O1", "-Wall", "-Werror"]
        command += ["-shared", "-fPIC", "-o", library]
        command += ["-include", HERE / "host_cpu.h", "-I", directory]
        command += [ports, *(ipl / name for name in SOURCES)]
        subprocess.run(command, check=True)
        self._code = ctypes.CDLL(str(library))
        self._code.volume_open.restype = ctypes.c_char_p
        self._code.elf_check.restype = ctypes.c_char_p
        self._code.memory_map_read.restype = ctypes.c_char_p
        self._memory = Fenced(2 << 20)

    def volume_open(self, volume: bytes, guid):
        """(the damaged part or None, the RAW section's data) of a volume."""
        found = Section()
        address = ctypes.c_void_p(self._memory.put(volume))
        damage = self._code.volume_open(
            address, ctypes.c_uint64(len(volume)), guid.bytes_le, ctypes.byref(found)
        )
        data = ctypes.string_at(found.data, found.size) if found.data else b""
        return damage and damage.decode(), data

    def elf_check(self, data: bytes):
        """(what is wrong or None, struct image) of a payload."""
        image = Image()
        file = Section(self._memory.put(data), len(data))
        problem = self._code.elf_check(ctypes.byref(file), ctypes.byref(image))
        return problem and problem.decode(), image

    def memory_map(self, ports):
        """(the source, [(start, end)]) of RAM, seen through ports.in8(p) and ports.out(p, v)."""
        callbacks = Ports(IN8(ports.in8), OUT(ports.out))
        Ports.in_dll(self._code, "host_ports").in8 = callbacks.in8
        Ports.in_dll(self._code, "host_ports").out = callbacks.out
        result = MemoryMap()
        source = self._code.memory_map_read(ctypes.byref(result))
        ranges = [(r.start, r.end) for r in result.ram[: result.count]]
        return source.decode(), ranges
