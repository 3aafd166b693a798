# SPDX-License-Identifier: MIT
"""Fixtures of the interoperability tests: guests with a vsock device, whichever carries it.

What a device cannot show at all is decided here, in one place, and said when a test is skipped.
"""

import errno
import os

import pytest
from sides import GuestSide

from mpfw.guest.driven import AGENT
from mpfw.guest.vsockhost import kernel_device_usable

_NO_GROWTH = (
    "the kernel never asks for credit: as with a Linux guest, a client that writes more than both "
    "windows before it reads waits for ever"
)
LACKS = {  # what a device does not do, by its kind
    "vhost-vsock": {"unbounded write": _NO_GROWTH},
    "lab": {"unbounded write": _NO_GROWTH},
    "vhost-user": {
        "half-close": "vhost-device-vsock makes SHUTDOWN of both directions out of a client's "
        "half-close (rust-vmm/vhost-device#874)",
        "slow reader": "vhost-device-vsock can forget what a client that has stopped sending does "
        "not take at once (Failed to re-enable EPOLLOUT)",
        "unread end": "vhost-device-vsock does not tell of a client that closes with bytes unread",
        "refusal": "vhost-device-vsock does not answer a REQUEST for a port nobody listens on",
        "seqpacket": "vhost-device-vsock does not offer VIRTIO_VSOCK_F_SEQPACKET",
    },
}


def pytest_configure(config):
    config.addinivalue_line("markers", "needs(*what): the vsock device does all of this")
    config.addinivalue_line(
        "markers", "once: the vsock device makes no difference; not in the lab"
    )


def pytest_generate_tests(metafunc):
    """Unless a host is chosen, a machine without the kernel's device runs every test twice: over
    vhost-device-vsock here and, unchanged, over the kernel's device in the lab."""
    if metafunc.config.getoption("--host") == "auto" and not kernel_device_usable():
        once = metafunc.definition.get_closest_marker("once")
        hosts = ["vhost-user"] if once else ["vhost-user", "lab"]
        metafunc.parametrize("host", hosts, indirect=True, scope="session")


@pytest.fixture
def lacks(host):
    """What this host's vsock device does not do: name -> reason."""
    return LACKS.get(host.kind, {})


@pytest.fixture
def refusal(lacks):
    """The errno of the guest's connect() to a port of the host that nobody listens on."""
    return errno.ETIMEDOUT if "refusal" in lacks else errno.ECONNRESET


@pytest.fixture(autouse=True)
def device_is_able(request, lacks, host):
    """Skip a test of what the vsock device cannot show; tests/lab shows it in any case."""
    for marker in request.node.iter_markers("needs"):
        for what in marker.args:
            if what in lacks:
                pytest.skip(f"{what}: {lacks[what]}")
    if request.node.get_closest_marker("once") and host.kind == "lab":
        pytest.skip("the device makes no difference, and the lab is slow")


@pytest.fixture
def mebibytes(host):
    """Size of a bulk transfer; INTEROP_MIB=16 makes it short on a slow machine, as the lab is."""
    return int(os.environ.get("INTEROP_MIB") or (16 if host.kind == "lab" else 256))


@pytest.fixture
def boot_idle(boot):
    """boot_idle(**machine_fields): a GuestSide on a guest with a vsock device and no payload."""

    def boot_idle(**machine):
        return GuestSide(boot(vsock=True, drive=AGENT, **machine))

    return boot_idle


@pytest.fixture
def guest_side(boot_idle):
    """Runs a test's functions in a guest."""
    return boot_idle()


@pytest.fixture
def vsock(guest_side):
    """The host's side of that guest's device: dial, listen."""
    return guest_side.guest.vsock


@pytest.fixture
def echo(boot):
    """A guest that runs the built-in payload and listens."""
    guest = boot(vsock=True)
    guest.console.expect("READY vsock cid=33 port=1234", 30)
    return guest
