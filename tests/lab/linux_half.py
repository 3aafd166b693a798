# SPDX-License-Identifier: MIT
"""Linux's own vsock_test as one half of a run, and what says how far it came.

It speaks its control lines over TCP. A guest of ours has none, and a Linux guest in the lab no
network: so the lines go on over a vsock connection, which a few lines of Python pass on. The
guest dials it; all of it is closed as soon as one half ends.
"""

import re
import socket
import time

from prelude import accept, dial

PROGRAM = "/tmp/vsock_test"
CONTROL = 5400  # the vsock port of the control lines
_LINE = re.compile(r"^(\d+) - (.*?)\.\.\.(.*)$", re.MULTILINE)


def run_linux_half(program, role, peer, skipped, control, dials):
    """Run vsock_test to its end; (what it printed, its complaints, exit code).

    Runs on CPython in the lab or in a Linux guest, with prelude.py. `dials`: the CID whose vsock
    port `control` is dialled; None: it is listened on.
    """
    import select
    import subprocess

    port = 5555
    listener = socket.create_server(("127.0.0.1", port))
    argv = [program, "--control-host=127.0.0.1", f"--control-port={port}", "--mode=" + role]
    argv += [f"--peer-cid={peer}", *(f"--skip={number}" for number in skipped)]
    if role == "server":
        listener.close()
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    tcp = None
    while role == "server" and process.poll() is None and tcp is None:
        try:
            tcp = socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.05)
    if role == "client":
        listener.settimeout(30)
        tcp, _ = listener.accept()
        listener.close()
    vsock = accept(control) if dials is None else dial(dials, control)
    other = {tcp: vsock, vsock: tcp}
    try:
        while True:
            ready, _, _ = select.select([tcp, vsock], [], [], 60)
            pieces = [(other[each], each.recv(4096)) for each in ready]
            if not all(piece for _, piece in pieces):
                break
            for to, piece in pieces:
                to.sendall(piece)
            if not ready:
                break
    except OSError:
        pass  # one half has ended
    for each in other:
        each.close()
    try:
        out, errors = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        out, errors = process.communicate()
    return out.decode(), errors.decode(), process.returncode


def names_of(listed):
    """The names of the tests, in their order, out of what `vsock_test --list` prints."""
    return [line.split("\t", 1)[1] for line in listed.splitlines()[1:]]


def reached(printed, code, count):
    """The number of the test that vsock_test failed in, or was in when it lost its other half;
    `count` if it passed all that it was to do."""
    if code == 0:
        return count
    lines = _LINE.findall(printed)
    if not lines:
        raise AssertionError(f"vsock_test did not begin: {printed}")
    number, _, ended = lines[-1]
    return int(number) + (ended in ("ok", "skipped"))
