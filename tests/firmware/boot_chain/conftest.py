# SPDX-License-Identifier: MIT
"""Images with a tiny payload, and machines that boot them, seen from outside through QMP."""

import re
import struct
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from mpfw import paths
from mpfw.guest.guest import Guest
from mpfw.guest.machine import Machine
from mpfw.image import build
from mpfw.image import layout as layouts

HERE = Path(__file__).parent
HALT_TIMEOUT = 20


@pytest.fixture(scope="session")
def layout():
    """The project's own layout."""
    return layouts.load()


@pytest.fixture(scope="session")
def assemble(tmp_path_factory):
    """assemble(*nasm_options): a payload ELF from payload.asm."""

    def assemble(*options):
        directory = tmp_path_factory.mktemp("payload")
        source, target = directory / "payload.o", directory / "payload.elf"
        command = ["nasm", "-f", "elf64", *options, "-o", source, HERE / "payload.asm"]
        subprocess.run(command, check=True)
        command = ["ld", "-z", "max-page-size=4096", "-T", HERE / "payload.ld", "-o", target]
        subprocess.run([*command, source], check=True)
        return target.read_bytes()

    return assemble


@pytest.fixture(scope="session")
def make_image(layout, assemble):
    """make_image(payload=..., app=...): an image with the real IPL and reset vector."""
    small = assemble()

    def make(payload=small, app=b""):
        firmware = paths.BUILD / "firmware"
        parts = build.Parts(
            (firmware / "reset_vector.bin").read_bytes(),
            (firmware / "ipl.elf").read_bytes(),
            payload,
            app,
        )
        return build.build(layout, parts)

    return make


@dataclass(frozen=True)
class Hob:
    """A hand-off block: its type and its data after the 8-byte header."""

    kind: int
    data: bytes


class Seen:
    """A guest, looked at from outside."""

    def __init__(self, guest):
        self.guest = guest

    def monitor(self, line):
        """QEMU's answer to a line for its human monitor."""
        return self.guest.qmp("human-monitor-command", **{"command-line": line})

    def registers(self):
        """The registers of CPU 0 by name, as numbers."""
        text = self.monitor("info registers")
        pairs = re.findall(r"\b([A-Z][A-Z0-9]+) ?=([0-9a-f]+)\b", text)
        return {name: int(value, 16) for name, value in pairs}

    def stands_still(self, timeout=5):
        """Whether CPU 0 comes to a halt within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self.registers()["HLT"]:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def memory(self, start, size):
        """Physical memory."""
        path = self.guest.directory / "memory"
        self.guest.qmp("pmemsave", val=start, size=size, filename=str(path))
        return path.read_bytes()

    def hobs(self):
        """The HOB list that the payload was given, without its end."""
        at = self.registers()["RDI"]
        found: list[Hob] = []
        memory = self.memory(at, 0x2000)
        offset = 0
        while True:
            kind, length = struct.unpack_from("<HH", memory, offset)
            assert length >= 8 and length % 8 == 0 and offset + length <= len(memory)
            if kind == 0xFFFF:
                handoff = struct.unpack("<IIQQQQQ", found[0].data)
                assert handoff[-1] == at + offset + length, "end of the list"
                return found
            found.append(Hob(kind, memory[offset + 8 : offset + length]))
            offset += length

    def resources(self):
        """[(type, start, end)] of the resource descriptors."""
        parsed = [struct.unpack("<16sIIQQ", hob.data) for hob in self.hobs() if hob.kind == 3]
        return [(kind, base, base + length) for _, kind, _, base, length in parsed]

    def allocations(self):
        """[(name, type, start, end)] of the memory allocations."""
        parsed = [struct.unpack("<16sQQII", hob.data) for hob in self.hobs() if hob.kind == 2]
        return [
            (uuid.UUID(bytes_le=name), kind, base, base + length)
            for name, base, length, kind, _ in parsed
        ]

    def platform(self, layout):
        """The platform HOB's fields by name."""
        names = "version chipset pm_base pm_timer_bits tsc_at_reset tsc_at_handoff ecam_base"
        names += " boot_volume_base app_base app_size tsc_hz"
        for hob in self.hobs():
            if hob.kind == 4 and hob.data[:16] == layout.guids["hob_platform"].bytes_le:
                values = struct.unpack("<I4xHHH2xQQQQQQQ", hob.data[16:])
                return dict(zip(names.split(), values, strict=True))
        raise AssertionError("no platform HOB")

    def log(self):
        """The lines on debugcon."""
        return self.guest.debugcon().splitlines()

    def wait_payload(self):
        """Waits until the payload says that it runs."""
        self.guest.console.expect(b"payload reached\n", HALT_TIMEOUT)
        return self

    def wait_refused(self):
        """Waits for the IPL's last words on COM1; the line."""
        match = self.guest.console.expect(rb"ipl: ([^\r\n]*)\r\n", HALT_TIMEOUT)
        return match.group(1).decode()


@pytest.fixture
def start(tmp_path):
    """start(image bytes, **machine_fields): a machine that boots the image, as a Seen."""
    guests: list[Guest] = []

    def start(image, **machine):
        path = tmp_path / f"{len(guests)}.bin"
        path.write_bytes(image)
        guest = Guest(Machine(image=path, **machine))
        guest.__enter__()
        guests.append(guest)
        return Seen(guest)

    yield start
    for guest in guests:
        guest.close()


@pytest.fixture
def reached(start, make_image):
    """reached(**machine_fields): a machine whose payload has been entered."""

    def reached(image=None, **machine):
        return start(image or make_image(), **machine).wait_payload()

    return reached
