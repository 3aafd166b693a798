# SPDX-License-Identifier: MIT
"""The Linux guest of the benchmark: Debian's cloud kernel and one static program.

The kernel and its vsock modules are fetched once and kept under build/bench/; the program is
ci/bench/peer.c. Knows nothing of what is measured.
"""

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mpfw import paths
from mpfw.build import debian, deps
from mpfw.lab import initramfs

MODULES = ["virtio_pci", "vmw_vsock_virtio_transport"]
# As quick and quiet as its users would start it: no log on the slow serial port, no mitigations.
COMMAND_LINE = "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable random.trust_cpu=on"


@dataclass(frozen=True)
class LinuxGuest:
    """A kernel, the initramfs for it, and the kernel package's version."""

    kernel: Path
    archive: Path
    version: str


def provide(program: Path, build: Path = paths.BUILD) -> LinuxGuest:
    """The guest whose init is `program`, a static executable. Raises DependencyError."""
    kernel = _kernel(build)
    archive = build / "bench" / "peer.cpio"
    with open(archive, "wb") as file:
        file.write((kernel / "modules.cpio").read_bytes())
        cpio = initramfs.Cpio(file)
        cpio.file("init", program.read_bytes(), 0o755)
        cpio.directory("dev")
        cpio.device("dev/console", 5, 1)
        cpio.end()
    versions = dict(line.split(" ") for line in (kernel / "versions").read_text().splitlines())
    return LinuxGuest(kernel / "vmlinuz", archive, versions["linux-image-cloud-amd64"])


def _kernel(build: Path) -> Path:
    """A directory with vmlinuz, modules.cpio and versions, of the machine's own release."""
    suite = debian.codename() or "bookworm"
    packages = deps.manifest()["bench-linux"]["packages"]
    key = hashlib.sha256(repr([suite, packages, MODULES]).encode())
    key.update(Path(initramfs.__file__).read_bytes())
    place = build / "bench" / f"linux-{suite}-{key.hexdigest()[:12]}"
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".linux-") as scratch:
        _make(suite, packages, build, Path(scratch)).rename(place)
    return place


def _make(suite: str, packages: list[str], build: Path, scratch: Path) -> Path:
    try:
        archives = debian.Suite(build / "apt", suite, "deb").closure(packages, scratch / "debs")
    except debian.AptError as error:
        raise deps.DependencyError(
            f"cannot fetch the Linux guest's kernel ([bench-linux] in deps.toml):\n{error}"
        ) from error
    root, product = scratch / "root", scratch / "product"
    product.mkdir()
    initramfs.unpack([path for path in archives if path.name.startswith("linux-image")], root)
    shutil.copyfile(initramfs.kernel(root), product / "vmlinuz")
    with open(product / "modules.cpio", "wb") as file:
        cpio = initramfs.Cpio(file)
        initramfs.add_modules(root, MODULES, cpio, "guest")
        cpio.end()
    (product / "versions").write_text(initramfs.versions(archives))
    return product
