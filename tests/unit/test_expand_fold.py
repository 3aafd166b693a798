# SPDX-License-Identifier: MIT
"""`mpfw expand`: names of modules that hold constants only become numbers, and nothing else."""

import ast
import textwrap
from pathlib import Path

import pytest
from expand_trees import lay, run
from hypothesis import given
from hypothesis import strategies as st

from mpfw.expand import ExpandError, expand_tree, expanded_texts, frozen_texts

WORDS = '''
"""Constants only."""

from micropython import const

# A comment.
STATE = const(11)
OWED = const(STATE + 10)
MINUS = const(-5)
HUGE = const(1 << 70)
'''
MORE = """
from micropython import const
from .words import OWED as DEBT
from . import words
import pack.words

AGAIN = const(DEBT * words.STATE + pack.words.MINUS)
"""
TREE = {"pack/__init__.py": "", "pack/words.py": WORDS, "pack/more.py": MORE}


def folded(root, text, name="pack/user.py", **others):
    """The frozen text of a module `text` that stands beside `words` and `more`."""
    source = lay(root, {**TREE, **others, name: text})
    return {str(place): text for place, text in expanded_texts(source).items()}[name]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from .words import STATE\nX = STATE\n", "\nX = 11\n"),
        ("from .words import STATE as S, OWED\nX = S, OWED\n", "\nX = 11, 21\n"),
        ("from .words import (\n    STATE,  # c\n    OWED,\n)\nX = OWED\n", "\n\n\n\nX = 21\n"),
        ("from pack import words\nX = words.STATE\n", "\nX = 11\n"),
        ("from . import words as w\nX = w.STATE\n", "\nX = 11\n"),
        ("from . import words, user\nX = words.STATE\n", "from . import user\nX = 11\n"),
        ("import pack.words\nX = pack.words.STATE\n", "import pack\nX = 11\n"),
        ("import pack.words as w\nX = w.STATE\n", "\nX = 11\n"),
        ("import top\nX = top.T\n", "\nX = 3\n"),
        ("import struct, top\nX = top.T\n", "import struct\nX = 3\n"),
        ("import top  # why\nX = top.T  # that\n", "  # why\nX = 3  # that\n"),
        ("import top; X = top.T\n", "pass; X = 3\n"),
        ("X = 1; import top\nX = top.T\n", "X = 1; pass\nX = 3\n"),
        ("from .more import AGAIN\nX = AGAIN\n", "\nX = 226\n"),
        ("from .words import MINUS\nX = 3 -MINUS\n", "\nX = 3 -(-5)\n"),
        ("from .words import HUGE\nX = HUGE\n", f"\nX = {1 << 70}\n"),
        ("import top\nX = top.T.bit_length()\n", "\nX = (3).bit_length()\n"),
        ("import top\nX = (top  # c\n     .T)\n", "\nX = (3\\\n)\n"),
        ("import top\nX = 'ä€𝄞', top.T, 'ä', top.T\n", "\nX = 'ä€𝄞', 3, 'ä', 3\n"),
        ("import top\nX = '\x0c\u2028', \\\n  top.T\n", "\nX = '\x0c\u2028', \\\n  3\n"),
        ("def f():\n    import top\n    return top.T\n", "def f():\n    pass\n    return 3\n"),
        ("from top import T\nX = f(T, T=T)\n", "\nX = f(3, T=3)\n"),
        ("from top import T\n_X = const(T * 2)\nY = 0\n", "\n_X = const(3 * 2)\nY = 0\n"),
    ],
)
def test_what_comes_from_constants_becomes_a_number_in_place(tmp_path, text, expected):
    top = "from micropython import const\nT = const(3)\n"
    assert folded(tmp_path, text, **{"top.py": top}) == expected


def test_modules_of_constants_are_not_frozen(tmp_path):
    source = lay(tmp_path / "source", {**TREE, "pack/user.py": "from .words import STATE\n"})
    expand_tree(source, tmp_path / "target")
    frozen = {path.name for path in (tmp_path / "target").rglob("*.py")}
    assert frozen == {"__init__.py", "user.py"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        '"""Nothing."""\n',
        "from micropython import const\nX = const(1)\nY = 2\n",
        "from micropython import const\nX = const(1)\nprint(X)\n",
        "import struct\nfrom micropython import const\nX = const(1)\n",
        "from struct import calcsize\nfrom micropython import const\nX = const(1)\n",
        "from micropython import const\nX = Y = const(1)\n",
        "from micropython import const\nX = const(1)\ndef f():\n    pass\n",
        "from .user import f\nfrom micropython import const\nX = const(1)\n",
        "try:\n    from micropython import const\nexcept ImportError:\n    pass\nX = const(1)\n",
    ],
)
def test_other_modules_are_frozen(tmp_path, text):
    user = "from . import other\nX = other\ndef f():\n    pass\n"
    source = lay(tmp_path, {**TREE, "pack/other.py": text, "pack/user.py": user})
    assert "pack/other.py" in map(str, expanded_texts(source))


SCOPES = """
from .words import STATE, OWED
from . import words
from pack import plain

STORE = words.STATE


class Box:
    STATE = STATE + 1
    seen = STATE
    inside = [STATE for each in range(STATE)]
    first = [each for each in range(STATE - 10)]

    def __init__(self, words):
        self.words = words
        self.STATE = "own"

    def method(self):
        return STATE, self.STATE, Box.STATE, self.words.STATE, words.OWED

    def OWED(self, n=OWED):
        return n, OWED

    owed = OWED


class Other:
    def STATE(self, n=STATE):
        return n

    found = STATE


class Thing:
    STATE = 77


def parameter(STATE, *OWED, **words):
    return STATE, OWED, words


def keyword(*, STATE=STATE):
    return STATE, OWED


def local():
    STATE = OWED
    for OWED_ in (1, 2):
        STATE += OWED_
    return STATE


def loop():
    out = []
    for STATE in range(2):
        out.append(STATE)
    return out


def raised():
    try:
        raise ValueError(STATE)
    except ValueError as error:
        return error.args


def caught():
    try:
        raise ValueError(1)
    except ValueError as STATE:
        return STATE.args


def inner():
    def STATE():
        return 5

    return STATE()


def around():
    def within():
        return STATE

    STATE = 6
    return within()


def changed():
    STATE = 1

    def within():
        nonlocal STATE
        STATE = STATE + 1

    within()
    return STATE


def past():
    STATE = 7

    def within():
        global STATE
        return STATE

    return within(), STATE


def asked():
    global OTHER
    OTHER = STATE
    return OTHER


def imported():
    from .words import MINUS as STATE
    from . import more as words

    def within():
        return STATE, words.AGAIN

    return within()


def plainly():
    from .plain import STATE
    import pack.plain as words

    return STATE, words.STATE


def walrus():
    out = [STATE := each for each in range(3)]
    return out, STATE


def outward():
    return [(own, STATE) for own in range(STATE - 9) if own < STATE]


def targets():
    return [STATE for STATE in range(3)], {STATE: OWED for OWED in (STATE,)}


def lambdas():
    return (lambda STATE: STATE)(1), (lambda n=STATE: n + OWED)(), sorted([2, 1], key=lambda n: -n)


def attributes():
    thing = Thing()
    return thing.STATE, Thing().STATE, plain.STATE, plain.again, plain.words.STATE


def nested():
    def deeper(words):
        return (lambda: words.STATE)()

    class Inner:
        words = Thing

        def own(self):
            return self.words.STATE, words.STATE

    return deeper(Thing), Inner().own()


def work():
    box = Box(Thing)
    return (
        local(), loop(), raised(), caught(), inner(), around(), changed(), past(),
        asked(), imported(), plainly(), walrus(), outward(), targets(), lambdas(), attributes(),
        nested(),
        parameter(1, 2, a=3), keyword(), keyword(STATE=2),
        box.method(), box.OWED(), Box.STATE, Box.seen, Box.inside, Box.first, STORE,
        Other.found(None), Other().STATE(),
    )
"""
PLAIN = "from .words import OWED as again\nfrom . import words\nSTATE = 'plain'\n"


def test_scopes_are_python_s(tmp_path):
    files = {**TREE, "pack/user.py": SCOPES, "pack/plain.py": PLAIN}
    source = lay(tmp_path / "source", files)
    expand_tree(source, tmp_path / "target")
    assert run(source) == run(tmp_path / "target")
    text = (tmp_path / "target/pack/user.py").read_text()
    assert "import words" not in text and "from .words" not in text


def test_lines_keep_their_numbers_and_other_text_its_bytes(tmp_path):
    before = textwrap.dedent(SCOPES).removeprefix("\n").split("\n")
    after = folded(tmp_path, SCOPES, **{"pack/plain.py": PLAIN}).split("\n")
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        if not any(name in old for name in ("STATE", "OWED", "words")):
            assert old == new


LEAVES = ["STATE", "OWED", "x", "words.STATE", "words.OWED", "S", "'é'", "('€', -S, STATE)"]
SHAPES = [
    "({0}, {1})",
    "(lambda {name}: {0})({1})",
    "(lambda {name}={0}: {1})()",
    "[{0} for {name} in ({1}, {1})]",
    "({0}, dict({name}={1}))",
    "[{0} for x in (1,) for {name} in [{1}]]",
]


def expressions():
    """Expressions in which names may be shadowed."""
    names = st.sampled_from(["STATE", "OWED", "words", "x", "S"])

    def larger(parts):
        shapes = st.sampled_from(SHAPES)
        return st.builds(
            lambda shape, name, *parts: shape.format(*parts, name=name),
            shapes, names, parts, parts,
        )  # fmt: skip

    return st.recursive(st.sampled_from(LEAVES), larger, max_leaves=6)


@given(st.lists(expressions(), min_size=1, max_size=4), st.booleans())
def test_any_expression_means_the_same(tmp_path_factory, parts, within):
    text = """from .words import STATE, OWED, MINUS as S
from . import words
x = 'x'


def attempt(f):
    try:
        return f()
    except Exception as error:
        return type(error).__name__


def work():
    out = []
"""
    for part in parts:
        if within:
            text += "    class Own:\n        STATE = 1\n"
            text += f"        OWED = attempt(lambda: {part})\n        words = x, OWED\n"
            text += "    out += [Own.OWED, Own.words]\n"
        text += f"    out.append(attempt(lambda: ({part})))\n"
    text += "    return out\n"
    root = tmp_path_factory.mktemp("any")
    source = lay(root / "source", {**TREE, "pack/user.py": text})
    expand_tree(source, root / "target")
    assert run(source) == run(root / "target")
    frozen = (root / "target/pack/user.py").read_text()
    assert len(frozen.split("\n")) == len(text.split("\n"))


def test_a_package_is_frozen_whatever_it_holds(tmp_path):
    text = "from micropython import const\nONE = const(1)\n"
    user = "import pack.words\nfrom pack import ONE\nX = ONE + pack.words.STATE\n"
    files = {**TREE, "pack/__init__.py": text, "pack/user.py": user}
    source = lay(tmp_path / "source", files)
    texts = {str(place): text for place, text in expanded_texts(source).items()}
    assert texts["pack/__init__.py"] == text
    assert texts["pack/user.py"] == "import pack\nfrom pack import ONE\nX = ONE + 11\n"


def test_what_another_module_imports_is_folded_there_too(tmp_path):
    text = "from .plain import again\nfrom . import plain\nX = again, plain.words.STATE\n"
    expected = "\nfrom . import plain\nX = 21, 11\n"
    assert folded(tmp_path, text, **{"pack/plain.py": PLAIN}) == expected


def test_a_traceback_names_the_line_of_the_source(tmp_path):
    text = "from .words import (\n    STATE,\n)\n\n\ndef work():\n    return STATE / 0\n"
    source = lay(tmp_path / "source", {**TREE, "pack/user.py": text})
    expand_tree(source, tmp_path / "target")
    lines = []
    for root in (source, tmp_path / "target"):
        with pytest.raises(ZeroDivisionError) as caught:
            run(root)
        lines.append(caught.traceback[-1].lineno)
    assert lines[0] == lines[1] == 6


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("from .words import STATE, NAME\n", 1, "pack.words has no NAME"),
        ("from .words import (\n    STATE,\n    NAME,\n)\n", 3, "pack.words has no NAME"),
        ("from . import words\nX = (1,\n     words.NAME)\n", 3, "pack.words has no NAME"),
        ("import pack.words\nX = pack.words.NAME\n", 2, "pack.words has no NAME"),
        ("from .words import *\n", 1, "import \\* hides"),
        ("from struct import *\n", 1, "import \\* hides"),
        ("from . import words\nf(words)\n", 2, "pack.words holds constants only"),
        ("from . import words as w\nX = getattr(w, 'STATE')\n", 2, "pack.words holds"),
        ("import pack.words\nX = pack.words\n", 2, "pack.words holds constants only"),
        ("from .words import STATE\nSTATE = 3\n", 2, "STATE comes from pack.words"),
        ("from .words import STATE\nSTATE += 3\n", 2, "STATE comes from pack.words"),
        ("from .words import STATE\nfor STATE in ():\n    pass\n", 2, "STATE comes from"),
        ("from .words import STATE\ndel STATE\n", 2, "STATE comes from pack.words"),
        ("from .words import STATE\ndef STATE():\n    pass\n", 2, "STATE comes from"),
        ("from .words import STATE\nX = [STATE := 1 for i in ()]\n", 2, "STATE comes from"),
        ("from . import words\nwords = None\n", 2, "words comes from pack.words"),
        ("import pack.words\npack = None\n", 2, "pack comes from pack.words"),
        ("from . import words\nwords.STATE = 3\n", 2, "words.STATE is a constant"),
        ("from . import words\ndel words.STATE\n", 2, "words.STATE is a constant"),
        ("from . import words\nwords.STATE += 3\n", 2, "words.STATE is a constant"),
        (
            "from .words import STATE\ndef f():\n    global STATE\n    STATE = 1\n",
            4,
            "STATE comes from pack.words",
        ),
        (
            "def f():\n    from .words import STATE\n    def g():\n        nonlocal STATE\n"
            "        STATE = 1\n",
            5,
            "STATE comes from pack.words",
        ),
        (
            "from .words import STATE\nfrom .words import OWED as STATE\n",
            2,
            "STATE comes from pack.words",
        ),
        ("class A:\n    from .words import STATE\n", 2, "not imported in a class body"),
        (
            "from .words import STATE\nclass A:\n    if f():\n        STATE = 1\n    X = STATE\n",
            5,
            "STATE is a name of the class and a constant",
        ),
        ("from .words import STATE\nclass A:\n    STATE += 1\n", 3, "STATE is a name of the cl"),
        ("from .words import STATE\nX = f'{STATE}'\n", 2, "STATE is a constant in an f-string"),
        ("from .words import STATE\nX = const(STATE + Y)\n", 2, "no constant: name 'Y'"),
        ("from .... import words\n", 1, "leads out of the tree"),
    ],
)
def test_what_cannot_be_folded_is_an_error_with_its_place(tmp_path, text, line, why):
    source = lay(tmp_path / "source", {**TREE, "pack/user.py": text})
    with pytest.raises(ExpandError, match=rf"source/pack/user\.py:{line}: .*{why}"):
        expanded_texts(source)


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("X = const(1.5)\n", 2, "X is no integer"),
        ("X = const('a')\n", 2, "X is no integer"),
        ("X = const(1)\nX = const(2)\n", 3, "X is defined twice"),
        ("X = const(Y)\nY = const(2)\n", 2, "name 'Y' is not defined"),
        ("X = const(1 // 0)\n", 2, "no constant: .*zero"),
        ("from .words import NAME\nX = const(NAME)\n", 2, "pack.words has no NAME"),
        ("from . import words\nX = const(words.NAME)\n", 3, "pack.words has no NAME"),
        ("import pack.words\nX = const(pack.words.NAME)\n", 3, "pack.words has no NAME"),
        ("from .words import STATE\nSTATE = const(1)\n", 3, "STATE is defined twice"),
        ("from . import user\nX = const(user.X)\n", 1, "pack.user imports itself"),
    ],
)
def test_a_constant_that_is_none_is_an_error_with_its_place(tmp_path, text, line, why):
    text = "from micropython import const\n" + text
    source = lay(tmp_path / "source", {**TREE, "pack/user.py": text})
    with pytest.raises(ExpandError, match=rf"source/pack/user\.py:{line}: .*{why}"):
        expanded_texts(source)


INLINED = """
from inline import inline
from . import words
from .words import OWED

class micropython:
    viper = staticmethod(lambda f: f)

@inline
@micropython.viper
def owed(n: int) -> int:
    return n + OWED + words.STATE
"""


def test_folded_names_are_numbers_where_a_body_is_inlined(tmp_path):
    text = "from .low import micropython\nfrom . import low\n@micropython.viper\n"
    text += "def work():\n    return low.owed(low.words.MINUS)\n"
    source = lay(
        tmp_path / "source",
        {
            **TREE,
            "inline.py": "def inline(f):\n    return f\n",
            "pack/low.py": INLINED,
            "pack/user.py": text,
        },
    )
    expand_tree(source, tmp_path / "target")
    assert run(source) == run(tmp_path / "target") == 27
    frozen = (tmp_path / "target/pack/user.py").read_text()
    assert "21" in frozen and "11" in frozen
    names = {node.id for node in ast.walk(ast.parse(frozen)) if isinstance(node, ast.Name)}
    assert not names & {"OWED", "words", "owed"}


def test_an_overlay_replaces_and_adds_files(tmp_path):
    root = lay(
        tmp_path / "root", {**TREE, "pack/user.py": "from .words import STATE\nX = STATE\n"}
    )
    words = "from micropython import const\nSTATE = const(12)\n"
    over = lay(tmp_path / "over", {"pack/words.py": words, "new.py": "import pack.user\n"})
    lay(root, {"pack/more.py": ""})
    texts = {str(place): text for place, text in expanded_texts(root, over).items()}
    assert texts["pack/user.py"] == "\nX = 12\n"
    assert texts["new.py"] == "import pack.user\n"
    assert sorted(texts) == ["new.py", "pack/__init__.py", "pack/more.py", "pack/user.py"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"X = 1\ndef f(:\n", r"over/pack/user\.py:2: \S"),
        (b"X = 1\nfrom .words import NAME\n", r"over/pack/user\.py:2: pack.words has no NAME$"),
        (b"# \xff\n", r"over/pack/user\.py:1: this is not UTF-8$"),
        (b"X = 1\n\0\n", r"over/pack/user\.py:\d: .*null bytes"),
    ],
)
def test_an_error_in_an_overlay_is_one_sentence_with_its_place(tmp_path, text, why):
    root = lay(tmp_path / "root", {**TREE, "pack/user.py": ""})
    over = lay(tmp_path / "over", {"pack/user.py": ""})
    (over / "pack/user.py").write_bytes(text)
    with pytest.raises(ExpandError, match=why) as caught:
        expanded_texts(root, over)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import time\n", "import utime as time\n"),
        ("import machine, top, sys\n", "import umachine as machine, top, sys\n"),
        ("import time as t  # why\n", "import utime as t  # why\n"),
        ("from array import array\n", "from uarray import array\n"),
        ("from time import (\n    sleep,\n)\nX = 1\n", "from utime import sleep\n\n\nX = 1\n"),
        ("def f():\n    import struct\n", "def f():\n    import ustruct as struct\n"),
        ("import os, io\n", "import os, uio as io\n"),  # the tree has an os
        ("from . import time\n", "from . import time\n"),
        ("import times\n", "import times\n"),
    ],
)
def test_micropythons_own_modules_are_imported_past_the_file_systems(tmp_path, text, expected):
    root = lay(tmp_path / "root", {"user.py": text, "top.py": "X = [1]\n", "os.py": ""})
    assert frozen_texts(root)[Path("user.py")] == expected
    assert expanded_texts(root)[Path("user.py")] == text
