# SPDX-License-Identifier: MIT
"""Fixtures for what only the kernel's vsock device shows: a host that has it, and guests there."""

import pytest
from sides import GuestSide, HostSide

from mpfw.guest import vsockhost
from mpfw.guest.driven import AGENT
from mpfw.guest.host import local_host
from mpfw.guest.machine import Machine


@pytest.fixture(scope="session")
def kernel(request):
    """A host with the kernel's vsock device: this machine if it has one, otherwise the lab."""
    wanted = request.config.getoption("--host")
    if wanted in ("auto", "vhost-vsock") and vsockhost.kernel_device_usable():
        return local_host("vhost-vsock")
    return request.getfixturevalue("lab")


@pytest.fixture
def boot_kernel(image, kernel):
    """boot_kernel(cid=33, **machine_fields): a started guest there; it ends with the test."""
    guests = []

    def boot(cid=vsockhost.GUEST_CID, drive="", **machine):
        guest = kernel.guest(Machine(image=image, **machine), cid=cid, drive=drive)
        guests.append(guest)
        return guest.__enter__()

    yield boot
    for guest in reversed(guests):
        guest.close()


@pytest.fixture
def echo(boot_kernel):
    """A guest that runs the built-in echo payload and listens."""
    guest = boot_kernel()
    guest.console.expect("READY vsock cid=33 port=1234", 30)
    return guest


@pytest.fixture
def host_side(kernel):
    """Runs a test's functions beside the guest."""
    return HostSide(kernel)


@pytest.fixture
def guest_side(boot_kernel):
    """Runs a test's functions in a guest without the echo payload."""
    return GuestSide(boot_kernel(drive=AGENT))
