# SPDX-License-Identifier: MIT
"""docs/faults.md: every line of its table is what a guest does, and its commands work as typed."""

import os
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from talk import outcome

import mpfw
from mpfw import paths
from mpfw.device.faults.actions import ACTIONS
from mpfw.device.faults.files import from_file
from mpfw.device.faults.scripted import ScriptedDevice
from mpfw.lab import qemus

DOCUMENT = (paths.ROOT / "docs/faults.md").read_text()
ROWS = re.findall(r"^\| `(do = .+)` \| .+ \| (.+) \| (.+) \|$", DOCUMENT, re.M)
TABLE = [(rule, ours) for rule, ours, _ in ROWS]
CARRIED = re.findall(r"^\| `(do = [^`]+)` \| [^|]+ \| ([^|]+) \|$", DOCUMENT, re.M)
AT_ONCE = 3  # conversations
LINUX = [(rule, ours if linux == "the same" else linux) for rule, ours, linux in ROWS]


def test_the_table_has_every_action():
    rules = [tomllib.loads(f"rule = {{ {rule} }}")["rule"] for rule, _ in [*TABLE, *CARRIED]]
    assert set(ACTIONS) - {rule["do"] for rule in rules} == set()


@dataclass(frozen=True)
class Row:
    """How a line's conversation went."""

    outcome: str
    done: int  # times that the rule was applied
    report: str


def converse(rule: str) -> Row:
    """Have a guest of its own talk under a rule."""
    keys = tomllib.loads(f"rule = {{ {rule} }}")["rule"]
    device = ScriptedDevice()
    with mpfw.Guest(device=device) as guest:
        guest.ready()
        there = device.fault(keys.pop("do"), **keys)
        return Row(outcome(guest, device), there.done, guest.report())


@pytest.fixture(scope="module")
def rows(request):
    """Rule -> the future of its Row, of all lines that were chosen. A conversation is silence for
    the most part, of seconds: some are held at the same time."""
    wanted = [
        item.callspec.params["rule"]
        for item in request.session.items
        if item.module is request.module and "rows" in item.fixturenames
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {rule: pool.submit(converse, rule) for rule in wanted}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("rule, says", TABLE, ids=[rule for rule, _ in TABLE])
def test_the_guest_does_what_the_table_says(rule, says, rows):
    row = rows[rule].result()
    assert row.outcome in says.split(" / "), row.report
    assert row.done > 0


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
