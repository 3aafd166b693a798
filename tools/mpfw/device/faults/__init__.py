# SPDX-License-Identifier: MIT
"""Fault rules: what a device that works does to some of its packets. docs/faults.md has them.

`states` is what a connection is in, `actions` what can be done to a packet, `rules` a rule from
its keys, `files` rules from TOML; `injector` takes each packet through the rules: no queue, no
clock. `lane` holds packets until their time comes, `queues` are the queues that a device sees in
place of the guest's, `faulty` puts all of that around a device. `scripted` is the device of
pytest's fixture. A device without rules knows nothing of this package.
"""
