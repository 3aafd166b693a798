# SPDX-License-Identifier: MIT
"""A vsock device of our own, served to a guest over vhost-user; it can be polite, and it can lie.

`host.DeviceHost` puts one beside a guest. From below: `memory` is the guest's, `rings` a split
virtqueue as a device sees it, `vhost_user` QEMU's protocol, `packets` what travels, `vsock` the
device, `policy` what it does; `liars` are policies that break rules.
"""
