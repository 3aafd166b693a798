# SPDX-License-Identifier: MIT
"""The differential test: the same scripts on CPython in a Linux guest and on the firmware.

A scenario is a file of tests/differential/scenarios, in what CPython 3 and MicroPython have in
common. It imports socket, select, errno, struct, array, time and sys, takes no arguments, prints a
line per fact and is deterministic. Nothing expected is written by hand: what Linux printed is
recorded in tests/differential/recorded with kernel and date, and the firmware has to print that.

Settings
  loopback  a plain script: both ends of its connections are in it (CID 1), no device. Linux is
            the lab without its vhost-vsock; the firmware runs on this machine.
  host      a file with `def guest(cid, port, meet)` and `def host(cid, port, meet)`: the first
            runs in a guest, the second beside it, at once; `cid` is the other's, `port` and the
            two above it are theirs alone, and `meet()` returns in both once both have called it.
            Linux is a guest inside the lab (KVM, the kernel's vhost-vsock), the firmware another.
How many connections a scenario has is its own affair. A file may hold a group of scenarios, with
functions `alone_NAME(port)` or pairs `guest_NAME` and `host_NAME`: wording.py goes before each.

A dialogue, a function of a file of tests/differential/dialogues, is a sequence of socket calls
that is written once and runs in both settings; generated sequences are those nobody has written.

Modules, each needs only those above it
  parts        what runs inside: linux_inside.py (CPython), firmware_inside.py (MicroPython),
               meeting.py (meet() for both), wording.py (what groups are written in), sequence.py
               (what dialogues and generated sequences are written in)
  table        purposeful differences: tests/differential/differences.toml, and docs/errno.md
  scenarios    the files, as values
  sides        something that runs scripts and says what they printed: a Linux, a firmware
  nested       the Linux guest inside the lab
  recorded     what Linux printed, in the tree
  compare      two outputs against each other, with the table
  unmended     what is to be mended, written down
  rooms        where scenarios run: a Linux of one release, the firmware
  generate     random sequences of socket calls
  states       in which state a call met its socket, and what a run has reached
  dialogues    sequences written by hand, as scenarios
  catalogue    all that is recorded
  outcomes     what each call came to in each state: docs/errno.md
  shrink       the shortest sequence that still differs
  runners      runs sequences in a room, in either setting
  session      a run of sequences; `sequences` reports it
  cli          `mpfw differential`
"""
