# SPDX-License-Identifier: MIT
"""docs/testing.md: its files, in a project of their own, with the wheel installed."""

import re

import pytest

from mpfw import paths

DOCUMENT = (paths.ROOT / "docs/testing.md").read_text()
FILES = dict(re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", DOCUMENT, re.M | re.S))
MOST_LINES = 25


@pytest.fixture
def project(user):
    """A user's project that is as the document says."""
    for name, text in FILES.items():
        user.write(name, text)
    place = user.home / ".cache/mpfw/deps/vhost-device-vsock/usr/bin/vhost-device-vsock"
    (user.home / "my-vsock-device").symlink_to(place)
    return user


def test_the_document_has_a_test_of_about_twenty_lines():
    lines = [line for line in FILES["test_greeterd.py"].splitlines() if line.strip()]
    assert 10 < len(lines) <= MOST_LINES


def test_the_documents_tests_pass_side_by_side(project):
    project.run("mpfw", "run", "--host", "vhost-user", "-c", "pass")  # fetches the daemon
    again = "(vsock_guest, daemon):\n    test_a_guest_is_greeted(vsock_guest, daemon)\n"
    copies = "\n".join(f"def test_again_{n}{again}" for n in range(4))
    project.write("test_many.py", f"from test_greeterd import *\n{copies}")
    done = project.run("pytest", "-q", "-n", "4", "-p", "no:cacheprovider", "--strict-markers")
    assert "7 passed" in done.stdout, done.stdout


FAILING = """
import pytest

def test_of_a_fixture(vsock_guest):
    vsock_guest.run("print('the last words of a fixture')")
    assert False

@pytest.mark.vsock_device("none")
def test_of_a_block():
    import mpfw
    with mpfw.Guest(code="print('the last words of a block')", host="none") as guest:
        guest.wait_status()
        assert False

@pytest.mark.vsock_timeout(0.5)
@pytest.mark.vsock_guest(host="none")
def test_of_a_time_out(vsock_guest):
    vsock_guest.run("print('the last words before for ever')\\nwhile True: pass")

@pytest.mark.vsock_device("none")
def test_of_a_factory(vsock_guest_factory):
    one, two = vsock_guest_factory(), vsock_guest_factory(memory="32M")
    one.run("print('the last words of one')")
    two.run("print('the last words of two')")
    two.connect(7)
"""


def test_a_failing_test_shows_its_guests_last_words(user):
    user.write("test_failing.py", FAILING)
    done = user.run("pytest", "-q", "-p", "no:cacheprovider", "--vsock-device", "vhost-user")
    assert "4 failed" in done.stdout
    for whose in ("a fixture", "a block", "one", "two"):
        assert f"\nthe last words of {whose}\n" in done.stdout, whose
    assert "no answer in 0.5 s" in done.stdout
    assert "the last words before for ever" in done.stdout
    assert "the guest has no vsock device" in done.stdout
    assert done.stdout.count("guest mpfw-") == 5


def test_a_device_that_cannot_be_had_is_an_error_of_its_test(newcomer):
    newcomer.write("test_device.py", "def test_it(vsock_guest):\n    pass\n")
    done = newcomer.run("pytest", "-q", "-p", "no:cacheprovider", "--vsock-device", "vhost-vsock")
    assert done.returncode != 0
    assert "/dev/vhost-vsock" in done.stdout or "1 passed" in done.stdout
