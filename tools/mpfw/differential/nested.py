# SPDX-License-Identifier: MIT
"""The Linux guest inside the lab: the lab's own kernel and Python under KVM, on its vhost-vsock.

Its initramfs is made inside of files that the lab has already: nothing large is carried in.
"""

from pathlib import Path

from mpfw.differential import linux_inside
from mpfw.guest.machine import QEMU
from mpfw.guest.vsockhost import GUEST_CID
from mpfw.lab.image import LAB
from mpfw.lab.lab import APPEND, Lab, Process

_KERNEL = "/tmp/guest-kernel"
_ARCHIVE = "/tmp/guest.cpio"
_LOG = "/tmp/guest.log"
MEMORY = 256  # MiB
# Python's shared libraries are those that its loader lists; what lib-dynload needs besides, no
# scenario imports.
_PACK = r"""
set -e
mkdir -p /tmp/guest/lab /tmp/guest/dev /tmp/guest/proc /tmp/guest/sys /tmp/guest/tmp
cd /
loader=/lib64/ld-linux-x86-64.so.2
{
    for name in bin lib lib64 sbin; do [ -h $name ] && echo $name; done
    echo usr; echo usr/bin; echo usr/lib; echo usr/lib64
    find usr/lib64 usr/bin/sh usr/bin/busybox usr/bin/python3* usr/lib/python3*
    echo lab; find lab/guest
    echo usr/lib/x86_64-linux-gnu
    { echo $loader; $loader --list /usr/bin/python3 | sed -n 's/.*=> \(\S*\) .*/\1/p'; } |
    while read -r path; do
        while [ -h "$path" ]; do
            real=$(busybox readlink -f "$path"); echo "${path#/}"; path=$real
        done
        echo "${path#/}"
    done
} | sed 's,^lib/,usr/lib/,; s,^lib64/,usr/lib64/,' | sort -u | busybox cpio -o -H newc >ARCHIVE
cd /tmp/guest && find . | busybox cpio -o -H newc >>ARCHIVE
""".replace("ARCHIVE", _ARCHIVE)


def prepare(lab: Lab) -> None:
    """Make what such a guest boots from inside the lab; once is enough."""
    lab.run(["mkdir", "-p", "/tmp/guest/lab"])
    lab.put(_KERNEL, lab.image.kernel.read_bytes())
    lab.put("/tmp/guest/lab/linux_inside.py", Path(linux_inside.__file__).read_bytes())
    lab.put("/tmp/guest/init", (LAB / "guest-init").read_bytes())
    lab.run(["chmod", "755", "/tmp/guest/init"])
    lab.run(["sh", "-c", _PACK], timeout=120)


def start(lab: Lab) -> Process:
    """Boot one: linux_inside.py is at the other end of the program's standard streams."""
    return lab.spawn(
        [
            QEMU,
            *("-accel", "kvm", "-cpu", "host", "-machine", "q35", "-m", str(MEMORY)),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-kernel", _KERNEL, "-initrd", _ARCHIVE, "-append", APPEND),
            *("-serial", f"file:{_LOG}", "-device", "virtio-serial-pci"),
            *("-chardev", "stdio,id=link,signal=off"),
            *("-device", "virtserialport,chardev=link,name=link"),
            *("-device", f"vhost-vsock-pci,guest-cid={GUEST_CID}"),
        ]
    )


def log(lab: Lab) -> str:
    """What its kernel and init have said: for reports."""
    return lab.get(_LOG).decode(errors="replace")[-2000:]
