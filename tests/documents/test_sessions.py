# SPDX-License-Identifier: MIT
"""What documents show being typed at terminals is typed, and prints what they show."""

import pytest
from policy import elsewhere, is_long
from reading import Section, sections
from terminals import Reader

from mpfw import paths

DOCUMENTS = sorted([*paths.ROOT.glob("*.md"), *paths.ROOT.glob("docs/**/*.md")])


def sessions() -> list[Section]:
    """The sections in which something is typed and shown."""
    found = []
    for path in DOCUMENTS:
        for section in sections(str(path.relative_to(paths.ROOT)), path.read_text()):
            steps = [step for step in section.steps if step.shown is not None]
            if steps and not all(elsewhere(step.typed) for step in steps):
                found.append(Section(section.document, section.heading, steps, section.files))
    return found


def marked(section: Section):
    long = any(is_long(step.typed) for step in section.steps)
    return pytest.param(section, id=str(section), marks=[pytest.mark.long] * long)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("section", [marked(section) for section in sessions()])
def test_a_session_prints_what_is_shown(section, place, reader: Reader):
    for name, text in section.files.items():
        (place / name).write_text(text)
    reader.go_through(section)
