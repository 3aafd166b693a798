# SPDX-License-Identifier: MIT
"""OSError's subclasses: builtins as CPython has them, chosen by the number, whoever raises."""

import builtins
import errno

import pytest

from mpfw.guest.console import RemoteError

SUBCLASSES = sorted(
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, OSError) and name == value.__name__
)
NUMBERS = range(1, 134)


def test_the_classes_and_their_parents_are_cpythons(repl):
    classes = ", ".join(SUBCLASSES)
    code = f"print([(each.__name__, each.__bases__[0].__name__) for each in ({classes})])"
    expected = [(name, getattr(builtins, name).__base__.__name__) for name in SUBCLASSES]
    assert repl.console.exec(code) == f"{expected}\n"
    assert repl.console.eval("EnvironmentError is OSError and IOError is OSError")


def test_the_number_chooses_the_class_that_cpython_chooses(repl):
    expected = [type(OSError(number, "why")).__name__ for number in NUMBERS]
    for made in "OSError(n, 'why')", "OSError(n, 'why', 'file')", "OSError(n)":
        code = f"print([type({made}).__name__ for n in range(1, 134)])"
        if made == "OSError(n)":
            expected[0] = "OSError"  # EPERM: who writes OSError(1) means no number in particular
        assert repl.console.exec(code) == f"{expected}\n"


def test_a_subclass_that_is_called_stays_what_it_is(repl):
    code = """
class Ours(OSError):
    pass
for each in ConnectionError, BrokenPipeError, TimeoutError, Ours:
    made = each(104, "why")
    print(type(made) is each, made.errno, isinstance(made, ConnectionResetError))
"""
    assert repl.console.exec(code) == "True 104 False\n" * 4


RAISES = {
    "open('/none')": "FileNotFoundError",
    "os.mkdir('/there')": "FileExistsError",
    "open('/none/file', 'w')": "FileNotFoundError",
    "next(os.ilistdir('/none'))": "FileNotFoundError",
    "os.chdir('/none')": "FileNotFoundError",
    "__import__('machine').mem8[8]": "OSError",  # EFAULT, of a CPU exception
}


@pytest.mark.parametrize("call, name", RAISES.items())
def test_what_c_code_raises_is_of_the_subclass(repl, call, name):
    code = f"""
import os
os.mkdir('/there')
try:
    {call}
except OSError as error:
    print(type(error).__name__, error.errno in {[errno.ENOENT, errno.EEXIST, errno.EFAULT]})
"""
    assert repl.console.exec(code).endswith(f"{name} True\n")  # behind a report, if there is one


def test_python_catches_it_by_any_of_its_names(repl):
    code = """
def caught(error, *classes):
    found = []
    for each in classes:
        try:
            raise error
        except each:
            found.append(each.__name__)
        except Exception:
            pass
    return found
print(caught(OSError(104), OSError, ConnectionError, ConnectionResetError, BrokenPipeError))
print(caught(OSError(110), TimeoutError, IOError, Exception, ValueError))
"""
    reset = ["OSError", "ConnectionError", "ConnectionResetError"]
    assert repl.console.exec(code) == f"{reset}\n{['TimeoutError', 'OSError', 'Exception']}\n"


@pytest.mark.parametrize(
    "made, errno, strerror, filename, text",
    [
        ("OSError()", None, None, None, ""),
        ("OSError('why')", None, None, None, "why"),
        ("OSError(32, 'why')", 32, "why", None, "[Errno 32] EPIPE: why"),
        ("OSError(2, 'why', 'file')", 2, "why", "file", None),
        ("OSError(2)", 2, "No such file or directory", None, "[Errno 2] ENOENT"),  # MicroPython's
        ("TimeoutError()", None, None, None, ""),
        ("TimeoutError('timed out')", None, None, None, "timed out"),
        ("TimeoutError(110, 'why')", 110, "why", None, "[Errno 110] ETIMEDOUT: why"),
    ],
)
def test_what_an_error_says_of_itself(repl, made, errno, strerror, filename, text):
    repl.console.exec(f"error = {made}")
    found = repl.console.eval("(error.errno, error.strerror, error.filename)")
    assert found == (errno, strerror, filename)
    assert text is None or repl.console.eval("str(error)") == text


@pytest.mark.parametrize(
    "made, shown, args",
    [
        ("OSError('why')", "OSError('why')", ("why",)),
        ("OSError()", "OSError()", ()),
        ("OSError(32, 'why')", "BrokenPipeError(32, 'why')", (32, "why")),
        ("OSError(32)", "BrokenPipeError(32,)", (32, "Broken pipe")),  # repr: upstream's
        ("OSError(9999)", "OSError(9999,)", (9999,)),
        ("TimeoutError('timed out')", "TimeoutError('timed out')", ("timed out",)),
    ],
)
def test_an_error_s_repr_and_arguments(repl, made, shown, args):
    assert repl.console.eval(f"repr({made})") == shown
    assert repl.console.eval(f"{made}.args") == args


def test_a_subclass_of_the_program_s_own_shows_itself_by_its_name(repl):
    repl.console.exec("class Own(OSError):\n    pass\n")
    assert repl.console.eval("repr(Own('why'))") == "Own('why')"


def test_other_exceptions_have_what_upstream_gives_them(repl):
    assert repl.console.eval("(ValueError(5).errno, StopIteration(5).value)") == (5, 5)
    assert not repl.console.eval("hasattr(ValueError(5), 'strerror')")


def test_an_error_that_ends_a_script_has_its_own_name(boot):
    guest = boot(fw_cfg={"opt/micropython/main.py": "open('/none')"})
    guest.console.expect(rb"\nFileNotFoundError: \[Errno 2\] ENOENT\r?\n", 20)


def test_in_the_raw_repl_it_ends_as_an_oserror_which_mpremote_reads(repl):
    with pytest.raises(RemoteError, match=r"\nOSError: \[Errno 2\] ENOENT"):
        repl.console.exec("open('/none')")


def test_an_error_is_made_where_the_heap_is_locked(repl):
    code = """
import micropython
caught = error = None
micropython.heap_lock()
try:
    raise OSError(104)
except ConnectionResetError as error:
    caught = error
micropython.heap_unlock()
print(type(caught).__name__)
"""
    assert repl.console.exec(code) == "ConnectionResetError\n"
