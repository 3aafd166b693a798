# SPDX-License-Identifier: MIT
"""`make test-fresh`: what a fresh root is given, and that nothing is left of it, however it ends.

Namespaces need root; here programs of the same names, which make none, stand for `setpriv`,
`unshare` and `mmdebstrap`.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from mpfw import paths
from mpfw.build import debian, debroot, fresh

# Whatever the user's own configuration says.
GIT = [
    "git",
    *("-c", "user.name=N", "-c", "user.email=e@example", "-c", "commit.gpgsign=false"),
]
PIP = """\
:env:.find-links='{wheels}'
:env:.disable-pip-version-check='1'
global.cert='{cert}'
global.extra-index-url='https://index.example/simple file://{index}'
global.find-links='/overridden'
install.no-index='true'
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A function that puts a shell script on PATH, before all others."""
    directory = tmp_path / "programs"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def put(name, text):
        (directory / name).write_text(f"#!/bin/sh\n{text}\n")
        (directory / name).chmod(0o755)

    return put


@pytest.fixture
def namespaces(programs):
    """setpriv and unshare that only run what they should."""
    programs("setpriv", 'shift 2; exec "$@"')
    programs("unshare", 'while [ "$1" != sh ]; do shift; done; "$@"')


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A repository with one commit, in place of the project's."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "Makefile").write_text("run:\n\techo running\ntest:\n\tfalse\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "First"]):
        subprocess.run([*GIT, *command], cwd=tree, check=True)
    monkeypatch.setattr(paths, "ROOT", tree)
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    return tree


@pytest.fixture
def roots(monkeypatch, tree):
    """Roots that are made of nothing, where a command runs as here; a list of those entered."""
    entered = []

    def make(suite, tar, say):
        say(f"making {suite}")
        tar.write_text("")

    def enter(root, directory, command, given, say):
        entered.append(root)
        say("in there")
        return subprocess.run(command, cwd=f"{root}{directory}", check=False).returncode

    for name in ("TESTS", "PYTEST_ARGS", "MAKEFLAGS"):  # we may run under make ourselves
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(debroot, "require", lambda: None)
    monkeypatch.setattr(debroot, "make", make)
    monkeypatch.setattr(debroot, "inputs", debroot.Inputs)
    monkeypatch.setattr(debroot, "unpack", lambda tar, root: (root / "root").mkdir(parents=True))
    monkeypatch.setattr(debroot, "enter", enter)
    return entered


def invoke(*arguments):
    """`mpfw fresh ...` in this process."""
    return CliRunner().invoke(fresh.fresh, arguments)


def left(suite="sid"):
    """What lies in the directory of a suite afterwards."""
    return sorted(path.name for path in (paths.BUILD / "fresh" / suite).iterdir())


def test_somebody_else_than_root_is_told_in_a_sentence(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = invoke("sid")
    assert result.exit_code == 1
    assert result.output == (
        "Error: a Debian root is made, and mounted in, by root only: become root.\n"
    )


def test_a_container_without_namespaces_is_said(monkeypatch, programs):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    programs("setpriv", "exit 1")
    assert "denies root namespaces" in invoke("sid").output


def test_what_passed_leaves_its_log_only(roots):
    result = invoke("sid", "--only", "run")
    assert result.exit_code == 0
    assert "make run passed in 0 min" in result.output
    assert left() == ["root.log", "run.log"]
    assert (paths.BUILD / "fresh/sid/run.log").read_text() == "in there\n"


def test_what_failed_keeps_its_root_and_says_where(roots):
    result = invoke("trixie")
    assert result.exit_code == 1
    assert "make run passed" in result.output
    assert "make test failed with status 2" in result.output
    assert f"its root: {roots[1]}" in result.output
    assert left("trixie") == ["root.log", "run.log", "test", "test.log"]
    invoke("trixie", "--only", "run")
    assert left("trixie") == ["root.log", "run.log"]


def test_each_command_has_a_root_of_its_own(roots):
    invoke("sid")
    assert [root.name for root in roots] == ["run", "test"]


def test_tests_and_arguments_of_pytest_are_handed_on(roots, monkeypatch):
    commands = []

    def take(*given):
        commands.append(given[2])
        return 0

    monkeypatch.setattr(debroot, "enter", take)
    monkeypatch.setenv("TESTS", "tests/unit")
    invoke("sid", "--pytest-args", "-k 'a b'")
    assert commands == [
        ["make", "run"],
        ["make", "test", "TESTS=tests/unit", "PYTEST_ARGS=-k 'a b'"],
    ]


def test_a_clone_of_head_is_tested_and_what_is_not_committed_is_said(roots, tree):
    assert "not committed" not in invoke("sid", "--only", "run").output
    (tree / "Makefile").write_text("run:\n\tfalse\n")
    result = invoke("sid", "--only", "run")
    assert result.exit_code == 0
    assert "First\nfresh: what is not committed is not in it." in result.output


def test_what_is_committed_meanwhile_is_not_tested(roots, tree, monkeypatch):
    tested: list[str] = []

    def enter(root, *others):
        tested.append(Path(f"{root}{fresh.PLACE}/Makefile").read_text())
        (tree / "Makefile").write_text("run:\ntest:\n")
        subprocess.run(
            [*GIT, "commit", "-q", "--allow-empty", "-a", "-m", "Later"], cwd=tree, check=True
        )
        return 0

    monkeypatch.setattr(debroot, "enter", enter)
    before = (tree / "Makefile").read_text()
    invoke("sid")
    assert tested == [before, before]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_logs_only(roots, monkeypatch, number):
    def enter(*given):
        os.kill(os.getpid(), number)
        time.sleep(10)

    handlers = signal.getsignal(number)
    monkeypatch.setattr(debroot, "enter", enter)
    result = invoke("sid")
    assert result.exit_code == 128 + number
    assert left() == ["root.log", "run.log"]
    assert signal.getsignal(number) == handlers


def test_one_suite_is_tried_once_at_a_time(roots):
    with fresh._claimed(paths.BUILD / "fresh/sid"):
        result = invoke("sid")
    assert result.exit_code == 1
    assert "another trial uses" in result.output


def test_no_mirror_that_makes_a_root_is_an_error(tree, namespaces, programs, monkeypatch):
    programs("mmdebstrap", 'echo "asked $*"; exit 25')
    monkeypatch.setattr(debroot, "require", lambda: None)
    monkeypatch.setattr(
        debian, "mirrors", lambda scratch: ["http://a.example", "http://b.example"]
    )
    result = invoke("sid")
    assert result.exit_code == 1
    assert "Error: mmdebstrap could not make a root of sid;" in result.output
    log = (paths.BUILD / "fresh/sid/root.log").read_text().splitlines()
    assert [line.split()[-1] for line in log] == ["http://a.example", "http://b.example"]
    assert left() == ["root.log"]


def test_lines_and_status_come_out(namespaces):
    lines: list[str] = []
    assert debroot.contained("echo one; echo two >&2; exit 3", os.environ, lines.append) == 3
    assert lines == ["one", "two"]


def test_an_exception_ends_what_runs_before_it_goes_on(namespaces):
    pids = []

    def broken(line):
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        debroot.contained("echo $$; exec sleep 60", os.environ, broken)
    assert not Path(f"/proc/{pids[0]}").exists()


def test_what_pip_knows_is_handed_in(tmp_path):
    wheels, index, cert = tmp_path / "wheels", tmp_path / "mirror/simple", tmp_path / "ca.crt"
    wheels.mkdir()
    index.mkdir(parents=True)
    cert.touch()
    found = debroot.pip_inputs(PIP.format(wheels=wheels, index=index, cert=cert))
    assert found.environment == {
        "PIP_CERT": "/mnt/0",
        "PIP_EXTRA_INDEX_URL": "https://index.example/simple file:///mnt/1/simple",
        "PIP_FIND_LINKS": "/mnt/2",
        "PIP_NO_INDEX": "true",
    }
    # The index's pages refer to files beside its directory.
    assert found.binds == {
        "/mnt/0": str(cert),
        "/mnt/1": str(tmp_path / "mirror"),
        "/mnt/2": str(wheels),
    }


def test_apt_settings_that_a_mirror_needs_are_handed_in(tmp_path, monkeypatch):
    config = tmp_path / "apt.conf"
    config.write_text(
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::Check-Valid-Until "false";\n'
        'APT::Install-Recommends "true";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(config))
    settings = debroot.apt_settings()
    assert 'Acquire::http::Proxy "http://proxy.example:3128";' in settings
    assert 'Acquire::Check-Valid-Until "false";' in settings
    assert all(setting.startswith("Acquire::") for setting in settings)


def test_what_is_bound_into_a_root_is_read_only(tmp_path):
    commands = debroot.mounts(tmp_path, {"/mnt/0": str(tmp_path)})
    assert commands[-1] == f"mount --bind -o ro {tmp_path} {tmp_path}/mnt/0"
