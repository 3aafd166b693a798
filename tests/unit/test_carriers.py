# SPDX-License-Identifier: MIT
"""Which of QEMU's devices carries datagrams."""

import pytest

from mpfw.guest import carriers
from mpfw.run.parts import Options, Refused, datagram_carrier


@pytest.fixture
def qemu(tmp_path):
    """qemu(version, *devices): a program that says that it is such a QEMU."""

    def qemu(version, *devices):
        program = tmp_path / f"qemu-{version}-{len(devices)}"
        known = "|".join(f"{device},help" for device in devices) or "none"
        program.write_text(
            f"#!/bin/sh\n[ $1 = --version ] && echo QEMU emulator version {version} && exit\n"
            f"case $2 in {known}) echo ${{2%,help}} options:; exit;; esac\n"
        )
        program.chmod(0o755)
        return str(program)

    return qemu


@pytest.mark.parametrize(
    "version, device",
    [
        ("7.2.22", "x-pci-proxy-dev"),
        ("10.1.0", "vfio-user-pci"),
        ("11.1.3", "vhost-user-test-device-pci"),
    ],
)
def test_the_best_that_a_qemu_has_is_chosen(qemu, version, device):
    assert carriers.choose(qemu(version, *carriers.CARRIERS)) == device


def test_only_what_is_built_in_counts(qemu):
    found = carriers.choose(qemu("11.1.3", "vfio-user-pci", "x-pci-proxy-dev"))
    assert found == "vfio-user-pci"


@pytest.mark.parametrize("version", ["7.1.0", "8.2.0", "10.0.13"])
def test_where_there_is_none_it_is_a_sentence(qemu, version):
    program = qemu(version, *carriers.CARRIERS)
    with pytest.raises(Refused, match="this QEMU has no device that lets a guest see them"):
        datagram_carrier(Options(qemu=program, datagrams=True))


@pytest.mark.parametrize("more", [{"host": "none"}, {"host": "vhost-user"}, {"group": "a"}])
def test_other_hosts_have_none(qemu, more):
    with pytest.raises(Refused, match="--datagrams: not with --group"):
        datagram_carrier(Options(qemu=qemu("11.1.3"), datagrams=True, **more))
