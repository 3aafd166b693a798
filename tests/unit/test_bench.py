# SPDX-License-Identifier: MIT
"""The benchmark's arithmetic and its page, from made-up numbers; no guest is booted."""

import pytest

from mpfw.bench import plan, report, results

LABELS = {"linux": "Linux", "floor": "bare metal", "script": "script", "echo": "echo"}
EXTRA = {
    "steady_trips": 1000,
    "steady_heap_bytes": 0,
    "steady_dma_bytes": 0,
    "idle_connection_bytes": 500.0,
    "steady_p50_us": 50.0,
    "steady_max_us": 900.0,
    "whole_times": 10,
    "whole_slowest_s": 0.1,
    "idle_cpu_share": 0.002,
    "payload_bytes": 500_000,
}


def measured(**better):
    """Two rounds in which all guests are alike, but for metrics given as guest_metric=[...]."""
    plain = {metric: [100.0, 110.0] for metric in results.METRICS}
    curves = {"idle_p50_us": [{0: 50.0, 1000: 55.0}], "fairness_64": [{1: 1.0, 200: 0.8}]}
    guests = {name: plain | curves for name in LABELS}
    for key, values in better.items():
        guest, _, metric = key.partition("_")
        guests[guest][metric] = values
    return guests


def target(judge, what):
    return next(target for target in judge.targets if what in target.what)


def test_trip_figures_are_the_median_the_99th_percentile_and_the_maximum():
    figures = plan.trip_figures([1000 * n for n in range(1, 101)])
    assert figures == {"p50_us": 51.0, "p99_us": 100.0, "max_us": 100.0}


def test_fairness_is_the_slowest_connection_against_the_mean():
    assert plan.fairness({"trips": [5, 10, 15]}) == 0.5
    assert plan.fairness({"trips": [0, 0]}) == 0


def test_distribution_runs_from_the_fastest_to_the_slowest():
    points = results.distribution(list(range(1000, 2000)))
    assert points[0] == 1.0 and points[100] == 1.999
    assert list(points.values()) == sorted(points.values())


def test_summary_takes_medians_and_keeps_the_spread():
    entry = results.summary({"linux": {"echo_mbs": [3.0, 1.0, 2.0]}})["linux"]["echo_mbs"]
    assert entry == {"median": 2.0, "min": 1.0, "max": 3.0, "rounds": [3.0, 1.0, 2.0]}


def test_curves_take_the_median_of_each_point():
    found = results.curves({"linux": {"c": [{1: 1.0, 2: 5.0}, {1: 3.0, 2: 7.0}]}})
    assert found == {"linux": {"c": {1: 2.0, 2: 6.0}}}


def test_a_target_on_its_limit_is_met():
    judge = results.Judge(measured(linux_p50_us=[262.5]), [50.0], EXTRA)
    found = target(judge, "median, script, against Linux")
    assert found.met and found.found == pytest.approx(0.4)


def test_a_target_beyond_its_limit_is_missed_and_says_so():
    judge = results.Judge(measured(script_sink_mbs=[490.0]), [50.0], EXTRA)
    assert not target(judge, "host to guest, script, against Linux").met
    assert "**missed**" in report.targets(judge)


def test_boot_is_held_against_qemu_alone():
    judge = results.Judge(measured(), [35.0], EXTRA)
    found = target(judge, "against QEMU alone")
    assert found.found == pytest.approx(3.0) and found.met


def test_the_page_has_every_metric_every_guest_and_the_retries():
    judge = results.Judge(measured(), [50.0], EXTRA)
    page = report.markdown(judge, LABELS, {"command": "make bench"}, ["echo: slow\nlog"])
    for what, _, _ in results.METRICS.values():
        assert what in page
    assert all(label in page for label in LABELS.values())
    assert "- echo: slow\n" in page and "\nlog" not in page


@pytest.mark.parametrize(
    "value, text", [(0.123456, "0.123"), (12.34, "12.3"), (12345.6, "12,346")]
)
def test_numbers_have_three_digits_and_no_exponent(value, text):
    assert report.number(value) == text


def test_log_events_reads_times_and_texts():
    assert results.log_events("[0.001500] INFO ipl: up\nnoise\n") == [(1.5, "ipl: up")]
