# SPDX-License-Identifier: MIT
"""The bench's end of a pipe: objects that a test calls by name, here or in another process.

A call is a path and its arguments: "q.add1", 4096, 16, True. What is found there is called, or is
the answer if it is nothing to call. As a program this serves calls that come over its pipes.
"""

import sys

import bench_clock
import bench_codec
import bench_machine

if bench_machine.NATIVE:
    sys.modules["machine"] = sys.modules["umachine"] = bench_machine
    sys.modules["time"] = sys.modules["utime"] = bench_clock

import bench_queue  # noqa: F401
import bench_world  # noqa: F401
from bench_objects import find, given, objects, offered

objects["machine"] = bench_machine
objects["clock"] = bench_clock


@offered
def load(name):
    """Import a module that offers more."""
    __import__(name)


def call(path, *arguments):
    """The answer of one call, as it travels."""
    found = find(path)
    return bench_codec.plain(found(*given(path, arguments)) if callable(found) else found)


def serve(request, answer):
    """Answer lists of calls until there are no more.

    An answer is the values, then, if a call failed, its exception's name, arguments and traceback.
    """
    while True:
        try:
            calls = bench_codec.receive(request)
        except EOFError:
            return
        values = []
        failure = None
        try:
            for each in calls:
                values.append(call(*each))
        except Exception as error:
            failure = [type(error).__name__, plain_arguments(error), _traceback(error)]
        bench_codec.send(answer, [values, failure])
        answer.flush()


def plain_arguments(error):
    """The arguments of an exception, as they travel."""
    return [each if isinstance(each, (int, str)) else repr(each) for each in error.args]


def _traceback(error):
    import io

    text = io.StringIO()
    sys.print_exception(error, text)
    return text.getvalue()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
