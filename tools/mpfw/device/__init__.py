# SPDX-License-Identifier: MIT
"""The other end of the wire: vsock devices in Python, served to QEMU. They work, and they can lie.

From below, what all of them share: `memory` is the guest's, `rings` a split virtqueue as a device
sees it, `vhost_user` QEMU's protocol, `firmware` the guest's own protocol modules.

`mpfw device` (`command`) is the one that works: `settings` what it is told, `loop` one thread that
waits for everything, `switch` several guests and who reaches whom, `wire` one guest's two queues,
`stream` and `messages` a connection each (a control block of the firmware's and a program's
socket), `chains` and `plain` packets in the guest's buffers, `programs` the sockets of the host;
`mailbox` a guest's datagrams, `datagram_programs` their sockets; `wire_pci` a guest's device as a
whole PCI function.

The one that tests script: `packets` what travels, `vsock` the device, `policy` what it does;
`liars` and `floods` are policies that break rules; `host` puts it beside a guest.

What vhost-user keeps from a back end, a whole PCI function has: `pci` is one, whose every register
may lie, `virtio_pci` its virtio part, `vsock_pci` the same vsock device with its event queue,
`console_pci` a virtio-console;
`proxy` and `vfio_user` serve it to QEMU, `pci_hosts` puts it beside a guest.
"""
