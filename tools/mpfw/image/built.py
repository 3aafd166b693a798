# SPDX-License-Identifier: MIT
"""What `make image` leaves beside an image, and whether an image was made of it."""

from dataclasses import dataclass
from pathlib import Path

from mpfw import paths
from mpfw.image import ImageError, ffs, layout, verify


class NotBuiltError(Exception):
    """There is no build, or an image was made of another one: one sentence."""


@dataclass(frozen=True)
class Build:
    """The parts of an image, as firmware/Makefile and port/Makefile leave them."""

    port: Path = paths.BUILD / "port"
    firmware: Path = paths.BUILD / "firmware"
    mpy_cross: Path = paths.BUILD / "mpy-cross" / "mpy-cross"

    @property
    def modules(self) -> Path:
        """The directory of the modules' texts as they were frozen."""
        return self.port / "modules"

    @property
    def compiled(self) -> Path:
        """The directory of their compiled forms, upstream's modules among them."""
        return self.port / "frozen_mpy"

    @property
    def flags(self) -> list[str]:
        """How they were compiled: options of mpy-cross."""
        return (self.port / "mpy-cross.flags").read_text().split()

    @property
    def symbols(self) -> tuple[Path, Path]:
        """The ELF files with symbols: the payload's, the IPL's."""
        return self.port / "micropython.sym.elf", self.firmware / "ipl.elf"

    def check(self, image: Path) -> None:
        """Raise NotBuiltError unless `image` was made of this build, which must be complete."""
        payload, stamp = self.port / "micropython.elf", self.port / "modules.stamp"
        if not all(path.exists() for path in (payload, stamp, self.mpy_cross)):
            raise NotBuiltError(f"{self.port}: there is no build to compare with: make image")
        if stamp.stat().st_mtime > payload.stat().st_mtime:
            raise NotBuiltError(f"{self.port}: the build was broken off: make image")
        if payload_of(image) != payload.read_bytes():
            raise NotBuiltError(f"{image}: not made of the build in {self.port}: make image")


def payload_of(image: Path) -> bytes | None:
    """The payload in a flash image, None if it has none. Raises NotBuiltError."""
    places = layout.load()
    try:
        main = verify.parse(places, image.read_bytes())["main"]
    except (ImageError, OSError) as error:
        raise NotBuiltError(f"{image}: {error}") from None
    file = main.file(places.volumes["main"].file)
    section = file and file.section(ffs.SECTION_RAW)
    return section.data if section else None
