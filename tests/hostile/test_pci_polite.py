# SPDX-License-Identifier: MIT
"""A PCI function of ours that tells the truth works as QEMU's own devices do, in every machine."""

from typing import Any

import pytest
from pci_guest import computes, echoes, proxied, quiet, ready, with_msi

from mpfw.device.vsock_pci import VsockFunction

WAYS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "proxy": (proxied, {"vectors": 0}, {}),
    "proxy, i440fx": (proxied, {"vectors": 0}, {"machine": "pc"}),
    "vfio-user": (with_msi, {}, {}),
    "vfio-user, i440fx": (with_msi, {}, {"machine": "pc"}),
    "vfio-user, two vectors": (with_msi, {"vectors": 2}, {}),
    "vfio-user, no event index": (with_msi, {"features": 0}, {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_echo_answers(image, way):
    served, made, machine = WAYS[way]
    function = VsockFunction(cid=34, **made)
    with served(image, function, **machine) as guest:
        assert ready(guest) == 34
        quiet(guest)
        stream = echoes(function, bytes(range(256)) * 800)
        stream.send(b"more")
        assert stream.receive(4) == b"more"
        computes(guest)
        assert function.device.errors == []
