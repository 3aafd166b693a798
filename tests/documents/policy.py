# SPDX-License-Identifier: MIT
"""Which commands of the documents take minutes, which go on until they are ended, and which no
test runs, by name and with the reason. A pattern stands for whole commands, without remarks."""

import re

ELSEWHERE = {
    r"make test( .*)?": "runs the tests, of which this is one",
    r"make (check|test-long|test-matrix)": "runs the tests, some of which are of this directory",
    r"pytest --overlay mpy_modules tests/firmware": "the same tests as without an overlay",
    r"make dist|pip install .*|pytest -n 4": "tests/wheel does so, in an environment of its own",
    r"make mutate( .*)?": "runs unit tests for 250 mutants; `mpfw mutate --count 2` runs a few",
    r"make fuzz( .*)?": "tests/fuzz has a shorter run",
    r"(make|mpfw) differential( .*)?": "boots three labs; tests/differential compares",
    r"mpfw fuzz --(minutes|repeat|level real).*": "tests/fuzz does so, by files of its own",
    r"mpfw exits.*": "boots the lab for minutes; tests/lab counts some",
    r"mpfw fresh .*": "takes root and a debootstrap of its own: `make test-long` runs it",
    r"mpfw run --gdb.*": "its text is of gdb 13: tests/firmware/test_gdb.py types the like",
    r"mpfw repl .*": "wants a terminal with somebody at it: tests/interop/test_repl.py is one",
    r"socat -u? ?VSOCK-.*": "speaks to the kernel's vhost-vsock, which the lab has: tests/lab",
    r"mpfw device .*": "goes on until it is ended: tests/device starts it, with paths of its own",
    r"socat .*UNIX-.*:/tmp/vm4\.vsock.*": "wants the guest of that device: tests/device has one",
    r"qemu-system-x86_64 .*-device vhost-user-vsock-pci.*": "the same",
    r"qemu-system-x86_64 .*-device vhost-vsock-pci.*": "needs the kernel's vhost-vsock: tests/lab",
}
LONG = (
    r"make coverage",
    r"mpfw fuzz( .*)?",
    r"mpfw (bench|compare|count|floods|mutate|overlay-time|profile|run-time)( .*)?",
    r"mpfw (upstream|vsock-test)( .*)?",
    r"(echo uname -r \| )?mpfw lab( .*)?",
    r"\$\(mpfw qemu .*",
)
STAYS = (r"mpfw forward .*",)


def bare(command: str) -> str:
    """A command in one line, without the remark behind it and without the way to our venv."""
    line = command.replace("\\\n", " ")
    line = re.sub(r"\s+# .*", "", line)
    return re.sub(r"\s+", " ", line).strip().removeprefix("build/venv/bin/")


def elsewhere(command: str) -> str:
    """Why no test runs a command; nothing if one does."""
    reasons = (why for one, why in ELSEWHERE.items() if re.fullmatch(one, bare(command)))
    return next(reasons, "")


def is_long(command: str) -> bool:
    """Whether it takes minutes."""
    return any(re.fullmatch(one, bare(command)) for one in LONG)


def stays(command: str) -> bool:
    """Whether it goes on until somebody ends it."""
    return any(re.fullmatch(one, bare(command)) for one in STAYS)
