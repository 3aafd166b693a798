# SPDX-License-Identifier: MIT
"""Which QEMU serves a test that needs a device which not every QEMU has."""

import pytest

from mpfw.lab import qemus

FETCHED = "fetched of %s"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """own(version, *devices): the machine's QEMU is such; nothing is fetched."""
    monkeypatch.setattr(qemus, "provide", lambda suite, build: FETCHED % suite)

    def own(version, *devices):
        program = tmp_path / f"qemu-{version}-{len(devices)}"
        known = "|".join(f"{device},help" for device in devices)
        program.write_text(
            f"#!/bin/sh\n[ $1 = --version ] && echo QEMU emulator version {version} && exit\n"
            f"case $2 in {known}) echo ${{2%,help}} options:; exit;; esac\n"
            'echo "-device $2: not found" >&2\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("MPFW_QEMU", str(program))
        return str(program)

    return own


def chosen(tmp_path):
    return qemus.with_device("vfio-user-pci", "sid", tmp_path)


def test_the_machines_own_if_it_has_the_device(own, tmp_path):
    program = own("10.1.0", "virtio-rng-pci", "vfio-user-pci")
    assert chosen(tmp_path) == program


@pytest.mark.parametrize(
    "version, devices", [("10.2.0", ("x-pci-proxy-dev",)), ("10.0.13", ("vfio-user-pci",))]
)
def test_else_that_of_the_release(own, tmp_path, version, devices):
    own(version, *devices)
    assert chosen(tmp_path) == FETCHED % "sid"


@pytest.mark.parametrize("version, ours", [("7.2.22", True), ("7.1.0", False), ("10.0.13", False)])
def test_the_proxy_works_in_few(own, tmp_path, version, ours):
    program = own(version, "x-pci-proxy-dev")
    found = qemus.with_device("x-pci-proxy-dev", "bookworm", tmp_path)
    assert found == (program if ours else FETCHED % "bookworm")


def test_no_qemu_at_all_is_the_releases_as_well(own, tmp_path, monkeypatch):
    monkeypatch.setenv("MPFW_QEMU", str(tmp_path / "nowhere"))
    assert chosen(tmp_path) == FETCHED % "sid"
