# SPDX-License-Identifier: MIT
"""A root of a Debian release: made by mmdebstrap, entered in namespaces of its own.

All that needs mounts or runs in such a root does so behind `contained`: its mounts and processes
are in namespaces that the kernel takes down with their first process, so nothing can stay mounted
or running, however it ends. Needs root. Standard library only.
"""

import ast
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mpfw.build import debian

# What somebody has who starts with the README.
PACKAGES = ("git", "make", "python3")
# Settings of the machine's own apt that say how a mirror is reached and trusted.
APT_SETTINGS = re.compile(r"Acquire::(?:https?::|Check-|ForceIPv|Retries)[\w:.-]* \".+\";")
# Settings of the machine's own pip that say where packages are, by pip's long options.
PIP_SETTINGS = (
    "cert default-timeout extra-index-url find-links index-url no-index proxy retries timeout "
    "trusted-host"
).split()
PIP_SECTIONS = ("global", "install", ":env:")  # later ones win
ENVIRONMENT = {
    "HOME": "/root",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TERM": "dumb",
}
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
DEVICES = ("full", "null", "random", "tty", "urandom", "zero")


class RootError(Exception):
    """A root could not be made or entered; the message is one sentence that says why."""


@dataclass(frozen=True)
class Inputs:
    """What a root is given of the machine: environment, and directories or files, read-only."""

    environment: dict[str, str] = field(default_factory=dict)
    binds: dict[str, str] = field(default_factory=dict)  # place in the root -> on the machine


def require_root() -> None:
    """Raise RootError unless we are root."""
    if os.geteuid() != 0:
        raise RootError("a Debian root is made, and mounted in, by root only: become root.")


def require() -> None:
    """Raise RootError unless roots can be made here."""
    require_root()
    if contained("true", os.environ, lambda line: None) != 0:
        raise RootError("this machine or container denies root namespaces: try another one.")
    if shutil.which("mmdebstrap") is None:
        raise RootError("mmdebstrap is missing: apt-get install mmdebstrap.")


def make(suite: str, tar: Path, say: Callable[[str], None]) -> None:
    """Make a tarball of a minimal root of `suite`, from the first mirror of ours that has it.

    `say` gets each line that mmdebstrap prints. Raises RootError, debian.AptError.
    """
    if not debian.KEYRING.exists():
        raise RootError(f"{debian.KEYRING} is missing: apt-get install debian-archive-keyring.")
    options = ["--mode=root", "--variant=apt", "--format=tar", f"--include={','.join(PACKAGES)}"]
    options += [f"--keyring={debian.KEYRING}"]
    options += [f"--aptopt={setting}" for setting in apt_settings()]
    # mmdebstrap unpacks where TMPDIR says, and mounts there; ended, it would leave it.
    with tempfile.TemporaryDirectory(dir=tar.parent) as scratch:
        mirrors = debian.mirrors(Path(scratch, "probe"))
        if not mirrors:
            raise RootError("the machine's apt sources name no Debian mirror of its own release.")
        for mirror in mirrors:
            tar.unlink(missing_ok=True)
            command = ["mmdebstrap", *options, suite, str(tar), mirror]
            if contained(shlex.join(command), os.environ | {"TMPDIR": scratch}, say) == 0:
                return
    raise RootError(f"mmdebstrap could not make a root of {suite}; its last words stand above.")


def apt_settings() -> list[str]:
    """Settings of the machine's own apt that a mirror may need: proxies, validity and such."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    return APT_SETTINGS.findall(dump.stdout)


def unpack(tar: Path, root: Path) -> None:
    """Unpack what `make` made; give it the machine's names of hosts."""
    root.mkdir(parents=True)
    subprocess.run(
        ["tar", "-x", "--numeric-owner", "--exclude=./dev/*", "-f", str(tar), "-C", str(root)],
        check=True,
    )
    for name in ("resolv.conf", "hosts"):
        file = Path("/etc", name)
        if file.exists():
            (root / "etc" / name).unlink(missing_ok=True)
            (root / "etc" / name).write_bytes(file.read_bytes())


def inputs() -> Inputs:
    """Proxies, and where the machine's pip finds packages, in terms of the root."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = pip_inputs(listing)
    proxies = {name: os.environ[name] for name in PROXIES if name in os.environ}
    return Inputs(found.environment | proxies, found.binds)


def pip_inputs(listing: str) -> Inputs:
    """What `pip config list` says about indexes, as pip's environment variables.

    Directories and files of the machine that it names are bound to /mnt/0, /mnt/1 ... of the root.
    """
    settings = {}
    for section in PIP_SECTIONS:
        for name, value in re.findall(rf"^{section}\.([\w-]+)=(.*)$", listing, re.MULTILINE):
            if name in PIP_SETTINGS:
                settings[name] = str(ast.literal_eval(value))
    environment: dict[str, str] = {}
    binds: dict[str, str] = {}

    def moved(name: str, word: str) -> str:
        path = Path(word.removeprefix("file://"))
        if not (word.startswith(("/", "file:///")) and path.exists()):
            return word
        # The pages of an index refer to files beside its directory.
        shared = path.parent if name.endswith("index-url") else path
        place = f"/mnt/{len(binds)}"
        binds[place] = str(shared)
        scheme = "file://" if word.startswith("file:") else ""
        return scheme + str(Path(place) / path.relative_to(shared))

    for name, value in settings.items():
        words = [moved(name, word) for word in value.split()]
        environment[f"PIP_{name.upper().replace('-', '_')}"] = " ".join(words)
    return Inputs(environment, binds)


def enter(
    root: Path, directory: str, command: list[str], given: Inputs, say: Callable[[str], None]
) -> int:
    """Run a command in `root`, with a /dev, /proc and /sys; its exit status.

    `directory` is its working directory, a path in the root. Its input is empty, and no terminal
    is near; `say` gets each line that it prints.
    """
    script = mounts(root, given.binds)
    inner = ["sh", "-c", 'cd "$0" && exec "$@"', directory, *command]
    environment = ["env", "-i"]
    environment += [f"{name}={value}" for name, value in (ENVIRONMENT | given.environment).items()]
    script.append(shlex.join([*environment, "chroot", str(root), *inner]))
    # Not `exec`: the shell stays the first process, which takes in those whose parents are gone.
    script.append("exit $?")
    return contained("\n".join(["set -e", *script]), os.environ, say)


def mounts(root: Path, binds: Mapping[str, str]) -> list[str]:
    """Shell commands that mount what programs expect into `root`, and `binds`, read-only."""
    dev = root / "dev"
    commands = [
        ["mount", "-t", "proc", "proc", root / "proc"],
        ["mount", "-t", "sysfs", "-o", "ro", "sysfs", root / "sys"],
        ["mount", "-t", "tmpfs", "-o", "mode=755", "dev", dev],
        ["mkdir", dev / "pts", dev / "shm"],
        [
            "mount",
            "-t",
            "devpts",
            "-o",
            "newinstance,ptmxmode=666,mode=620,gid=5",
            "p",
            dev / "pts",
        ],
        ["mount", "-t", "tmpfs", "-o", "mode=1777", "shm", dev / "shm"],
        ["ln", "-s", "pts/ptmx", dev / "ptmx"],
        ["ln", "-s", "/proc/self/fd", dev / "fd"],
    ]
    commands += [
        ["ln", "-s", f"/proc/self/fd/{number}", dev / name]
        for number, name in enumerate(("stdin", "stdout", "stderr"))
    ]
    for name in DEVICES:
        commands += [["touch", dev / name], ["mount", "--bind", f"/dev/{name}", dev / name]]
    for place, source in binds.items():
        target = f"{root}{place}"
        commands.append(["mkdir", "-p", target] if Path(source).is_dir() else ["touch", target])
        commands.append(["mount", "--bind", "-o", "ro", source, target])
    return [shlex.join(map(str, command)) for command in commands]


def contained(script: str, environment: Mapping[str, str], say: Callable[[str], None]) -> int:
    """Run a shell script with mounts and processes of its own; its exit status.

    `say` gets each line that it prints. Whatever ends us ends everything in there: an exception
    (which is raised on) before this returns, SIGKILL through the kernel.
    """
    process = subprocess.Popen(
        [
            *("setpriv", "--pdeathsig", "KILL"),
            *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
            *("sh", "-c", script),
        ],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is for us: what is in there gets no second chance
    )
    with process:
        try:
            for line in process.stdout or ():
                say(line.rstrip("\n"))
            process.wait()
        finally:
            _end(process)
    return process.returncode


def _end(process: subprocess.Popen[str]) -> None:
    """End `unshare`, if it runs, and the namespace: its first process takes all others along."""
    if process.poll() is not None:
        return
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    except OSError:
        children = []
    # unshare ends when its child has; the child when all its processes are gone.
    for pid in map(int, children or [str(process.pid)]):
        os.kill(pid, signal.SIGKILL)
    process.wait()
