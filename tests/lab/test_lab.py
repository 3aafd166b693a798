# SPDX-License-Identifier: MIT
"""The lab itself: programs, files and streams inside it, and that it is what it claims to be."""

import hashlib
import os
import socket
import subprocess
import threading
import time

import pytest

from mpfw.guest.programs import ProgramError, drain

LOOPBACK = 1  # VMADDR_CID_LOCAL, which Python 3.11 does not name


@pytest.fixture
def guest(lab):
    """The lab's own Linux guest."""
    return lab.lab


def test_program_gives_exit_code_output_and_errors(guest):
    result = guest.run(["sh", "-c", "cat; echo oops >&2; exit 7"], stdin=b"words", check=False)
    assert (result.code, result.out, result.err) == (7, b"words", b"oops\n")


def test_failed_program_is_an_error_that_shows_what_it_said(guest):
    with pytest.raises(ProgramError, match="No such file"):
        guest.run(["cat", "/no/such/file"])


def test_missing_program_is_an_oserror(guest):
    with pytest.raises(FileNotFoundError):
        guest.run(["no-such-program"])


def test_program_that_takes_too_long_is_killed(guest):
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        guest.run(["sleep", "60"], timeout=0.5)
    assert time.monotonic() - started < 50


def test_signal_ends_a_program(guest):
    process = guest.spawn(["sleep", "60"])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)
    process.terminate()
    assert process.wait(5) == -15
    process.close()


def test_program_talks_while_it_runs(guest):
    process = guest.spawn(["cat"])
    for word in (b"one", b"two"):
        process.stdio.sendall(word)
        assert process.stdio.recv(10) == word
    process.stdio.shutdown(socket.SHUT_WR)
    assert process.stdio.recv(10) == b""
    assert process.wait(5) == 0
    process.close()


def test_file_goes_in_and_comes_back_whole(guest):
    data = os.urandom(3_000_001)
    guest.put("/tmp/data", data)
    digest = guest.run(["sha256sum", "/tmp/data"]).out.split()[0].decode()
    assert digest == hashlib.sha256(data).hexdigest()
    assert guest.get("/tmp/data") == data
    guest.run(["rm", "/tmp/data"])


def test_connection_and_listener_are_sockets_with_half_close(guest):
    with guest.listen("vsock", socket.VMADDR_CID_ANY, 4000) as listener:
        near = guest.connect("vsock", LOOPBACK, 4000)
        far, _ = listener.accept()
        near.sendall(b"question")
        near.shutdown(socket.SHUT_WR)
        assert drain(far) == b"question"
        far.sendall(b"answer")
        far.close()
        assert drain(near) == b"answer"
        near.close()


def test_megabytes_pass_both_ways_at_once(guest):
    data = os.urandom(4 << 20)
    with guest.listen("vsock", socket.VMADDR_CID_ANY, 4001) as listener:
        near = guest.connect("vsock", LOOPBACK, 4001)
        far, _ = listener.accept()
        got: dict[str, bytes] = {}
        threads = [
            threading.Thread(target=_send_and_end, args=(near, data)),
            threading.Thread(target=_send_and_end, args=(far, data)),
            threading.Thread(target=lambda: got.update(near=drain(near))),
            threading.Thread(target=lambda: got.update(far=drain(far))),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert got == {"near": data, "far": data}
        near.close()
        far.close()


def test_refused_connection_has_the_kernels_errno(guest):
    with pytest.raises(ConnectionResetError):
        guest.connect("vsock", LOOPBACK, 4002)
    with pytest.raises(OSError, match="No such device"):
        guest.connect("vsock", 4_000_000, 4002)


def test_closed_listener_frees_its_port_at_once(guest):
    for _ in range(3):
        guest.listen("vsock", socket.VMADDR_CID_ANY, 4003).close()


def test_vsockdump_shows_the_packets(guest):
    dump = guest.spawn(["vsockdump"])
    lines = dump.stdio.makefile("r")
    assert lines.readline().startswith("seconds")
    with pytest.raises(ConnectionResetError):
        guest.connect("vsock", LOOPBACK, 4004)
    assert ":4004 REQUEST 0 bytes" in lines.readline()
    assert ":4004 > 1:" in (answer := lines.readline()) and " RST 0 bytes" in answer
    lines.close()
    dump.close()


def test_lab_has_the_kernels_vsock_device_and_kvm(guest):
    listing = guest.run(["ls", "/dev/vhost-vsock", "/dev/kvm"]).out.split()
    assert sorted(listing) == [b"/dev/kvm", b"/dev/vhost-vsock"]


def test_lab_runs_the_kernel_of_its_suite(guest):
    release = guest.python("import os; print(os.uname().release)").strip()
    assert f"linux-image-{release}" in guest.image.versions


def _send_and_end(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
