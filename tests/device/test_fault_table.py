# SPDX-License-Identifier: MIT
"""docs/faults.md: every line of its table is what a guest does, and its commands work as typed."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
from talk import outcome

from mpfw import paths
from mpfw.device.faults.actions import ACTIONS
from mpfw.device.faults.files import from_file
from mpfw.lab import qemus

DOCUMENT = (paths.ROOT / "docs/faults.md").read_text()
ROWS = re.findall(r"^\| `(do = .+)` \| .+ \| (.+) \| (.+) \|$", DOCUMENT, re.M)
TABLE = [(rule, ours) for rule, ours, _ in ROWS]
CARRIED = re.findall(r"^\| `(do = [^`]+)` \| [^|]+ \| ([^|]+) \|$", DOCUMENT, re.M)
LINUX = [(rule, ours if linux == "the same" else linux) for rule, ours, linux in ROWS]


def test_the_table_has_every_action():
    rules = [tomllib.loads(f"rule = {{ {rule} }}")["rule"] for rule, _ in [*TABLE, *CARRIED]]
    assert set(ACTIONS) - {rule["do"] for rule in rules} == set()


@pytest.mark.parametrize("rule, says", TABLE, ids=[rule for rule, _ in TABLE])
def test_the_guest_does_what_the_table_says(rule, says, vsock_device, vsock_guest):
    keys = tomllib.loads(f"rule = {{ {rule} }}")["rule"]
    there = vsock_device.fault(keys.pop("do"), **keys)
    assert outcome(vsock_guest, vsock_device) in says.split(" / ")
    assert there.done > 0


@pytest.mark.vsock_device(carrier="x-pci-proxy-dev")
@pytest.mark.parametrize("rule, says", CARRIED, ids=[rule for rule, _ in CARRIED])
def test_the_guest_does_what_the_table_of_events_says(
    rule, says, vsock_device, vsock_guest_factory
):
    guest = vsock_guest_factory(qemu=qemus.with_device("x-pci-proxy-dev", "bookworm"))
    guest.ready()
    keys = tomllib.loads(f"rule = {{ {rule} }}")["rule"]
    there = vsock_device.fault(keys.pop("do"), **keys)
    assert outcome(guest, vsock_device) in says.split(" / ")
    assert there.done == 1 and not vsock_device.said


FILES = dict(re.findall(r"^```(?:python|toml)\n# (\S+)\n(.*?)^```$", DOCUMENT, re.M | re.S))


def test_the_documents_test_passes_as_it_stands(tmp_path):
    (tmp_path / "test_lossy.py").write_text(FILES["test_lossy.py"])
    words = ["-q", "-c", os.devnull, "--rootdir", tmp_path, "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *words, tmp_path / "test_lossy.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path)
    assert "1 passed" in done.stdout, done.stdout


def test_the_documents_rules_are_rules(tmp_path):
    path = tmp_path / "lossy.toml"
    path.write_text(FILES["lossy.toml"])
    assert [rule.name for rule in from_file(path).rules] == ["drop", "delay"]
