# SPDX-License-Identifier: MIT
"""`mpfw doctor`: what may be wrong with a machine has a sentence that says what to do."""

import errno
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from mpfw.guest import doctor
from mpfw.guest.doctor import BAD, OK, WITHOUT, Finding

GOOD = [Finding(OK, what, "") for what in ("QEMU", "image", "temporary files", "KVM")]


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A function: puts a program that prints what it is told, by its first argument, on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def make(name: str, **said: str) -> Path:
        cases = "".join(f"{option}) echo '{text}';;\n" for option, text in said.items())
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\nset -- "${{1#--}}"\ncase "${{1#-}}" in\n{cases}esac\n')
        path.chmod(0o755)
        return path

    return make


DEVICES = '"virtio-serial-pci" "virtserialport" "isa-debug-exit" "vhost-user-vsock-pci"'


def test_a_qemu_that_is_new_enough_is_well(program):
    path = program("qemu-x", version="QEMU emulator version 10.0.2", device=DEVICES)
    assert doctor.qemu("qemu-x") == Finding(OK, "QEMU", f"{path}, version 10.0.2")


def test_without_qemu_the_package_is_named():
    found = doctor.qemu("no-such-qemu")
    assert found.state == BAD and "apt-get install qemu-system-x86" in found.advice


@pytest.mark.parametrize(
    "said, why",
    [
        ({"version": "QEMU emulator version 6.2.0", "device": DEVICES}, "too old"),
        ({"version": "no QEMU at all", "device": DEVICES}, "no QEMU at all"),
        ({"version": "QEMU emulator version 9.1", "device": '"e1000"'}, "isa-debug-exit"),
    ],
)
def test_a_qemu_that_will_not_do_is_refused_with_the_reason(program, said, why):
    program("qemu-x", **said)
    found = doctor.qemu("qemu-x")
    assert found.state == BAD and why in found.said and found.advice


def test_a_missing_image_is_to_be_built(tmp_path):
    found = doctor.image(tmp_path / "none.bin")
    assert found.state == BAD and "make image" in found.advice


def test_an_image_that_is_not_whole_is_to_be_built_anew(tmp_path):
    (tmp_path / "small.bin").write_bytes(bytes(100))
    found = doctor.image(tmp_path / "small.bin")
    assert found.state == BAD and "make image" in found.advice


@pytest.fixture
def refusing(monkeypatch):
    """A function: opening anything fails with that errno."""

    def refuse(number: int) -> None:
        def fail(*_args, **_named):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(doctor.os, "open", fail)

    return refuse


@pytest.mark.parametrize("look", [doctor.kvm, doctor.vhost_vsock])
def test_a_device_that_is_not_there_is_done_without(look, tmp_path):
    found = look(tmp_path / "none")
    assert found.state == WITHOUT and "no /" in found.said and found.advice


@pytest.mark.parametrize("look", [doctor.kvm, doctor.vhost_vsock])
def test_a_device_that_one_may_not_open_names_the_group(look, tmp_path, refusing):
    device = tmp_path / "device"
    device.touch()
    refusing(errno.EACCES)
    found = look(device)
    assert found.state == WITHOUT and "may not open" in found.said
    assert f"adduser {os.environ.get('USER', 'YOU')} {device.group()}" in found.advice


@pytest.mark.parametrize("look", [doctor.kvm, doctor.vhost_vsock])
def test_a_device_that_does_not_answer_is_no_help(look):
    found = look(Path("/dev/null"))
    assert found.state == WITHOUT and os.strerror(errno.ENOTTY) in found.said


def test_kvm_without_virtualisation_in_the_processor_is_told(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags\t: fpu sse2\n")
    monkeypatch.setattr(doctor, "_trouble", lambda *_: None)
    assert doctor.kvm(cpuinfo=tmp_path / "cpuinfo").state == WITHOUT
    (tmp_path / "cpuinfo").write_text("flags\t: fpu svm sse2\n")
    assert doctor.kvm(cpuinfo=tmp_path / "cpuinfo").state == OK


def test_a_daemon_of_the_users_own_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setenv("VHOST_DEVICE_VSOCK", "/nowhere/daemon")
    found = doctor.device_program()
    assert found.state == WITHOUT and "/nowhere/daemon" in found.said and "unset" in found.advice


def test_a_daemon_that_does_not_run_here_is_said(program, monkeypatch):
    program("qemu-x", device=DEVICES)
    own = program("vhost-device-vsock", version="GLIBC_2.34 not found")
    monkeypatch.setenv("VHOST_DEVICE_VSOCK", str(own))
    assert doctor.device_program("qemu-x").state == WITHOUT
    program("vhost-device-vsock", version="vhost-device-vsock 0.4.0")
    assert doctor.device_program("qemu-x").state == OK
    program("qemu-x", device='"e1000"')
    found = doctor.device_program("qemu-x")
    assert found.state == WITHOUT and "vhost-user-vsock-pci" in found.said


def test_a_kernel_without_memfd_is_told(monkeypatch):
    assert doctor.shared_memory().state == OK

    def fail(name: str) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(doctor.os, "memfd_create", fail)
    found = doctor.shared_memory()
    assert found.state == WITHOUT and "memfd" in found.said and "--host" in found.advice


def test_a_temporary_directory_has_to_take_sockets(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.tempfile, "tempdir", str(tmp_path / "none"))
    found = doctor.temporary()
    assert found.state == BAD and "TMPDIR" in found.advice
    monkeypatch.setattr(doctor.tempfile, "tempdir", str(tmp_path / ("x" * 80)))
    found = doctor.temporary()
    assert found.state == BAD and "too long" in found.said


def test_the_lab_is_told_by_its_kernel_once_it_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_SUITE", "trixie")
    assert "not here yet" in doctor.lab(tmp_path).said
    made = tmp_path / "lab/trixie-0123"
    made.mkdir(parents=True)
    (made / "versions").write_text("linux-image-cloud-amd64 6.12.9\nsocat 1.8\n")
    assert doctor.lab(tmp_path).said == "Linux 6.12.9, trixie's"


def findings(**states: str) -> list[Finding]:
    kinds = {"vhost-vsock": OK, "vhost-device-vsock": OK, "shared memory": OK}
    changed = {name.replace("_", "-"): state for name, state in states.items()}
    kinds |= {"shared memory" if name == "memory" else name: s for name, s in changed.items()}
    return GOOD + [Finding(state, what, "") for what, state in kinds.items()]


@pytest.mark.parametrize(
    "states, said",
    [
        ({}, "Guests run here, under KVM, with the kernel's vsock device."),
        ({"vhost_vsock": WITHOUT}, "with vhost-device-vsock as its vsock device."),
        ({"vhost_vsock": WITHOUT, "memory": WITHOUT}, "without a vsock device"),
        ({"vhost_vsock": WITHOUT, "vhost_device_vsock": WITHOUT}, "without a vsock device"),
        ({"image": BAD}, "No guest can run here: see image above."),
    ],
)
def test_the_conclusion_follows(states, said):
    assert said in doctor.conclusion(findings(**states))


def test_the_status_is_whether_a_guest_can_run(monkeypatch):
    good = Finding(OK, "QEMU", "well")
    monkeypatch.setattr(doctor, "examine", lambda *_: [good, *findings()])
    assert CliRunner().invoke(doctor.doctor, []).exit_code == 0
    bad = Finding(BAD, "QEMU", "no", "install it")
    monkeypatch.setattr(doctor, "examine", lambda *_: [*findings(), bad])
    result = CliRunner().invoke(doctor.doctor, [])
    assert result.exit_code == 1
    assert "!!  QEMU" in result.output and "install it" in result.output


def test_it_looks_at_everything_and_changes_nothing(program):
    program("qemu-x", version="QEMU emulator version 10.0.2", device=DEVICES)
    found = list(doctor.examine("qemu-x", Path("none.bin")))
    assert {"QEMU", "image", "KVM", "vhost-vsock", "shared memory", "lab kernel"} <= {
        each.what for each in found
    }
    assert all(each.advice for each in found if each.state != OK)
