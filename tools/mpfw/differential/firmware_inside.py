# SPDX-License-Identifier: MIT
"""Runs scripts in the firmware: differential_run is what mpfw.differential.sides calls there.

MicroPython. Each script has a namespace of its own and is given its own print; the sockets that it
leaves open are closed when it ends, as Linux closes those of a process.
"""

_made = []  # sockets of the script that runs
_tracked = []  # has an element once _made is filled


def _track(kind):
    begin = kind.__init__

    def init(self, *arguments, **keywords):
        begin(self, *arguments, **keywords)
        _made.append(self)

    kind.__init__ = init


def _one(text, prelude):
    import errno
    import gc

    printed = []

    def say(*values, sep=" ", end="\n", file=None):
        text = sep.join([str(value) for value in values]) + end
        if file is None:
            printed.append(text)
        else:
            print(text, end="", file=file)

    namespace = {"__name__": "__main__", "print": say}
    try:
        exec(prelude, namespace)
        exec(compile(text, "scenario", "exec"), namespace)
    except OSError as error:
        number = error.args[0] if error.args else None
        say("raised", type(error).__name__, errno.errorcode.get(number, number))
    except (Exception, SystemExit) as error:
        say("raised", type(error).__name__)
    while _made:
        try:
            _made.pop().close()
        except OSError:
            pass
    gc.collect()
    return "".join(printed)


def differential_run(texts, prelude):
    """What each of the scripts printed; the prelude goes before each."""
    import socket

    if not _tracked:
        _track(socket.socket)
        _tracked.append(True)
    prelude = compile(prelude, "prelude", "exec")
    return [_one(text, prelude) for text in texts]
