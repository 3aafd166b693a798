# SPDX-License-Identifier: MIT
"""The pytest plugin: guests as fixtures, and their last words in the report of a test that failed.

docs/testing.md describes it. Loaded with every pytest of its environment, so it loads nothing else
before a test asks for a guest.
"""

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mpfw import Guest
    from mpfw.device.faults.scripted import ScriptedDevice

_MARKERS = (
    "vsock_guest(*args, **options): what mpfw.Guest takes, for the fixture vsock_guest",
    "vsock_device(kind, seed=0): the device of this test's guests: vhost-user, device, ..., none; "
    "the seed of the fixture vsock_device",
    "vsock_timeout(seconds): how long each wait for this test's guests may take",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options for a whole run."""
    group = parser.getgroup("mpfw", "guests with vsock")
    what = "the vsock device of guests: auto, vhost-user, device, vhost-vsock or none"
    group.addoption("--vsock-device", metavar="KIND", help=what)
    parser.addini("vsock_device", what, default="auto")
    parser.addini("vsock_timeout", "seconds that each wait for a guest may take", default="60")


def pytest_configure(config: pytest.Config) -> None:
    """The markers."""
    for line in _MARKERS:
        config.addinivalue_line("markers", line)


@pytest.fixture
def vsock_device(request: pytest.FixtureRequest) -> "ScriptedDevice":
    """A device that is watched and tampered with; the guest of vsock_guest then has this one."""
    from mpfw.device.faults.scripted import ScriptedDevice

    marker = request.node.get_closest_marker("vsock_device")
    return ScriptedDevice(**marker.kwargs if marker else {})


@pytest.fixture
def vsock_guest_factory(request: pytest.FixtureRequest) -> Iterator[Callable[..., "Guest"]]:
    """A function that takes what mpfw.Guest takes and gives a guest that runs, until the test's
    end."""
    options = _options(request)
    with ExitStack() as guests:

        def start(*arguments: Any, **keywords: Any) -> "Guest":
            from mpfw import Guest

            return guests.enter_context(Guest(*arguments, **options | keywords))

        yield start


@pytest.fixture
def vsock_guest(
    request: pytest.FixtureRequest, vsock_guest_factory: Callable[..., "Guest"]
) -> "Guest":
    """A guest that is ready; the marker vsock_guest says what it is made of."""
    marker = request.node.get_closest_marker("vsock_guest")
    guest = vsock_guest_factory(*marker.args, **marker.kwargs) if marker else vsock_guest_factory()
    guest.ready()
    return guest


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What this test's guests have unless it says otherwise itself."""
    config, node = request.config, request.node
    device = node.get_closest_marker("vsock_device")
    timeout = node.get_closest_marker("vsock_timeout")
    kind = config.getoption("--vsock-device") or config.getini("vsock_device")
    seconds = timeout.args[0] if timeout else config.getini("vsock_timeout")
    options = {"host": device.args[0] if device and device.args else kind}
    if "vsock_device" in request.fixturenames:
        options["device"] = request.getfixturevalue("vsock_device")
    return options | {"timeout": float(seconds)}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the last words of every guest alive, and of those that the failure ended."""
    report = yield
    guests = sys.modules.get("mpfw.guest.guest")
    if guests is not None:
        if report.failed:
            said = [(guest.name, guest.report()) for guest in list(guests.running)]
            for name, words in [*guests.departed, *said]:
                report.sections.append((f"guest {name}", words))
        if call.when == "teardown" or report.failed:
            guests.departed.clear()
    return report
