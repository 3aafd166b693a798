# SPDX-License-Identifier: MIT
"""`mpfw device` as a user types it: its options, what it says of wrong ones, how it ends."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from driver import Driver

from mpfw.capture.reader import read
from mpfw.device.command import device as command
from mpfw.device.firmware import vsock as w
from mpfw.device.settings import Settings, SettingsError, checked, from_file, from_mapping, from_vm

FILE = """\
vms:
    - guest_cid: 3
      socket: /tmp/vhost3.socket
      uds_path: /tmp/vm3.vsock
      tx_buffer_size: 65536
      queue_size: 1024
      groups: group1+groupA
    - guest_cid: 5
      socket: /tmp/vhost5.socket
      forward-cid: 1
      forward-listen: 9001+9002
"""


def test_the_daemons_file_is_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(FILE)
    three, five = from_file(path)
    groups = ("group1", "groupA")
    here = "/tmp/vhost3.socket", "/tmp/vm3.vsock"
    assert three == Settings(3, *here, tx_buffer_size=65536, groups=groups)
    assert (five.guest_cid, five.forward_cid, five.forward_listen) == (5, 1, (9001, 9002))
    assert five.groups == ("default",)


@pytest.mark.parametrize("dash", "-_")
def test_vm_has_the_daemons_keys(dash):
    text = "guest-cid=4,socket=/s,uds-path=/u,tx-buffer-size=65536,queue-size=256,groups=a+b"
    found = from_vm(text.replace("-", dash))
    assert found == Settings(
        4, "/s", "/u", tx_buffer_size=65536, queue_size=256, groups=("a", "b")
    )


@pytest.mark.parametrize("text, wanted", [("true", True), ("False", False)])
def test_datagrams_are_offered_if_that_is_said(text, wanted):
    found = from_vm(f"socket=/s,uds-path=/u,datagrams={text},carrier=vfio-user")
    assert (found.datagrams, found.carrier) == (wanted, "vfio-user")
    given = {"socket": "/s", "uds_path": "/u", "datagrams": wanted}
    assert from_mapping(given, "here").datagrams == wanted


def test_what_was_dropped_is_told_on_a_signal_and_at_the_end(tmp_path):
    """A datagram without a guest that would take it."""
    guest = ("--socket", str(tmp_path / "q"), "--uds-path", str(tmp_path / "p"))
    device = [sys.executable, "-m", "mpfw", "device", *guest, "--datagrams"]
    with subprocess.Popen(device, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "q").exists():
            time.sleep(0.01)
        assert stat.S_IMODE((tmp_path / "p.dgram").stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as program:
            program.bind(str(tmp_path / "p.dgram_9"))
            for _ in range(3):
                program.sendto(b"7\nhello", str(tmp_path / "p.dgram"))
        assert process.stderr is not None
        lines = [process.stderr.readline()]
        while "3 packets" not in lines[-1]:
            process.send_signal(signal.SIGUSR1)
            lines[1:] = [process.stderr.readline()]
        process.send_signal(signal.SIGINT)
        lines.append(process.stderr.readline())
        assert process.wait(30) == 0
    why = "no guest has that CID and takes datagrams"
    assert lines[0] == f"guest 3: a datagram is dropped: {why}; more of them are only counted\n"
    assert lines[1:] == [f"guest 3: 3 packets were dropped ({why}: 3)\n"] * 2
    assert not (tmp_path / "p.dgram").exists()


def test_defaults():
    found = from_vm("socket=/s,uds-path=/u")
    assert (found.guest_cid, found.queue_size, found.groups) == (3, 1024, ("default",))
    assert found.mode == 0o600


@pytest.mark.parametrize(
    "text, says",
    [
        ("socket=/s", "either uds-path or forward-cid"),
        ("socket=/s,uds-path=/u,forward-cid=1", "either uds-path or forward-cid"),
        ("uds-path=/u", "socket is missing"),
        ("socket=/s,uds-path=/u,cid=3", "no option 'cid'"),
        ("socket=/s,uds-path=/u,guest-cid=x", "guest-cid is 'x', which is no number"),
        ("socket=/s,uds-path=/u,guest-cid=2", "guest-cid is 2: from 3"),
        ("socket=/s,uds-path=/u,guest-cid=4294967295", "guest-cid is 4294967295"),
        ("socket=/s,uds-path=/u,queue-size=0", "queue-size is 0"),
        ("socket=/s,uds-path=/u,socket-mode=9", "socket-mode is 9: three octal digits"),
        ("socket=/s,uds-path=/u,forward-listen=1", "forward-listen goes with forward-cid"),
        ("socket=/s,forward-cid=1,forward-listen=a", "forward-listen is 'a'"),
        ("socket=/s,uds-path=/u,datagrams=1", "datagrams is '1': true or false it may be"),
        ("socket=/s,forward-cid=1,datagrams=true", "datagrams go with uds-path"),
        ("socket=/s,uds-path=/u,carrier=pci", "vhost-user or vfio-user or pci-proxy it may be"),
        ("socket=/s,uds-path", "'uds-path' is no key=value"),
        ("socket=/s,socket=/t,uds-path=/u", "socket is there twice"),
        ("", "'' is no key=value"),
    ],
)
def test_what_is_wrong_in_vm_is_one_sentence(text, says):
    result = CliRunner().invoke(command, ["--vm", text])
    assert result.exit_code == 1
    assert says in result.output and result.output.count("\n") == 1


@pytest.mark.parametrize(
    "text, says",
    [
        ("vms: [", ":1:7: "),
        ("vms:\n  - socket: /s\n    uds_path: /u\n    cid: 3\n", ":2: no option 'cid'"),
        ("vms:\n  - 5\n", ":2: a device is a mapping"),
        ("vms:\n", ":1: vms is to be a list"),
        ("devices: []\n", "the file is to have one key, vms"),
        ("", "the file is to have one key, vms"),
        ("vms:\n  - socket: /s\n    uds_path: /u\n  - socket: /t\n", ":4: either uds-path"),
        ("a: 'b\n", ":2:1: "),
        ("\0", "unacceptable character"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_with_its_place(tmp_path, text, says):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as raised:
        from_file(path)
    assert str(path) in str(raised.value) and says in str(raised.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        from_file(tmp_path / "none.yaml")


def test_two_devices_must_not_be_in_each_others_way():
    one = from_mapping({"socket": "/a", "uds-path": "/b"}, "")
    for other in (
        {"socket": "/a", "uds-path": "/c", "guest-cid": 4},
        {"socket": "/c", "uds-path": "/b", "guest-cid": 4},
        {"socket": "/b", "uds-path": "/c", "guest-cid": 4},
        {"socket": "/c", "uds-path": "/d"},
    ):
        with pytest.raises(SettingsError, match="is given twice"):
            checked([one, from_mapping(other, "")])


@pytest.mark.parametrize(
    "words, says",
    [
        ((), "which device?"),
        (("--config", "x", "--vm", "socket=/s,uds-path=/u"), "either --config, or --vm"),
        (("--guest-cid", "4"), "socket is missing"),
    ],
)
def test_options_that_cannot_be(words, says):
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 1 and says in result.output


def _invoke(tmp_path, **paths):
    given = {"socket": tmp_path / "s", "uds-path": tmp_path / "u"} | paths
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return CliRunner().invoke(command, words)


def test_a_path_that_is_too_long(tmp_path):
    result = _invoke(tmp_path, **{"uds-path": "/tmp/" + "u" * 103})
    assert result.exit_code == 1 and "108 bytes: the path of a socket has 107" in result.output
    assert not os.listdir(tmp_path)


def test_a_path_in_use(tmp_path):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "s"))
        other.listen()
        result = _invoke(tmp_path)
    assert result.exit_code == 1 and "s is in use: another program listens" in result.output
    assert os.listdir(tmp_path) == ["s"]


def test_an_abstract_name_in_use(tmp_path):
    name = f"@mpfw-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind("\0" + name[1:])
        result = _invoke(tmp_path, socket=name)
    assert result.exit_code == 1 and f"{name} is in use" in result.output


def test_a_file_in_the_sockets_place_stays(tmp_path):
    (tmp_path / "u").write_text("mine")
    result = _invoke(tmp_path)
    assert result.exit_code == 1 and "is there already and is no socket" in result.output
    assert (tmp_path / "u").read_text() == "mine"


def test_a_directory_that_is_not_there(tmp_path):
    result = _invoke(tmp_path, socket=tmp_path / "none" / "s")
    assert result.exit_code == 1 and "there is no such directory" in result.output


def started(tmp_path, *words):
    control, path = tmp_path / "s", tmp_path / "u"
    argv = [sys.executable, "-m", "mpfw", "device", "--socket", control, "--uds-path", path]
    process = subprocess.Popen([*argv, *words], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not control.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    return process


def test_a_capture_has_every_packet_of_both_directions(tmp_path):
    file = tmp_path / "all.pcapng"
    process = started(tmp_path, "--capture", str(file), "--snaplen", "4")
    driver = Driver(tmp_path / "s").start()
    with socket.socket(socket.AF_UNIX) as program:
        program.settimeout(30)
        program.connect(str(tmp_path / "u"))
        program.sendall(b"CONNECT 1234\n")
        asked = driver.expect(w.OP_REQUEST)
        driver.send(w.OP_RESPONSE, 1234, asked.src_port)
        program.recv(64)
        program.sendall(b"to the guest")
        driver.expect(w.OP_RW)
        driver.send(w.OP_RW, 1234, asked.src_port, b"from it")
        assert program.recv(64) == b"from it"
    process.terminate()
    assert process.wait(30) == 0
    driver.close()
    with file.open("rb") as written:
        found = [
            (each.direction, each.header[30], each.payload, each.length) for each in read(written)
        ]
    assert found[:4] == [
        ("out", w.OP_REQUEST, b"", 0),
        ("in", w.OP_RESPONSE, b"", 0),
        ("out", w.OP_RW, b"to t", 12),
        ("in", w.OP_RW, b"from", 7),
    ]


def test_a_capture_on_a_full_disk_stops_and_the_traffic_goes_on(tmp_path):
    process = started(tmp_path, "--capture", "/dev/full")
    driver = Driver(tmp_path / "s").start()
    with socket.socket(socket.AF_UNIX) as program:
        program.connect(str(tmp_path / "u"))
        program.sendall(b"CONNECT 1234\n")
        driver.expect(w.OP_REQUEST)
    process.terminate()
    said = process.communicate(timeout=30)[1]
    driver.close()
    assert process.returncode == 0
    assert said.count("the capture has stopped") == 1 and "No space left" in said


def test_a_capture_that_cannot_be_written_is_a_sentence(tmp_path):
    result = _invoke(tmp_path, capture=tmp_path / "none" / "file")
    assert result.exit_code == 1 and "none/file" in result.output
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tmp_path, number):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "u"))  # nobody listens there any more
    process = started(tmp_path)
    driver = Driver(tmp_path / "s").start()
    process.send_signal(number)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0
    assert os.listdir(tmp_path) == []
    driver.close()


def test_permissions(tmp_path):
    process = started(tmp_path)
    modes = {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    process.terminate()
    process.wait(30)
    assert modes == {0o600}
    process = started(tmp_path, "--socket-mode", "660")
    modes = {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    process.terminate()
    process.wait(30)
    assert modes == {0o660}


def test_an_abstract_socket_serves_both_ways(tmp_path, device):
    name = f"mpfw-test-{os.getpid()}"
    device(Settings(3, str(tmp_path / "s"), f"@{name}"))
    driver = Driver(tmp_path / "s").start()
    with socket.socket(socket.AF_UNIX) as program, socket.socket(socket.AF_UNIX) as listener:
        program.connect("\0" + name)
        program.sendall(b"CONNECT 1\n")
        driver.expect(w.OP_REQUEST)
        listener.bind(f"\0{name}_5000")
        listener.listen()
        driver.send(w.OP_REQUEST, 1, 5000)
        driver.expect(w.OP_RESPONSE)
    driver.close()
