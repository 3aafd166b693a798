# SPDX-License-Identifier: MIT
"""`mpfw qemu SUITE`: the QEMU of another Debian release, unpacked beside ours, nothing installed.

It runs by its own dynamic loader, with its own libraries, modules and data: newer QEMUs than the
machine's can be tried on it, and by anybody. What needs a device that not every QEMU has asks for
that (`with_device`): another one is fetched only if the machine's own has none.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import click

from mpfw import paths
from mpfw.build import debian, deps
from mpfw.guest.carriers import CARRIERS, works
from mpfw.guest.machine import QEMU, qemu_program
from mpfw.lab import initramfs
from mpfw.usage import examples

SUITES = ("bookworm", "trixie", "sid")
# The script stands beside root/, which is the release's tree.
SCRIPT = """\
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root
libraries=$root/usr/lib/x86_64-linux-gnu
QEMU_MODULE_DIR=$libraries/qemu exec "$libraries/ld-linux-x86-64.so.2" --argv0 "$0" \\
    --library-path "$libraries:$libraries/pulseaudio" "$root/usr/bin/qemu-system-x86_64" \\
    -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" "$@"
"""


@click.command(epilog=examples("$(mpfw qemu sid) --version       the newest, fetched once"))
@click.argument("suite", type=click.Choice(SUITES))
@click.option(
    "--device",
    type=click.Choice(sorted(CARRIERS)),
    help="This machine's own, if that device works in it.",
)
def qemu(suite: str, device: str | None) -> None:
    """Fetch and unpack the QEMU of a Debian release; print the program's path.

    It lies under build/qemu. `mpfw run --qemu "$(mpfw qemu sid)"` runs it.
    """
    try:
        click.echo(with_device(device, suite) if device else provide(suite))
    except deps.DependencyError as error:
        raise click.ClickException(str(error)) from error


def with_device(device: str, suite: str, build: Path = paths.BUILD) -> str:
    """A QEMU with that device: the one that guests run in, if it works there, else that of release
    `suite`. Raises DependencyError."""
    own = qemu_program()
    if shutil.which(own) and works(own, device):
        return own
    return str(provide(suite, build))


def provide(suite: str, build: Path = paths.BUILD) -> Path:
    """The program of release `suite`, from build/qemu or made now. Raises DependencyError."""
    place = build / "qemu" / suite
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{suite}-") as scratch:
            _make(suite, build, Path(scratch)).rename(place)
    return place / QEMU


def _make(suite: str, build: Path, scratch: Path) -> Path:
    packages = deps.manifest()["qemu"]["packages"]
    try:
        archives = debian.Suite(build / "apt", suite, "deb").closure(packages, scratch / "debs")
    except debian.AptError as error:
        raise deps.DependencyError(
            f"cannot fetch QEMU ([qemu] in deps.toml) from Debian {suite}:\n{error}"
        ) from error
    product = scratch / "product"
    initramfs.unpack(archives, product / "root")
    shutil.rmtree(product / "root/usr/share/doc")
    program = product / QEMU
    program.write_text(SCRIPT)
    program.chmod(0o755)
    tried = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        raise deps.DependencyError(f"Debian {suite}'s QEMU does not run here: {tried.stderr}")
    return product
