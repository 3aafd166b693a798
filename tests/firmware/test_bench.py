# SPDX-License-Identifier: MIT
"""The benchmark's own guests and measurements work: each of them once, briefly, no numbers judged.

Always on vhost-device-vsock, as the benchmark is. The Linux guest is left to `make bench`.
"""

from dataclasses import replace

import pytest

from mpfw.bench import guests, plan
from mpfw.bench.count import counted
from mpfw.guest.machine import pick_accelerator

BRIEF = replace(
    plan.QUICK,
    rounds=1,
    trips=50,
    bulk_seconds=0.1,
    connections=10,
    curve_seconds=0.1,
    sizes=(64, 65536),
    idle=(0, 20),
    busy=(1, 20),
    steady_trips=500,
    whole_times=2,
    quiet_seconds=0.5,
)


@pytest.fixture(scope="module")
def parts(image):
    return guests.build(pick_accelerator(), image, peer=False)


@pytest.mark.parametrize("name", ["floor", "script", "echo"])
def test_a_sitting_measures_every_guest(parts, name):
    sitting = plan.Sitting(replace(parts, kinds={name: parts.kinds[name]}), BRIEF, print)
    sitting.run()
    assert not sitting.retries
    found = sitting.measured[name]
    assert found["p50_us"][0] > 0 and found["echo_mbs"][0] > 0 and found["connections_s"][0] > 0
    assert ("sink_mbs" in found) == ("bulk" in parts.kinds[name].services)
    assert ("stats" in parts.kinds[name].services) == ("idle_connection_bytes" in sitting.extra)
    assert 0 < sitting.extra.get("idle_connection_bytes", 1) < 1000


def test_qemu_alone_ends_by_itself(parts):
    assert guests.time_nothing(parts) > 0


def test_a_guest_that_does_not_listen_is_an_error_that_shows_its_console(parts):
    kind = replace(parts.kinds["floor"], machine=parts.nothing, ready=b"READY")
    with pytest.raises(Exception, match="READY") as caught, guests.BenchGuest(parts, kind):
        pass
    assert "--- command ---" in caught.value.__notes__[0]


def test_instructions_are_counted_and_hardly_differ_from_run_to_run(image):
    first, second = counted(image), counted(image)
    assert first.keys() == second.keys() and len(first) == 7
    steady = [name for name in first if "loopback" in name]
    assert all(abs(first[name] - second[name]) < first[name] / 10 for name in steady)


def test_compare_measures_an_image_against_another(parts, image):
    sitting = plan.Sitting(guests.variants(parts, {"a": image, "b": image}), BRIEF, print)
    sitting.run()
    assert sorted(sitting.measured) == ["a, echo", "a, script", "b, echo", "b, script"]
    assert not sitting.extra
