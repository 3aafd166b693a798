# SPDX-License-Identifier: MIT
"""The inspector: says what is there, and an independent parser (uefi-firmware) says the same."""

import uuid

import pytest
from uefi_firmware import uefi

from mpfw import paths
from mpfw.image import build, ffs, inspect


@pytest.fixture(params=["small", "real"])
def any_image(request, small_image):
    """A made-up image and the one that `make image` built."""
    return small_image if request.param == "small" else paths.IMAGE.read_bytes()


def seen_by_uefi_firmware(image):
    """The volumes as [(size, [(guid, type, size)])]."""
    volumes = []
    for found in uefi.find_volumes(image):
        assert isinstance(found, uefi.FirmwareVolume), "bytes outside any volume"
        files = []
        for system in found.firmware_filesystems:
            files += [(uuid.UUID(bytes_le=f.guid), f.type, f.size) for f in system.files]
        volumes.append((found.size, files))
    return volumes


def test_an_independent_parser_sees_the_same_volumes_and_files(layout, any_image):
    types = {name: kind for kind, name in ffs.FILE_TYPES.items()}
    ours = [
        (
            volume["size"],
            [(uuid.UUID(f["guid"]), types[f["type"]], f["size"]) for f in volume["files"]],
        )
        for volume in inspect.inspect(layout, any_image)["volumes"]
    ]
    assert seen_by_uefi_firmware(any_image) == ours
    assert len(ours) == 3


def test_every_byte_is_either_used_or_free(layout, any_image):
    for volume in inspect.inspect(layout, any_image)["volumes"]:
        assert volume["used"] + volume["free"] == volume["size"]


def test_free_space_shrinks_by_what_is_put_in(layout, make_parts, factories):
    def free(size):
        payload = factories["payload"](rodata=bytes(size))
        report = inspect.inspect(layout, build.build(layout, make_parts(payload=payload)))
        return report["volumes"][1]["free"], report["payload"]["free"]

    (volume_before, payload_before), (volume_after, payload_after) = free(800), free(1600)
    assert volume_before - volume_after == payload_before - payload_after == 800


def test_payload_and_boot_volume_keep_their_budgets(layout):
    report = inspect.inspect(layout, paths.IMAGE.read_bytes())
    assert report["payload"]["size"] < 900_000
    boot = report["volumes"][2]
    assert boot["name"] == "boot" and boot["used"] < 64 * 1024
    assert report["findings"] == []


def test_segments_are_shown_with_their_permissions(layout, small_image):
    report = inspect.inspect(layout, small_image)
    assert [s["permissions"] for s in report["payload"]["segments"]] == ["r-x", "r--", "rw-"]


def test_text_names_every_volume_file_and_damage(layout, small_image):
    text = inspect.as_text(inspect.inspect(layout, small_image))
    for word in ("app volume", "main volume", "boot volume", "SEC core", " ipl", "payload:"):
        assert word in text
    assert "damaged" not in text
    damaged = small_image[:-1] + b"\0"
    text = inspect.as_text(inspect.inspect(layout, damaged))
    assert "damaged: boot volume: 0x1fff" in text
