# SPDX-License-Identifier: MIT
"""The lab: a small Linux guest with the kernel's own vhost-vsock, QEMU and socat inside.

`Lab` boots it under software emulation and runs programs in it, moves files, and joins byte
streams to sockets inside, all through one virtio-serial port (mpfw.lab.mux). It knows nothing of
the firmware; mpfw.lab.host makes a host for firmware guests out of it.
"""

import queue
import selectors
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

from mpfw import paths
from mpfw.guest import guarded
from mpfw.guest.machine import QEMU
from mpfw.guest.programs import Programs
from mpfw.lab import image as lab_image
from mpfw.lab import mux
from mpfw.lab.image import LAB, LabImage
from mpfw.lab.initramfs import Cpio

# One vCPU: with two, kernel oopses were seen. An SVM-capable AMD model: KVM works inside.
CPU = "qemu64,+svm,+npt"
_BOOT_SECONDS = 60
_BOOT_ATTEMPTS = 3
# No CMPXCHG16B (141) for the kernel: QEMU 7.2 sometimes gets its flags wrong, and Linux 6.12's
# allocator died of it. The CPU has it, because QEMU 10's TCG does not start without.
APPEND = (
    "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable random.trust_cpu=on clearcpuid=141"
)


Answer = tuple[mux.Stream, dict[str, Any]]  # a stream inside, what the agent answered


class LabError(Exception):
    """The lab guest did not do what was asked; the message has its console's last lines."""


class Process:
    """A running program inside, used as subprocess.Popen is.

    `stdio` (its stdin and stdout) and `stderr` are sockets here; `pid` is its number inside.
    """

    def __init__(self, lab: "Lab", argv: list[str], stdio: socket.socket, stderr: socket.socket):
        self._lab = lab
        self.args = argv
        self.pid = 0
        self._stream: mux.Stream | None = None
        self._ended = threading.Event()
        self._code: int | None = None
        self.stdio = stdio
        self.stderr = stderr

    def event(self, what: dict[str, Any]) -> None:
        """What the agent tells of it: that it has ended."""
        self._code = what["exit"]
        self._ended.set()

    def lost(self) -> None:
        """The lab has ended, and the program with it (or it has told its end before)."""
        if self._code is None:
            self._code = -signal.SIGKILL
            self._ended.set()

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """The exit code once it has ended; subprocess.TimeoutExpired after `timeout` seconds."""
        self._ended.wait(timeout)
        if self._code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self._code

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        if self._stream is not None:
            self._lab.post(partial(self._stream.event, signal=int(number)))

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill it if it runs, and give its sockets back."""
        if self._code is None:
            self.kill()
        self.stdio.close()
        self.stderr.close()


class Listener(socket.socket):
    """A listening socket here that gets the connections made to a listening socket inside."""

    def __init__(self, path: Path, backlog: int):
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path = path
        self.on_close: Callable[[], object] | None = None
        self.bind(str(path))
        self.listen(backlog)

    def connection(self) -> socket.socket | None:
        """A socket whose other end waits to be accepted; None if the backlog is full."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.connect(str(self._path))
        except OSError:
            sock.close()
            return None
        return sock

    def close(self) -> None:
        """Stop listening, inside as well."""
        if self.fileno() >= 0:
            self._path.unlink(missing_ok=True)
            if self.on_close is not None:
                self.on_close()
        super().close()


class Lab(Programs):
    """A booted lab guest. Use as a context manager, or call stop()."""

    def __init__(
        self,
        image: LabImage | None = None,
        cpu: str = CPU,
        memory: int = 2048,
        processors: int = 1,
    ):
        """`memory` in MiB: what guests inside get, their files and about 300 MiB of its own."""
        self.image = image or lab_image.provide()
        self.retries: list[str] = []  # why earlier attempts to boot failed: for reports
        self._cpu = cpu
        self._memory = memory
        self._processors = processors
        self._directory = guarded.make_directory()
        self._listeners = 0
        self._posted: deque[Callable[[], object]] = deque()
        self._wake, self._woken = socket.socketpair()
        self._qemu: guarded.Guarded | None = None
        self._thread: threading.Thread | None = None
        self.mux: mux.Mux  # from _start() on
        self.failure: Exception | None = None  # why the lab has ended
        try:
            self._boot()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Programs (files come with them)

    def spawn(
        self,
        argv: list[str],
        fds: dict[int, socket.socket] | None = None,
        env: dict[str, str] | None = None,
    ) -> Process:
        """Start a program inside. Its descriptors `fds` are joined to those sockets."""
        stdio, stdio_inside = socket.socketpair()
        stderr, stderr_inside = socket.socketpair()
        process = Process(self, argv, stdio, stderr)

        def bridge(sock: socket.socket) -> int:
            number = self.mux.reserve()
            self.mux.add(number).attach(sock)
            return number

        def request() -> mux.Stream:
            asked = {"op": "exec", "argv": argv, "env": env, "stdio": bridge(stdio_inside)}
            others = {number: bridge(sock) for number, sock in (fds or {}).items()}
            return self.mux.open({**asked, "stderr": bridge(stderr_inside), "fds": others})

        try:
            process._stream, answer = self._ask(request, process.event, on_close=process.lost)
        except BaseException:
            stdio.close()
            stderr.close()
            raise
        process.pid = answer["pid"]
        return process

    # Streams

    def console(self) -> socket.socket:
        """The guest's serial console; text from before is in its log only."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(str(self._directory / "console"))
        return sock

    def connect(self, *where: str | int) -> socket.socket:
        """A socket joined to ("vsock", cid, port) or ("unix", path) inside; OSError as there."""
        ours, theirs = socket.socketpair()
        try:
            self._ask(lambda: self.mux.open({"op": "connect", "to": where}), None, theirs)
        except OSError:
            ours.close()
            raise
        return ours

    def listen(self, *where: str | int, backlog: int = 128) -> Listener:
        """Listen on ("vsock", cid, port) or ("unix", path) inside; OSError as there."""
        self._listeners += 1
        listener = Listener(self._directory / f"listen-{self._listeners}", backlog)

        def arrived(event: dict[str, Any]) -> None:
            stream = self.mux.add(event["stream"])
            connection = listener.connection()
            if connection is None:
                stream.close()
            else:
                stream.attach(connection)

        request = {"op": "listen", "on": where, "backlog": backlog}
        try:
            stream, _ = self._ask(lambda: self.mux.open(request), arrived)
        except OSError:
            listener.close()
            raise
        listener.on_close = lambda: self.post(stream.close)
        return listener

    def post(self, function: Callable[[], object]) -> None:
        """Have the mux's thread call function()."""
        self._posted.append(function)
        self._wake.send(b"x")

    def _ask(
        self,
        opening: Callable[[], mux.Stream],
        on_event: Callable[[dict[str, Any]], object] | None = None,
        bridge: socket.socket | None = None,
        on_close: Callable[[], object] | None = None,
    ) -> Answer:
        """Open a stream on the mux's thread and wait: (stream, the agent's answer)."""
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()

        def opened() -> None:
            stream = opening()

            def answered(answer: dict[str, Any]) -> None:
                if bridge is not None and "errno" not in answer:
                    stream.attach(bridge)
                answers.put((stream, answer))

            stream.on_reply = answered
            stream.on_event = on_event
            stream.on_close = on_close

        self.post(opened)
        stream, answer = self._await(answers)
        if "errno" in answer:
            if bridge is not None:
                bridge.close()
            raise OSError(answer["errno"], answer["error"])
        return stream, answer

    def _await(self, answers: "queue.SimpleQueue[Answer]", timeout: float = 60) -> Answer:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                return answers.get(timeout=0.5)
            except queue.Empty:
                if self.failure is not None:
                    raise LabError(self._report(f"the lab has ended: {self.failure}")) from None
        raise LabError(self._report("the lab's agent does not answer"))

    # Life

    def _boot(self) -> None:
        for attempt in range(1, _BOOT_ATTEMPTS + 1):
            try:
                self._start()
                return
            except LabError as error:
                self.retries.append(str(error))
                self._end_qemu()
                if attempt == _BOOT_ATTEMPTS:
                    raise

    def _start(self) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = self._directory / "agent"
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(1)
        with open(self._directory / "qemu.log", "wb") as log:
            self._qemu = guarded.the_guardian().start(self.command(), log.fileno())
        listener.settimeout(_BOOT_SECONDS)
        link, _ = listener.accept()
        listener.close()
        link.setblocking(False)
        self._link = link
        self.mux = mux.Mux(link.fileno(), 1)
        self.mux.selector.register(self._woken, selectors.EVENT_READ, self._run_posted)
        self.failure = None
        self._thread = threading.Thread(target=self._serve, daemon=True, name="lab")
        self._thread.start()
        self.run(["true"], timeout=_BOOT_SECONDS)
        (self._directory / "initrd").unlink()  # QEMU has read it

    def command(self) -> list[str]:
        """QEMU's command line; writes the archive that it boots from."""
        initrd = self._directory / "initrd"
        with open(initrd, "wb") as file, open(self.image.archive, "rb") as base:
            shutil.copyfileobj(base, file)
            _add_ours(file)
        console = f"socket,id=console,server=on,wait=off,path={self._directory}/console"
        return [
            QEMU,
            *("-accel", "tcg", "-machine", "q35", "-cpu", self._cpu, "-m", str(self._memory)),
            *("-smp", str(self._processors)),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-kernel", str(self.image.kernel), "-initrd", str(initrd), "-append", APPEND),
            *("-chardev", f"{console},logfile={self._directory}/console.log"),
            *("-serial", "chardev:console", "-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=agent,path={self._directory}/agent"),
            *("-device", "virtserialport,chardev=agent,name=lab.agent"),
        ]

    def _serve(self) -> None:
        try:
            while True:
                self.mux.step()
        except (EOFError, OSError) as error:
            self.failure = error
        for stream in list(self.mux.streams.values()):
            stream.abandon()

    def _run_posted(self, _events: int) -> None:
        self._woken.recv(4096)
        while self._posted:
            self._posted.popleft()()

    def console_log(self) -> list[str]:
        """The lines that the guest's console has said so far."""
        log = self._directory / "console.log"
        return log.read_text(errors="replace").splitlines() if log.exists() else []

    def _report(self, reason: str) -> str:
        return "\n".join([reason, *(f"    {line}" for line in self.console_log()[-20:])])

    def _end_qemu(self) -> None:
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            self._qemu = None
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._link.close()

    def stop(self) -> None:
        """End the guest at once and remove its files."""
        self._end_qemu()
        for sock in (self._wake, self._woken):
            sock.close()
        guarded.remove_directory(self._directory)


# What vsockdump writes captures with, as the firmware does.
_VSOCK = ("__init__", "blocks", "pcapng", "words")
_CAPTURES = ("portable.py", *(f"vsock/{name}.py" for name in _VSOCK))


def _add_ours(file: IO[bytes]) -> None:
    """Append the archive of our own files."""
    cpio = Cpio(file)
    cpio.file("init", (LAB / "init").read_bytes(), 0o755)
    for name in ("firmware", "vsockdump"):
        cpio.file(f"usr/bin/{name}", (LAB / name).read_bytes(), 0o755)
    for path in (LAB / "agent.py", LAB / "shell", Path(mux.__file__)):
        cpio.file(f"lab/{path.name}", path.read_bytes())
    for name in _CAPTURES:
        cpio.file(f"lab/python/{name}", (paths.ROOT / "mpy_modules" / name).read_bytes())
    cpio.end()
