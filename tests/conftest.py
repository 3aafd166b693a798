# SPDX-License-Identifier: MIT
"""Fixtures: the image under test, guests that boot it, and the host that carries their vsock.

A failing test's report shows what every guest had said: mpfw.pytest_plugin sees to it.
"""

import os
import re
import signal
from pathlib import Path

import pytest

from mpfw import paths
from mpfw.guest import machine as machines
from mpfw.guest.host import local_host
from mpfw.guest.machine import Machine
from mpfw.guest.overlay import OverlayError, overlay
from mpfw.guest.vsockhost import GUEST_CID
from mpfw.lab.host import lab_host

LAB_NOTES = pytest.StashKey[list]()
OVERLAY = pytest.StashKey[str]()
TESTS = Path(__file__).parent


def pytest_addoption(parser):
    """Options: which image is tested, and which vsock device carries it."""
    parser.addoption("--image", default=str(paths.IMAGE), help="the flash image under test")
    parser.addoption(
        "--host",
        default="auto",
        help="vsock device: auto, vhost-vsock, vhost-user, device, lab",
    )
    parser.addoption(
        "--messages", type=int, default=1_000_000, help="datagrams that long tests exchange"
    )
    parser.addoption("--qemu", help="the QEMU that runs the guests, as `mpfw qemu` prints it")
    parser.addoption("--overlay", help="modules that all guests run in place of the frozen ones")


def pytest_configure(config):
    """Give every guest QEMU and overlay, those that tests start as `mpfw run` among them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell without job control (`make test &` in a script) has it ignored, for all that is
        # started from here as well. Ctrl-C is tested.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    qemu = config.getoption("--qemu")
    if qemu:
        os.environ[machines.QEMU_VARIABLE] = str(Path(qemu).resolve())
    directory = config.getoption("--overlay")
    if directory:
        try:
            modules = overlay(Path(directory), Path(config.getoption("--image")))
        except OverlayError as error:
            raise pytest.UsageError(str(error)) from None
        machines.COMMON_FW_CFG |= modules.fw_cfg
        os.environ["MPFW_OVERLAY"] = str(Path(directory).resolve())
        config.stash[OVERLAY] = str(modules)


def pytest_report_header(config):
    """Say which modules are not the image's."""
    return config.stash.get(OVERLAY, None)


# Where several processes share the tests, each of these is one process's, begun in this order: the
# lab is booted once, and documents' commands listen on fixed TCP ports. After them, each file.
GROUPS = {
    "lab": r"tests/lab/|.*\[(.*-)?lab(-.*)?\]$",
    "upstream": "tests/upstream/",
    "fuzz": "tests/fuzz/",
    "documents": "tests/documents/",
}


def group(nodeid: str) -> str:
    """The tests that this one shares a process with: one of GROUPS, or its file."""
    for name, pattern in GROUPS.items():
        if re.match(pattern, nodeid):
            return name
    return nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """`pytest -n 2 --dist loadgroup`: as xdist's, whose groups pytest 9.2 does not carry over."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    if config.getoption("dist") != "loadgroup":
        return None
    config.option.loadscopereorder = False
    return Groups(config, log)


def pytest_collection_modifyitems(config, items):
    """In the lab, whose guests run nested in an emulated CPU, an interrupt gets lost once in some
    hundred tests, whatever the guest runs, and somebody waits until a time-out. Such a test is run
    once more, and the report says so (R); no other failure, and no test on this machine, gets a
    second chance.

    In a process of several, the tests of GROUPS come first."""
    again = pytest.mark.flaky(reruns=1, only_rerun=["(?i)time(d )?-?out"])
    for item in items:
        if group(item.nodeid) == "lab" or config.getoption("--host") == "lab":
            item.add_marker(again)
    if hasattr(config, "workerinput"):
        order = list(GROUPS)
        items.sort(key=lambda item: [*order, group(item.nodeid)].index(group(item.nodeid)))


@pytest.fixture(scope="session")
def image(request) -> Path:
    """Path of the image under test."""
    path = Path(request.config.getoption("--image")).resolve()
    assert path.exists(), f"{path} is missing: make image"
    return path


@pytest.fixture(scope="session")
def lab(request):
    """The lab as a host: booted once in a session, by the first test that asks for it."""
    with lab_host() as lab:
        yield lab
        request.config.stash[LAB_NOTES] = lab.notes


@pytest.fixture(scope="session")
def host(request):
    """Where guests run: this machine with the vsock device chosen, or the lab."""
    kind = getattr(request, "param", None) or request.config.getoption("--host")
    return request.getfixturevalue("lab") if kind == "lab" else local_host(kind)


@pytest.fixture
def boot(image, request):
    """A function that boots a guest: boot(vsock=True, console="socket", drive="", cid=33,
    **fields).

    Every guest ends with the test. The machine's fields are those of Machine. The host chosen
    carries vsock; a guest without it runs on this machine whichever that is.
    """
    booted = []

    def boot(vsock=False, console="socket", drive="", cid=GUEST_CID, **machine):
        host = request.getfixturevalue("host") if vsock else local_host()
        made = Machine(**{"image": image} | machine)
        guest = host.guest(made, vsock=vsock, console=console, drive=drive, cid=cid)
        guest.__enter__()
        booted.append(guest)
        return guest

    yield boot
    for guest in reversed(booted):
        guest.close()


@pytest.fixture
def repl(boot):
    """A guest without a vsock device, at its prompt."""
    guest = boot()
    guest.console.wait_prompt()
    return guest


def pytest_terminal_summary(terminalreporter, config):
    """Say what the lab had to do twice: a retry is a result as well."""
    for note in config.stash.get(LAB_NOTES, []):
        terminalreporter.write_line(f"lab: {note}")
