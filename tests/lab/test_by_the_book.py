# SPDX-License-Identifier: MIT
"""The mission's own words: socat and ncat on a Linux host, the echo payload in the guest."""

import pytest

GREETING = b"hello from micropython\n"
SIZE = "16777216"  # 16 MiB

LISTENERS = {
    "socat": "socat -t 30 - VSOCK-LISTEN:1234",
    # VMADDR_CID_ANY said aloud: ncat 7.93 takes the port alone, 7.95 would take it for a CID.
    "ncat": "ncat --vsock -l 4294967295 1234",
}
CALLERS = {
    "socat": "socat -t 30 - VSOCK-CONNECT:33:1234",
    "ncat": "ncat --vsock 33 1234",
}


def converse(process, greeting):
    """Two lines through a program's stdin and stdout, then the end of its input ends it."""
    process.stdio.settimeout(20)
    lines = process.stdio.makefile("rb")
    if greeting:
        assert lines.readline() == greeting
    for line in (b"first line\n", b"second line\n"):
        process.stdio.sendall(line)
        assert lines.readline() == line
    process.stdio.shutdown(1)
    assert lines.read() == b""
    assert process.wait(20) == 0
    lines.close()
    process.close()


@pytest.mark.parametrize("accel", ["tcg", "kvm"])
def test_image_boots_and_echoes(boot_kernel, kernel, accel):
    cpu = "host" if accel == "kvm" else None
    guest = boot_kernel(accel=accel, cpu=cpu)
    guest.console.expect("READY vsock cid=33 port=1234", 60)
    converse(kernel.spawn(["sh", "-c", CALLERS["socat"]]), b"")


@pytest.mark.parametrize("tool", LISTENERS)
def test_listening_program_is_greeted_and_echoed(echo, kernel, tool):
    converse(kernel.spawn(["sh", "-c", LISTENERS[tool]]), GREETING)


@pytest.mark.parametrize("tool", CALLERS)
def test_calling_program_is_echoed(echo, kernel, tool):
    converse(kernel.spawn(["sh", "-c", CALLERS[tool]]), b"")


def bulk(kernel, command, skip):
    """Pass random bytes through a program; digests of what went in and of what came out."""
    script = f"""
        cd "$(mktemp -d)"
        head -c {SIZE} /dev/urandom >in
        {command} <in >out
        sha256sum <in
        tail -c +{skip + 1} out | sha256sum
        rm -r "$PWD"
    """
    lines = kernel.run(["sh", "-c", script], timeout=100).out.split(b"\n")
    return lines[0], lines[1]


@pytest.mark.parametrize("tool", LISTENERS)
def test_sixteen_mebibytes_come_back_through_a_listener(echo, kernel, tool):
    sent, received = bulk(kernel, LISTENERS[tool], len(GREETING))
    assert sent == received


@pytest.mark.parametrize("tool", CALLERS)
def test_sixteen_mebibytes_come_back_through_a_caller(echo, kernel, tool):
    sent, received = bulk(kernel, CALLERS[tool], 0)
    assert sent == received
