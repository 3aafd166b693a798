# SPDX-License-Identifier: MIT
"""Commands that documents and help texts list, without what they print: each runs, and does not
fail. Which do not run here, and why, says policy.py."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from policy import ELSEWHERE, LONG, STAYS, bare, elsewhere, is_long, stays
from reading import help_examples, sections
from test_sessions import DOCUMENTS

from mpfw import paths
from mpfw.cli import main
from mpfw.guest.carriers import PROXY
from mpfw.guest.machine import QEMU_VARIABLE
from mpfw.guest.programs import pipe
from mpfw.lab.qemus import with_device
from mpfw.readable import readable

SECONDS = 60
MINUTES = 30  # of a long one
LISTENER = "import socket; s = socket.create_server((2**32 - 1, 80)); print('up'); s.accept()"


def in_documents() -> Iterator[tuple[str, str]]:
    """(where, command) of all that documents list."""
    for path in DOCUMENTS:
        name = str(path.relative_to(paths.ROOT))
        for section in sections(name, path.read_text()):
            for step in section.steps:
                if step.shown is None:
                    yield name, step.typed


def in_sessions() -> Iterator[str]:
    for path in DOCUMENTS:
        for section in sections(path.name, path.read_text()):
            yield from (step.typed for step in section.steps if step.shown is not None)


def subcommands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """A command and all below it, by what one types."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for each in command.list_commands(context):
            below = command.get_command(context, each)
            if below is not None and not below.hidden:
                yield from subcommands(below, f"{name} {each}")


COMMANDS = dict(subcommands(main, "mpfw"))


def help_text(name: str) -> str:
    command = COMMANDS[name]
    with click.Context(command, info_name=name) as context:
        return command.get_help(context)


def in_help() -> Iterator[tuple[str, str]]:
    for name in COMMANDS:
        for step in help_examples(name, help_text(name)).steps:
            yield f"{name} -h", step.typed


def listed() -> list:
    """All of them once, but for those that run elsewhere."""
    found: dict[str, tuple[str, str]] = {}
    for where, command in [*in_documents(), *in_help()]:
        if not elsewhere(command):
            found.setdefault(bare(command), (where, command))
    return [
        pytest.param(command, id=f"{where}: {line}", marks=[pytest.mark.long] * is_long(command))
        for line, (where, command) in found.items()
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_help_text_has_examples_of_its_own_command(name):
    steps = help_examples(name, help_text(name)).steps
    assert steps, f"{name} -h has no examples"
    assert any(name in bare(step.typed) for step in steps)


@pytest.mark.parametrize("pattern", [*ELSEWHERE, *LONG, *STAYS])
def test_what_is_treated_apart_is_there(pattern):
    every = [command for _, command in [*in_documents(), *in_help()]] + list(in_sessions())
    assert any(re.fullmatch(pattern, bare(command)) for command in every)


@pytest.fixture
def guest(place, environment):
    """A function: starts a guest that listens, with CID 33, for the commands that call one."""
    started = []

    def start():
        command = ["mpfw", "run", "--cid", "33", "-c", LISTENER]
        one = subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.PIPE)
        started.append(one)
        assert pipe(one.stdout).readline() == b"up\n"

    yield start
    for one in started:
        one.terminate()
        one.wait(10)
        pipe(one.stdout).close()


def prepare(command: str, place, environment: dict[str, str]) -> None:
    """Modules for an overlay are another directory than one with a program; datagrams take a QEMU
    that has a device for them."""
    if "--overlay directory" in command or "OVERLAY=directory" in command:
        (place / "directory/main.py").unlink()
    if "--datagrams" in command:
        environment[QEMU_VARIABLE] = with_device(PROXY, "bookworm")


@pytest.mark.timeout(60 * MINUTES)
@pytest.mark.parametrize("command", listed())
def test_a_listed_command_works(command, place, environment, guest):
    prepare(command, place, environment)
    if bare(command).startswith("mpfw forward"):
        guest()
    shell = subprocess.Popen(
        ["bash", "-c", "-o", "pipefail", command],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        if stays(command):
            assert readable([pipe(shell.stdout)], SECONDS), "it says nothing"
            os.killpg(shell.pid, signal.SIGINT)
        limit = 60 * MINUTES if is_long(command) else SECONDS
        said, _ = shell.communicate(timeout=limit)
        assert shell.returncode == 0, said
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGTERM)
            shell.communicate(timeout=20)


def completed(*words: str) -> list[str]:
    """What Tab offers in a shell for the last of `words`, by click's own protocol."""
    line = {"COMP_WORDS": shlex.join(words), "COMP_CWORD": str(len(words) - 1)}
    run = subprocess.run(
        [sys.executable, "-m", "mpfw"],
        env={**os.environ, **line, "_MPFW_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return run.stdout.splitlines()


def test_tab_completes_commands_options_and_values():
    assert completed("mpfw", "doc") == ["plain,doctor"]
    assert "plain,--timeout" in completed("mpfw", "run", "--t")
    assert completed("mpfw", "run", "--host", "vhost-u") == ["plain,vhost-user"]


def test_tab_completes_the_names_of_programs_with_files():
    assert completed("mpfw", "run", "exam") == ["file,exam"]


def test_a_shell_completes_what_click_says(environment, place):
    script = """
        eval "$(_MPFW_COMPLETE=bash_source mpfw)"
        COMP_WORDS=(mpfw symb) COMP_CWORD=1 COMPREPLY=()
        _mpfw_completion mpfw symb mpfw
        echo "${COMPREPLY[@]}"
    """
    command = ["bash", "-c", script]
    run = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    assert run.stdout == "symbolise\n", run.stderr
