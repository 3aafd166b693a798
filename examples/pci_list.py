# SPDX-License-Identifier: MIT
r"""Every PCI function of the machine: what it is, where its registers lie, what it can do.

How to run it:

    $ mpfw run --host none --qemu-arg=-device --qemu-arg=virtio-rng-pci examples/pci_list.py
    ...
    00:02.0 Unclassified device: Red Hat Virtio RNG [1af4:1005]
        ...
        capability 11 at 98
        ...
"""

import pci

for function in pci.devices():
    print(function)
    for bar in function.bars:
        if bar is not None:
            print("   ", bar)
    for number, at in function.capabilities():
        print("    capability %02x at %02x" % (number, at))
