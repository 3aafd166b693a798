# SPDX-License-Identifier: MIT
"""What is in an image: volumes, files, sections, segments, and how much room is left."""

from typing import Any

from mpfw.image import ImageError, elf, ffs
from mpfw.image.layout import Layout
from mpfw.image.parse import File, Section, Volume
from mpfw.image.verify import parse, verify

Report = dict[str, Any]  # plain values, as JSON has them


def _section(layout: Layout, section: Section) -> Report:
    return {
        "type": ffs.SECTION_TYPES.get(section.kind, f"{section.kind:#04x}"),
        "offset": section.offset,
        "address": layout.flash_base + section.offset,
        "size": ffs.SECTION_HEADER_SIZE + len(section.data),
    }


def _file(layout: Layout, file: File) -> Report:
    return {
        "guid": str(file.name),
        "name": file.label,
        "type": ffs.FILE_TYPES.get(file.kind, f"{file.kind:#04x}"),
        "offset": file.offset,
        "address": layout.flash_base + file.offset,
        "size": file.size,
        "sections": [_section(layout, section) for section in file.sections],
    }


def _used(volume: Volume) -> int:
    pads = sum(file.size for file in volume.files if file.kind == ffs.FILE_PAD)
    return volume.size - volume.free - pads


def _volume(layout: Layout, name: str, volume: Volume) -> Report:
    return {
        "name": name,
        "offset": volume.offset,
        "address": layout.flash_base + volume.offset,
        "size": volume.size,
        "used": _used(volume),
        "free": volume.size - _used(volume),
        "files": [_file(layout, file) for file in volume.files],
    }


def _payload(layout: Layout, main: Volume) -> Report | None:
    file = main.file(layout.volumes["main"].file)
    section = file and file.section(ffs.SECTION_RAW)
    if not section:
        return None
    limit = layout.payload["file_limit"]
    size = len(section.data)
    report: Report = {"size": size, "limit": limit, "free": limit - size}
    try:
        program = elf.read(section.data)
    except ImageError:
        return report
    report["entry"] = program.entry
    report["segments"] = [
        {"address": s.vaddr, "size": s.memsz, "permissions": s.permissions}
        for s in program.segments
    ]
    return report


def inspect(layout: Layout, image: bytes) -> Report:
    """The image as a dictionary of plain values; sizes, offsets and addresses in bytes."""
    volumes = parse(layout, image)
    return {
        "size": len(image),
        "address": layout.flash_base,
        "volumes": [_volume(layout, name, volume) for name, volume in volumes.items()],
        "payload": _payload(layout, volumes["main"]),
        "findings": [f"{name} volume: {finding}" for name, finding in verify(layout, image)],
    }


def summary(report: Report) -> str:
    """One line: how full the payload's budget and the volumes are."""
    volumes = [f"{v['name']} volume {v['used']} of {v['size']}" for v in report["volumes"]]
    payload = report["payload"]
    return f"payload {payload['size']} of {payload['limit']} bytes; " + ", ".join(volumes)


def as_text(report: Report) -> str:
    """The dictionary of inspect() for people."""
    lines = [f"image: {report['size']} bytes at {report['address']:#x}"]
    for volume in report["volumes"]:
        lines.append(
            f"{volume['name']} volume at {volume['address']:#x}: {volume['size']} bytes, "
            f"{volume['used']} used, {volume['free']} free"
        )
        for file in volume["files"]:
            lines.append(
                f"  {file['offset']:#08x} {file['size']:>8} {file['type']:<9} "
                f"{file['guid']} {file['name']}".rstrip()
            )
            lines += [
                f"    {section['offset']:#08x} {section['size']:>8} {section['type']} section"
                for section in file["sections"]
            ]
    payload = report["payload"]
    if payload:
        lines.append(
            f"payload: {payload['size']} bytes of at most {payload['limit']}, "
            f"{payload['free']} to spare"
        )
        lines += [
            f"  {segment['address']:#010x} {segment['size']:>8} {segment['permissions']}"
            for segment in payload.get("segments", ())
        ]
    lines += [f"damaged: {finding}" for finding in report["findings"]]
    return "\n".join(lines)
