# SPDX-License-Identifier: MIT
"""The frame of `mpfw fuzz`: plans, files of cases, the table, the command's words and statuses."""

import json
from pathlib import Path

import fuzz_level
import pytest
from click.testing import CliRunner, Result

from mpfw.fuzz import cases, classes, plan, report, session
from mpfw.fuzz.cli import fuzz


@pytest.fixture(autouse=True)
def small_level(monkeypatch, tmp_path):
    monkeypatch.setitem(classes.LEVELS, "small", "fuzz_level")
    monkeypatch.setattr(cases.Case.save, "__defaults__", (tmp_path,))


def mpfw_fuzz(*arguments: str) -> Result:
    return CliRunner().invoke(fuzz, ["--level", "small", "--jobs", "1", *arguments])


def test_classes_get_their_shares_in_turns():
    made = list(plan.batches(fuzz_level.CLASSES, 1, 1000))
    assert sum(each.count for each in made if each.kind.name == "even") == 750
    assert sum(each.count for each in made if each.kind.name == "odd") == 250
    assert {each.kind.name for each in made[:2]} == {"even", "odd"}


def test_the_first_batch_of_each_class_is_measured():
    seen: dict[str, list[bool]] = {}
    for each in plan.batches(fuzz_level.CLASSES, 1, 1000):
        seen.setdefault(each.kind.name, []).append(each.measure)
    assert all(each[0] and not any(each[1:4]) for each in seen.values())


def test_of_long_runs_fewer_batches_are_measured():
    """Measured, they take twice as long, and the first ones have reached what there is."""
    made = list(plan.batches(fuzz_level.CLASSES, 1, 200_000))
    even = [each.measure for each in made if each.kind.name == "even"]
    assert sum(even[:64]) == 16 and len(even) > 640 and sum(even[64:640]) == 36


def test_every_class_of_the_fast_level_is_a_twentieth_at_least():
    fast = classes.choose("fast")
    assert min(plan.shares(fast, 10_000_000).values()) >= 500_000


def test_a_batchs_seed_follows_from_the_runs():
    def seeds(seed):
        return [each.seed for each in plan.batches(fuzz_level.CLASSES, seed, 1000)]

    assert seeds(7) == seeds(7)
    assert len(set(seeds(7) + seeds(8))) == 2 * len(seeds(7))


def test_a_case_reads_back_as_it_was(tmp_path):
    case = cases.Case("fast", "rings", 0xAB, 5, "why", "more", {"bytes": "00"})
    assert cases.load(case.save(tmp_path)) == case


@pytest.mark.parametrize("text", ("no JSON", "[]", '{"level": "fast"}'))
def test_what_is_no_case_is_refused_in_one_sentence(tmp_path, text):
    (tmp_path / "x").write_text(text)
    with pytest.raises(cases.CaseError, match="no case that mpfw fuzz has saved"):
        cases.load(tmp_path / "x")


def test_a_run_says_what_each_class_came_to():
    done = mpfw_fuzz("--count", "1000")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["even", "750"],
        ["odd", "250"],
        ["all", "1,000"],
    ]
    assert lines[1].endswith("%")
    assert lines[-1] == "seed 1: nothing failed"


def test_nothing_begins_after_its_time(monkeypatch):
    made = plan.batches(fuzz_level.CLASSES, 1, None)
    result = session.run(fuzz_level.CLASSES, made, 1, until=0)
    assert [each.inputs for each in result.totals.values()] == [0, 0]


def test_a_failure_is_saved_and_repeated(tmp_path):
    failed = mpfw_fuzz("--count", "100000", "odd")
    assert failed.exit_code == 1
    assert "in detail" in failed.output
    assert "Error: odd: it is odd; `mpfw fuzz --repeat" in failed.output
    (path,) = tmp_path.glob("*.json")
    again = mpfw_fuzz("--repeat", str(path))
    assert again.exit_code == 1
    assert "Error: odd: it is odd" in again.output
    mended = json.loads(path.read_text()) | {"count": 1}
    path.write_text(json.dumps(mended))
    assert mpfw_fuzz("--repeat", str(path)).exit_code == 0


@pytest.mark.parametrize(
    "arguments, says",
    (
        (("pipes",), "no class 'pipes' in level 'small': it has even, odd"),
        (("--level", "none"), "no level 'none': there are fast, real, device, small"),
        (("--repeat", "nowhere"), "nowhere: No such file or directory"),
    ),
)
def test_a_wrong_word_is_one_sentence(arguments, says):
    failed = mpfw_fuzz(*arguments)
    assert failed.exit_code == 1
    assert failed.output == f"Error: {says}\n"


def test_lines_of_all_classes_are_added_up():
    result = session.Result({"a": session.Total(), "b": session.Total()})
    result.totals["a"].add(classes.Outcome(5, covered={"m": {1, 2}}), 1.0)
    result.totals["b"].add(classes.Outcome(5, covered={"m": {2, 3}}), 1.0)
    shown = report.table(result, lambda covered: 10.0 * len(covered["m"]))
    assert [line.split()[-2] for line in shown[1:]] == ["20.0", "20.0", "30.0"]


def test_modules_have_lines_that_count():
    from mpfw.fuzz import lines

    assert "vsock/stack.py" in lines.SUBJECTS and "vsock/words.py" not in lines.SUBJECTS
    everything = {path: set(lines.statements(path)) for path in lines.SUBJECTS}
    assert lines.share(everything) == 100
    assert not lines.missed(everything)
    assert Path(lines.MODULES, "pci/scan.py").exists()
