# SPDX-License-Identifier: MIT
"""What a VMM hears that named a socket for notifications, as systemd's do."""

import base64

import pytest
from sides import IDLE
from streams import Background, accept

PORT = 4711
READY = b"READY=1\nSTATUS=Echoing on port 1234"


def smbios(value, name="vmm.notify_socket", binary=False):
    """QEMU options for a credential in SMBIOS type 11."""
    if binary:
        text = f"io.systemd.credential.binary:{name}={base64.b64encode(value.encode()).decode()}"
    else:
        text = f"io.systemd.credential:{name}={value}"
    return ("-smbios", f"type=11,value={text}")


class Vmm:
    """Listens as systemd-vmspawn does: a connection for each message, read to its end."""

    def __init__(self, guest):
        self.listener = guest.vsock.listen(PORT)
        self.listener.settimeout(30)

    def hear(self):
        with accept(self.listener) as connection:
            return b"".join(iter(lambda: connection.recv(4096), b""))

    def hear_later(self):
        return Background(self.hear)


@pytest.fixture
def vmm():
    """vmm(guest): the Vmm of that guest; it ends with the test."""
    vmms = []

    def vmm(guest):
        vmms.append(Vmm(guest))
        return vmms[-1]

    yield vmm
    for one in vmms:
        one.listener.close()


@pytest.fixture
def watched(boot, vmm):
    """watched(...): a guest at its prompt, and its Vmm."""

    def watched(**machine):
        guest = boot(vsock=True, fw_cfg=IDLE | machine.pop("fw_cfg", {}), **machine)
        listening = vmm(guest)
        guest.console.wait_prompt(30)
        return guest, listening

    return watched


def test_a_script_says_that_it_is_ready(watched):
    guest, vmm = watched(extra=smbios("vsock:2:4711"))
    heard = vmm.hear_later()
    assert guest.console.eval("__import__('machine').notify('READY=1')") is True
    assert heard.result() == b"READY=1"


def test_many_messages_one_after_the_other(watched):
    guest, vmm = watched(extra=smbios("vsock-stream:2:4711"))
    code = "import machine\nfor n in range(50): machine.notify('X_N=%d' % n)"
    guest.console.start(code)
    assert [vmm.hear() for _ in range(50)] == [b"X_N=%d" % n for n in range(50)]
    guest.console.finish()


def test_a_long_message_arrives_whole(watched):
    guest, vmm = watched(extra=smbios("vsock-stream:2:4711"))
    guest.console.start("import machine; machine.notify(b'X' * 500_000)")
    assert vmm.hear() == b"X" * 500_000
    guest.console.finish()


def test_the_end_is_told_before_the_machine_is_off(watched):
    guest, vmm = watched(extra=smbios("vsock:2:4711"))
    heard = vmm.hear_later()
    guest.console.interrupt()
    guest.console.send("import machine; machine.poweroff()\r")
    assert guest.wait() == 0
    assert heard.result() == b"STATUS=powered off\nEXIT_STATUS=0"


@pytest.mark.once
def test_the_echo_is_ready_when_it_listens(boot, vmm):
    guest = boot(vsock=True, extra=smbios("vsock:2:4711"))
    assert vmm(guest).hear() == READY
    with guest.vsock.dial_once(1234) as connection:
        connection.sendall(b"at once")
        assert connection.recv(100) == b"at once"


@pytest.mark.once
@pytest.mark.parametrize(
    "script, status",
    (("pass", 0), ("import sys; sys.exit(3)", 3), ("1 // 0", 1)),
)
def test_a_program_tells_its_status(boot, vmm, script, status):
    fw_cfg = {"opt/micropython/main.py": script, "opt/micropython/run": "exit"}
    guest = boot(vsock=True, fw_cfg=fw_cfg, extra=(*smbios("vsock:2:4711"), "-no-reboot"))
    said = b"STATUS=exit status %d\nEXIT_STATUS=%d" % (status, status)
    assert vmm(guest).hear() == said
    assert guest.wait() == 0


@pytest.mark.once
def test_a_status_that_the_script_told_is_the_one(boot, vmm):
    script = "import machine\nmachine.notify('EXIT_STATUS=7')\n"
    fw_cfg = {"opt/micropython/main.py": script, "opt/micropython/run": "exit"}
    guest = boot(vsock=True, fw_cfg=fw_cfg, extra=smbios("vsock:2:4711"))
    vmm = vmm(guest)
    assert vmm.hear() == b"EXIT_STATUS=7"
    assert guest.wait() == 0
    vmm.listener.settimeout(0.1)
    with pytest.raises(TimeoutError):
        vmm.hear()


@pytest.mark.once
def test_base64_and_fw_cfg_do_as_well(watched):
    guest, vmm = watched(extra=smbios("vsock:2:4711", binary=True))
    heard = vmm.hear_later()
    guest.console.exec("import machine; machine.notify('in base64')")
    assert heard.result() == b"in base64"
    guest.close()
    guest, vmm = watched(
        fw_cfg={"opt/io.systemd.credentials/vmm.notify_socket": "vsock-stream:2:4711\n"}
    )
    heard = vmm.hear_later()
    guest.console.exec("import machine; machine.notify(b'in fw_cfg')")
    assert heard.result() == b"in fw_cfg"


@pytest.mark.once
def test_without_the_credential_it_is_false_and_nothing_is_loaded(watched):
    guest, _ = watched()
    assert guest.console.eval("__import__('machine').notify('READY=1')") is False
    assert guest.console.eval("'socket' in __import__('sys').modules") is False


@pytest.mark.once
@pytest.mark.parametrize(
    "value", ("", "vsock", "vsock:2", "vsock:x:1", "vsock:2:4294967295", "unix:/a", "vsock:2:1:2")
)
def test_a_credential_that_is_no_address_is_a_value_error(watched, value):
    guest, _ = watched(fw_cfg={"opt/io.systemd.credentials/vmm.notify_socket": value})
    code = (
        "import machine\n"
        "try: print(machine.notify('READY=1'))\n"
        "except ValueError as error: print(error)\n"
    )
    said = guest.console.exec(code)
    if value:
        assert said == f"vmm.notify_socket: vsock:CID:PORT is an address, '{value}' is not\n"
    else:
        assert said == "False\n"


def test_a_vmm_that_does_not_listen_is_an_os_error_and_holds_nothing_up(boot, refusal):
    guest = boot(vsock=True, fw_cfg=IDLE, extra=smbios("vsock-stream:2:4711"))
    guest.console.wait_prompt(30)
    code = (
        "import machine\n"
        "try: machine.notify('READY=1')\n"
        "except OSError as error: print(error.errno)\n"
    )
    assert guest.console.exec(code) == f"{refusal}\n"
    guest.console.interrupt()
    guest.console.send("import machine; machine.poweroff()\r")
    assert guest.wait() == 0
    assert "WARNING notify: " in guest.debugcon()


@pytest.mark.once
def test_a_machine_without_a_vsock_device_says_so(boot):
    guest = boot(fw_cfg=IDLE, extra=smbios("vsock:2:4711"))
    guest.console.wait_prompt()
    code = (
        "import machine\ntry: machine.notify('READY=1')\nexcept OSError as error: print(error)\n"
    )
    said = guest.console.exec(code)  # CID 2 is the loopback then
    assert "ECONNRESET" in said and "no vsock device" in said.lower()
