# SPDX-License-Identifier: MIT
"""`mpfw vsock-test SUITE`: Linux's own test of AF_VSOCK, as a release's kernel source has it.

Debian packages the source of its kernels; of that only the test's directory and the headers it
wants are unpacked, and one static program is built, which runs in any lab. Nothing is installed.
"""

import lzma
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import click

from mpfw import paths
from mpfw.build import debian, deps
from mpfw.guest.programs import pipe
from mpfw.usage import examples

SUITES = ("bookworm", "trixie", "sid")
_CHUNK = 1 << 18  # bytes that are unpacked at a time
_SOURCES = (
    "vsock_test",
    "vsock_test_zerocopy",
    "msg_zerocopy_common",
    "control",
    "timeout",
    "util",
)
_OPTIONS = (
    *("-static", "-O2", "-w", "-D_GNU_SOURCE"),
    *("-fno-strict-overflow", "-fno-strict-aliasing", "-fno-common", "-U_FORTIFY_SOURCE"),
)


@click.command("vsock-test", epilog=examples("mpfw vsock-test sid      of the newest"))
@click.argument("suite", type=click.Choice(SUITES))
def vsock_test(suite: str) -> None:
    """Fetch and build Linux's vsock_test of a Debian release; print the program's path.

    It lies under build/vsock-test. tests/lab/test_linux_vsock_test.py runs it against a guest.
    """
    try:
        click.echo(provide(suite))
    except deps.DependencyError as error:
        raise click.ClickException(str(error)) from error


def provide(suite: str, build: Path = paths.BUILD) -> Path:
    """The program of release `suite`, from build/vsock-test or built now.

    Raises DependencyError.
    """
    place = build / "vsock-test" / suite
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{suite}-") as scratch:
            _make(suite, build, Path(scratch)).rename(place)
    return place / "vsock_test"


def _make(suite: str, build: Path, scratch: Path) -> Path:
    """Fetch, unpack and compile; returns the directory with the program and its source."""
    try:
        archive = _fetch(debian.Suite(build / "apt", suite, "deb"), scratch / "debs")
    except debian.AptError as error:
        raise deps.DependencyError(
            f"cannot fetch Linux's source ([vsock-test] in deps.toml), Debian {suite}:\n{error}"
        ) from error
    product = scratch / "product"
    product.mkdir()
    _unpack(archive, product)
    _compile(product)
    return product


def _fetch(packages: debian.Suite, dest: Path) -> Path:
    """The package with the source of the release's newest kernel; `linux-source` names it."""
    (named,) = deps.manifest()["vsock-test"]["packages"]
    (meta,) = packages.newest([named], dest / "meta")
    said = subprocess.run(["dpkg-deb", "-f", meta, "Depends"], capture_output=True, text=True)
    found = re.search(rf"{named}-[\d.]+", said.stdout)
    if found is None:
        raise debian.AptError(f"package {named} names no source: {said.stdout}{said.stderr}")
    (archive,) = packages.newest([found.group()], dest / "source")
    return archive


def _unpack(archive: Path, root: Path) -> None:
    """The two directories out of the tarball in the package, without its leading directory. The
    package is unpacked by dpkg-deb, the tarball here: there may be no xz."""
    outer = ["tar", "-x", "--to-stdout", "--wildcards", "*/linux-source-*.tar.xz"]
    inner = ["tar", "-x", "-C", str(root), "--strip-components=1", "--wildcards"]
    wanted = ["*/tools/testing/vsock/*", "*/tools/include/*"]
    package = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE)
    source = subprocess.Popen(outer, stdin=package.stdout, stdout=subprocess.PIPE)
    why = ""
    with tempfile.TemporaryFile() as said:
        files = subprocess.Popen([*inner, *wanted], stdin=subprocess.PIPE, stderr=said)
        try:
            with lzma.open(pipe(source.stdout)) as tarball, pipe(files.stdin) as sink:
                shutil.copyfileobj(tarball, sink, _CHUNK)
        except (EOFError, lzma.LZMAError, BrokenPipeError) as error:
            why = str(error)
        for process in (source, package):
            pipe(process.stdout).close()
            process.wait()
        if files.wait() != 0 or why:
            said.seek(0)
            why = said.read().decode().strip() or why
            raise deps.DependencyError(f"{archive.name} could not be unpacked: {why}")


def _compile(root: Path) -> None:
    where = root / "tools" / "testing" / "vsock"
    headers = ["-I.", "-I../../include", "-idirafter", "../../include/uapi"]
    files = [f"{name}.c" for name in _SOURCES]
    command = ["gcc", *_OPTIONS, *headers, "-o", str(root / "vsock_test"), *files, "-lpthread"]
    built = subprocess.run(command, cwd=where, capture_output=True, text=True)
    if built.returncode != 0:
        raise deps.DependencyError(f"Linux's vsock_test does not compile here:\n{built.stderr}")
