# SPDX-License-Identifier: MIT
"""The wheel in a fresh environment and an empty directory, for a user without the tree."""

import errno
import os
import subprocess
import zipfile

import pytest

from mpfw import paths
from mpfw.image import origin

LISTENS = """
import socket
listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
listener.bind((socket.VMADDR_CID_ANY, 7))
listener.listen(1)
print("cid", socket.get_local_cid())
"""


def only(place, *names):
    """A directory with links to some programs, for PATH."""
    place.mkdir(mode=0o755)
    for name in names:
        (place / name).symlink_to(f"/usr/bin/{name}")
    return {"PATH": str(place)}


def test_the_wheel_has_the_image_and_its_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert archive.read("mpfw/data/final_vsock.bin") == paths.IMAGE.read_bytes()
    assert {"mpfw/data/deps.toml", "mpfw/data/layout.toml", "mpfw/py.typed"} <= names
    assert {"mpfw/data/mpy_modules/portable.py", "mpfw/data/mpy_modules/vsock/words.py"} <= names
    assert not [name for name in names if name.startswith(("tests", "firmware", "port"))]


def test_the_version_names_the_images_commit(newcomer):
    done = newcomer.run("mpfw", "--version")
    assert done.stdout.split(", ")[1] == f"image of commit {origin.commit(paths.IMAGE)}\n"
    assert "unknown" not in done.stdout


def test_a_script_runs_and_its_status_is_ours(newcomer):
    newcomer.write("app.py", "import sys, helper\nprint(helper.word, sys.argv[1:])\nsys.exit(3)\n")
    newcomer.write("helper.py", "word = 'hello'\n")
    done = newcomer.run("mpfw", "run", "--host", "none", "app.py", "a b", "")
    assert (done.returncode, done.stdout, done.stderr) == (3, "hello ['a b', '']\n", "")


def test_a_vsock_device_is_there_when_it_is_needed(user):
    user.write("app.py", LISTENS)
    done = user.run("mpfw", "run", "--host", "vhost-user", "--cid", "77", "app.py")
    assert (done.returncode, done.stdout) == (0, "cid 77\n"), done.stderr
    assert (user.home / ".cache/mpfw/deps/vhost-device-vsock").exists()


CALLS = (
    LISTENS
    + """
try:
    socket.create_connection((socket.VMADDR_CID_HOST, 9))
except OSError as error:
    print(error.errno)
"""
)


def test_a_device_of_ours_carries_a_guest_and_what_was_captured_is_traced(newcomer):
    newcomer.write("app.py", CALLS)
    run = ("mpfw", "run", "--host", "device", "--cid", "78", "--capture", "seen.pcapng", "app.py")
    done = newcomer.run(*run)
    assert (done.returncode, done.stdout) == (0, f"cid 78\n{errno.ECONNRESET}\n"), done.stderr
    ladder = newcomer.run("mpfw", "trace", "seen.pcapng")
    assert ladder.returncode == 0, ladder.stderr
    assert "REQUEST" in ladder.stdout and "RST" in ladder.stdout


SERVES = """
import pathlib, signal, subprocess, sys, time
command = [sys.argv[1], "device", "--config", "vms.yaml", "--capture", "all.pcapng"]
with subprocess.Popen(command) as device:
    while device.poll() is None and not pathlib.Path("qemu").is_socket():
        time.sleep(0.01)
    device.send_signal(signal.SIGINT)
print(device.returncode, pathlib.Path("all.pcapng").stat().st_size > 0)
"""


def test_a_device_reads_its_file_and_captures(newcomer):
    device = "vms:\n    - guest_cid: 4\n      socket: qemu\n      uds_path: programs\n"
    newcomer.write("vms.yaml", device)
    newcomer.write("serves.py", SERVES)
    done = newcomer.run("python", "serves.py", str(newcomer.bin / "mpfw"))
    assert (done.stdout, done.stderr) == ("0 True\n", "")


def test_without_the_daemon_a_script_runs_and_one_sentence_says_why(newcomer, place):
    few = only(newcomer.home.with_name(newcomer.home.name + " bin"), "qemu-system-x86_64")
    done = newcomer.run("mpfw", "run", "-c", "print(1)", env=few)
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("mpfw: no vsock device: vhost-device-vsock cannot be fetched (")
    assert "set VHOST_DEVICE_VSOCK" in done.stderr
    failed = newcomer.home / ".cache/mpfw/vhost-device-vsock.failed"
    before = failed.stat().st_mtime_ns
    again = newcomer.run("mpfw", "run", "-c", "print(1)", env=few)
    assert again.stderr == done.stderr
    assert failed.stat().st_mtime_ns == before, "it was tried again at once"


def test_a_device_that_was_asked_for_and_cannot_be_had_is_an_error(newcomer):
    few = only(newcomer.home.with_name(newcomer.home.name + " bin"), "qemu-system-x86_64")
    done = newcomer.run("mpfw", "run", "--host", "vhost-user", "-c", "print(1)", env=few)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (125, "", 1)
    assert "apt-get is not on this machine" in done.stderr


def test_a_cache_that_cannot_be_written_is_one_sentence(newcomer):
    nowhere = {"XDG_CACHE_HOME": "/proc/nowhere"}
    done = newcomer.run("mpfw", "run", "--host", "vhost-user", "-c", "print(1)", env=nowhere)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (125, "", 1)
    assert "/proc/nowhere/mpfw" in done.stderr


def test_without_qemu_one_sentence_says_what_to_install(newcomer):
    few = only(newcomer.home.with_name(newcomer.home.name + " bin"))
    done = newcomer.run("mpfw", "run", "-c", "print(1)", env=few)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (125, "", 1)
    assert "install QEMU (Debian: qemu-system-x86)" in done.stderr


@pytest.mark.parametrize(
    "words",
    [["image", "verify"], ["bench"], ["run", "--overlay", "."], ["run", "--gdb"]],
    ids=" ".join,
)
def test_what_needs_the_tree_says_so(newcomer, words):
    done = newcomer.run("mpfw", *words)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1 and "needs the source tree" in done.stderr


def test_what_needs_the_tree_is_not_offered(newcomer):
    offered = newcomer.run("mpfw", "-h").stdout
    assert "run" in offered and "forward" in offered and "trace" in offered
    assert "bench" not in offered


API = """
import mpfw

def double(x: int) -> int:
    return 2 * x

with mpfw.Guest(host="vhost-user", cid=78) as guest:
    assert guest.call(double, 21) == 42
    assert guest.cid == 78
    print(guest.run("print('in the guest')"), end="")
"""


def test_the_library_is_typed_and_works(user):
    user.write("drive.py", API)
    done = user.run("python", "drive.py")
    assert (done.returncode, done.stdout) == (0, "in the guest\n"), done.stderr
    done = user.run("python", "-m", "mypy", "--strict", "--cache-dir=/dev/null", "drive.py")
    assert done.returncode == 0, done.stdout


FORWARDS = """
import socket, subprocess, sys
import mpfw

def serve(port):
    import socket
    listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    listener.bind((socket.VMADDR_CID_ANY, port))
    listener.listen(1)
    connection, _ = listener.accept()
    connection.sendall(connection.recv(100).upper())
    connection.close()

with mpfw.Guest(host="vhost-user") as guest:
    serving = guest.start(serve, 7)
    command = [sys.argv[1], "forward", "tcp:0", f"uds:{guest.uds_path}:7"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        port = int(forward.stdout.readline().split()[0].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"through tcp")
            print(client.recv(100).decode())
        serving.result()
        forward.terminate()
"""


def test_forward_reaches_a_guest(user):
    user.write("forwards.py", FORWARDS)
    done = user.run("python", "forwards.py", str(user.bin / "mpfw"))
    assert done.stdout == "THROUGH TCP\n", done.stderr


def test_the_user_cannot_write_to_the_tree(newcomer):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    done = newcomer.run("python", "-c", f"open({str(paths.ROOT / 'x')!r}, 'w')")
    assert "PermissionError" in done.stderr


def test_the_source_distribution_makes_the_same_wheel(wheel, tmp_path):
    (archive,) = wheel.parent.glob("*.tar.gz")
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True)
    (tree,) = tmp_path.iterdir()
    build = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    python = paths.VENV / "bin/python"
    subprocess.run([python, "-c", build], cwd=tree, check=True, capture_output=True)
    (made,) = tree.glob("*.whl")
    with zipfile.ZipFile(wheel) as ours, zipfile.ZipFile(made) as theirs:
        assert {(each.filename, each.CRC) for each in ours.infolist()} == {
            (each.filename, each.CRC) for each in theirs.infolist()
        }
