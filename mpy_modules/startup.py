# SPDX-License-Identifier: MIT
"""Which script runs: fw_cfg's, the image's app volume's, the RAM disk's, or the built-in echo.

The script runs as __main__, so that its names are there at the prompt that follows.
"""

import sys

import fw_cfg
import machine
import vfs
from micropython import const

SCRIPT = "opt/micropython/main.py"
NAME = "opt/micropython/name"  # what the script is called, in tracebacks and in sys.argv[0]
ARGV = "opt/micropython/argv"
MODULE = "opt/micropython/module"  # what runs as `python -m` runs it, in place of a script
APP = "opt/micropython/app"  # a ROMFS image: the modules beside the script, and its files
RUN = "opt/micropython/run"  # runner.py: "exit", or "interactive" for the prompt afterwards
FILES = ("/rom/main.py", "/main.py")
_ARGV_LIMIT = const(65536)
_NAME_LIMIT = const(4096)
_QSTR_LIMIT = const(255)  # bytes of a file's name in a traceback
_APP_PLACE = "/app"
_MIXED = "%s: some lines begin with tabs, others with blanks: use one of them"
_ARGV0 = {"<string>": "-c", "<stdin>": "-"}

NO_DEVICE = (
    "No vsock device: start QEMU with -device vhost-vsock-pci,guest-cid=33 "
    "(or vhost-user-vsock-pci) to have one"
)

REFUSED = "The vsock device cannot be used: %s"


def run(namespace):
    """Find the script and run it in `namespace`."""
    mode = fw_cfg.read(RUN, _NAME_LIMIT)
    if mode is None:
        _start(namespace)
        return
    import runner

    runner.run(lambda: _start(namespace), mode == b"interactive")


def _start(namespace):
    module = fw_cfg.read(MODULE, _NAME_LIMIT)
    name, source = (_name(), None) if module is not None else _find()
    sys.argv[:] = [_ARGV0.get(name, name)] + words(fw_cfg.read(ARGV, _ARGV_LIMIT) or b"")
    machine.log("startup", name)
    contents = fw_cfg.read(APP)
    if contents is not None:
        vfs.mount(vfs.VfsRom(contents), _APP_PLACE)
        sys.path.insert(0, _APP_PLACE)
    if module is not None:
        # False: as __main__, which is how upstream's unix port has it (py/builtinimport.c).
        namespace.update(__import__(str(module, "utf-8"), None, None, False).__dict__)
    elif source is not None:
        namespace["__file__"] = name
        try:
            source = _text(source)
        except UnicodeError:
            raise SyntaxError("%s: not UTF-8" % name)
        try:
            code = compile(source, _short(name), "exec")
        except SyntaxError:
            if "\n\t" in source and "\n " in source:
                print(_MIXED % name, file=sys.stderr)
            raise
        exec(code, namespace)
    else:
        _echo()


def _short(name):
    """A file's name, or its end if a traceback has no room for more."""
    while len(name.encode()) > _QSTR_LIMIT:
        name = name[1:]
    return name


def _echo():
    import vsock

    if not vsock.devices():
        print(NO_DEVICE)
        return
    try:
        vsock.get()
    except OSError as error:
        print(REFUSED % error.args[-1])
        return
    from apps import echo

    echo.main()


def _find():
    """(name, source) of the script; no source for the built-in echo."""
    source = fw_cfg.read(SCRIPT)
    if source is not None:
        return _name(), source
    for path in FILES:
        try:
            with open(path, "rb") as file:
                return path, file.read()
        except OSError:
            pass  # not there
    return "apps.echo", None


def _name():
    """What the host calls the script."""
    return str(fw_cfg.read(NAME, _NAME_LIMIT) or b"main.py", "utf-8")


def _text(source):
    """A script's text: UTF-8, with or without a byte order mark."""
    if source[:3] == b"\xef\xbb\xbf":
        source = source[3:]
    return str(source, "utf-8")


def words(argv):
    """The arguments in fw_cfg's string: each ended by a NUL, or, if none is there, words."""
    text = str(argv, "utf-8")
    if "\0" in text:
        return text.split("\0")[:-1] if text[-1] == "\0" else text.split("\0")
    return text.split()
