# SPDX-License-Identifier: MIT
"""Files from Debian suites other than the machine's own, through a private apt configuration.

The mirror's address is taken from the machine's own apt sources, signatures are checked with
Debian's keyring, lists and caches lie in a directory of ours: the machine's own configuration is
only read, and no root is needed. Standard library only.
"""

import fcntl
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class AptError(Exception):
    """apt could not do what was asked; the message says what and carries apt's own words."""


def codename() -> str:
    """The machine's Debian release, such as "bookworm"; "" where os-release does not say."""
    try:
        text = Path("/etc/os-release").read_text()
    except OSError:
        return ""
    match = re.search(r'^VERSION_CODENAME="?([\w-]+)', text, re.MULTILINE)
    return match.group(1) if match else ""


def mirrors(scratch: Path) -> list[str]:
    """Addresses of the Debian mirrors in the machine's own apt sources, in their order.

    apt itself is asked which indexes it would fetch, so one-line and deb822 sources, mirror
    lists and proxies all work. A mirror is an address that serves component main of the
    machine's release; `scratch` is a directory for apt's (unused) lists.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    output = _run(["apt-get", "-o", f"Dir::State::Lists={scratch}", "--print-uris", "update"])
    found = re.findall(r"^'(\S+?)/dists/([^/']+)/main/", output, re.MULTILINE)
    wanted = {codename(), "stable", "testing", "unstable", "sid"}
    return list(dict.fromkeys(address for address, suite in found if suite in wanted))


class Suite:
    """One suite of the archive: its lists are fetched once, then files by package and version."""

    def __init__(self, directory: Path, suite: str, kind: str):
        """`directory` is for apt's state; `kind` is "deb" or "deb-src" (which lists to fetch)."""
        self.suite = suite
        self.kind = kind
        self.directory = directory / f"{suite}-{kind}"
        self.config = self.directory / "apt.conf"

    def source(self, package: str, version: str, dest: Path) -> None:
        """Download the files of source package `package` into `dest`, verified by apt."""
        self._download(
            ["source", "--download-only", "--only-source", f"{package}={version}"], dest
        )

    def binary(self, packages: dict[str, str], dest: Path) -> None:
        """Download binary packages ({name: version}, one transaction) into `dest`."""
        wanted = [f"{name}={version}" for name, version in packages.items()]
        self._download(["download", *wanted], dest)

    def newest(self, packages: list[str], dest: Path) -> list[Path]:
        """Download the newest versions of binary packages into the empty `dest`; the files."""
        self._download(["download", *packages], dest)
        return sorted(dest.glob("*.deb"))

    def closure(self, packages: list[str], dest: Path) -> list[Path]:
        """Download `packages` and all they depend on, newest versions, into the empty `dest`.

        Returns the .deb files. Nothing counts as installed, so the set is complete in itself.
        """
        (dest / "partial").mkdir(parents=True)
        options = ["-y", "--download-only", "--no-install-recommends"]
        archives = ["-o", f"Dir::Cache::archives={dest}"]
        self._download(["install", *options, *archives, *packages], dest)
        return sorted(dest.glob("*.deb"))

    def _download(self, command: list[str], dest: Path) -> None:
        dest.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if self.config.exists():
                try:
                    self._apt(command, cwd=dest)
                    return
                except AptError:
                    pass  # the lists may be old: fetch them anew and ask again
            self._update()
            self._apt(command, cwd=dest)

    def _update(self) -> None:
        """Fetch the suite's lists from the first of the machine's mirrors that has them."""
        if not KEYRING.exists():
            raise AptError(f"{KEYRING} is missing (package debian-archive-keyring)")
        candidates = mirrors(self.directory / "probe")
        if not candidates:
            raise AptError("the machine's apt sources name no Debian mirror of its own release")
        failures = []
        for address in candidates:
            self._configure(address)
            try:
                self._apt(["update", "--error-on=any"])
                return
            except AptError as error:
                failures.append(str(error))
                self.config.unlink()
        raise AptError("\n".join(failures))

    def _configure(self, address: str) -> None:
        for name in ("lists/partial", "cache/archives/partial", "state", "sources.d"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        sources = self.directory / "sources.list"
        sources.write_text(f"{self.kind} [signed-by={KEYRING}] {address} {self.suite} main\n")
        (self.directory / "status").touch()
        settings = {
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": self.directory / "sources.d",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": self.directory / "sources.d",
            "Dir::State": self.directory / "state",
            "Dir::State::lists": self.directory / "lists",
            "Dir::State::status": self.directory / "status",
            "Dir::Cache": self.directory / "cache",
            "Dir::Log": self.directory,
            "APT::Sandbox::User": "",
            "APT::Architectures": "amd64",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Acquire::http::Timeout": "20",
            "Acquire::https::Timeout": "20",
            # A mirror that keeps an old state of the archive will do: signatures are checked, and
            # what matters is pinned by digest besides.
            "Acquire::Check-Valid-Until": "false",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
        }
        lines = [f'{name} "{value}";' for name, value in settings.items()]
        # What the machine hooks to its own updates is not for ours.
        hooks = ("APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success")
        lines += [f"#clear {hook};" for hook in hooks]
        self.config.write_text("\n".join(lines) + "\n")

    def _apt(self, command: list[str], cwd: Path | None = None) -> str:
        return _run(["apt-get", "-qq", "-c", str(self.config), *command], cwd=cwd)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.directory.mkdir(parents=True, exist_ok=True)
        with open(self.directory / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _run(command: list[str], cwd: Path | None = None) -> str:
    environment = dict(os.environ, LC_ALL="C")
    try:
        result = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise AptError(f"{command[0]} is not on this machine") from error
    if result.returncode != 0:
        raise AptError(f"{' '.join(command)}\n{result.stderr.strip()}")
    return result.stdout
