# SPDX-License-Identifier: MIT
"""A vsock device of our own, served to a guest over vhost-user; it can be polite, and it can lie.

`host.DeviceHost` puts one beside a guest. From below: `memory` is the guest's, `rings` a split
virtqueue as a device sees it, `vhost_user` QEMU's protocol, `packets` what travels, `vsock` the
device, `policy` what it does; `liars` are policies that break rules.

What vhost-user keeps from a back end, a whole PCI function has: `pci` is one, whose every register
may lie, `virtio_pci` its virtio part, `vsock_pci` the same vsock device with its event queue,
`console_pci` a virtio-console;
`proxy` and `vfio_user` serve it to QEMU, `pci_hosts` puts it beside a guest.
"""
