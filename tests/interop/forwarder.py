# SPDX-License-Identifier: MIT
"""`mpfw forward` beside a guest, wherever that runs.

In the lab there is Python and nothing else: the two modules that do the work are put inside. The
host's ends are Unix sockets, which tests reach there as here.
"""

import inspect
import json
import socket
import sys
from contextlib import contextmanager

from mpfw.guest import addresses, relay
from mpfw.guest.programs import LocalProgram

FOLDER = "/tmp/forward"
INSIDE = f"""
import asyncio, json, sys
sys.path.insert(0, {FOLDER!r})
from mpfw.guest.addresses import parse
from mpfw.guest.relay import forward_all
pairs = [(parse(a, True), parse(b)) for a, b in json.loads(sys.argv[1])]
say = lambda line: print(line, file=sys.stderr, flush=True)
asyncio.run(forward_all(pairs, say, lambda line: print(line, flush=True)))
"""


class Here:
    """Programs and Unix sockets on this machine."""

    def start(self, pairs):
        words = [one for pair in pairs for one in pair]
        return LocalProgram([sys.executable, "-m", "mpfw", "forward", *words])

    def dial(self, path):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(path)
        return connection

    def listen(self, path):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen(4096)
        return listener


class Inside:
    """The same in the lab."""

    def __init__(self, lab):
        self.lab = lab

    def start(self, pairs):
        self.lab.run(["mkdir", "-p", f"{FOLDER}/mpfw/guest"])
        for module in (addresses, relay):
            name = module.__name__.rpartition(".")[2]
            self.lab.put(f"{FOLDER}/mpfw/guest/{name}.py", inspect.getsource(module).encode())
        return self.lab.spawn(["python3", "-c", INSIDE, json.dumps(pairs)])

    def dial(self, path):
        return self.lab.connect("unix", path)

    def listen(self, path):
        return self.lab.listen("unix", path, backlog=4096)


class Bridge:
    """`mpfw forward` at work. Addresses are names: the host's ends are Unix sockets."""

    def __init__(self, guest):
        self._guest = guest
        lab = getattr(guest, "lab", None)
        self._place = Here() if lab is None else Inside(lab)

    def start(self, pairs):
        """`pairs` are ("name", port of the guest) or (port of the host, "name")."""
        self._process = self._place.start([[self._address(one) for one in pair] for pair in pairs])
        self._process.stdio.settimeout(30)
        said = b""
        while said.count(b" -> ") < len(pairs) or not said.endswith(b"\n"):
            part = self._process.stdio.recv(1000)
            assert part, self._process.stderr.recv(65536).decode()
            said += part

    def _address(self, one):
        if isinstance(one, str):
            return f"unix:{self._path(one)}"
        vsock = self._guest.vsock
        if vsock.kind in ("vhost-user", "device"):  # by its path: CIDs may be others' too
            return f"uds:{self._guest.directory}/vsock-{vsock.cid}:{one}"
        return f"vsock:{vsock.cid}:{one}"

    def _path(self, name):
        return f"{self._guest.directory}/{name}"

    def dial(self, name):
        """A connection to the Unix socket of that name."""
        connection = self._place.dial(self._path(name))
        connection.settimeout(60)
        return connection

    def listen(self, name):
        """Listens at the Unix socket of that name."""
        return self._place.listen(self._path(name))

    def said(self):
        """What it says next on standard error."""
        self._process.stderr.settimeout(30)
        return self._process.stderr.recv(65536).decode()

    def end(self):
        self._process.terminate()
        code = self._process.wait(10)
        self._process.close()
        return code


@contextmanager
def bridge(guest, *pairs):
    """A Bridge with those pairs, while the `with` statement lasts."""
    one = Bridge(guest)
    one.start(pairs)
    try:
        yield one
    finally:
        assert one.end() == 0
