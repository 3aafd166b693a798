# SPDX-License-Identifier: MIT
"""The REPL over vsock, beside the one on the serial port."""

import socket
import sys
import time

import pytest
from sides import IDLE
from terminal import has_a_repl

from mpfw.guest.console import Console, ConsoleClosed, ConsoleTimeout, RemoteError

PORT = 8266
ASKED = IDLE | {"opt/micropython/repl": str(PORT)}


@pytest.fixture
def guest(boot):
    """A guest with the REPL on its port, at the prompt."""
    guest = boot(vsock=True, fw_cfg=ASKED)
    guest.console.wait_prompt(30)
    return guest


@pytest.fixture
def dial(guest):
    """dial(): a Console on the REPL's port."""
    consoles = []

    def dial():
        consoles.append(Console(guest.vsock.dial(PORT)))
        return consoles[-1]

    yield dial
    for console in consoles:
        console.close()


@pytest.fixture
def repl(dial):
    console = dial()
    console.send("\r")
    console.wait_prompt()
    return console


def test_raw_repl_and_raw_paste(repl):
    assert repl.exec("print('raw', 40 + 2)") == "raw 42\n"
    with pytest.raises(RemoteError, match="ZeroDivisionError"):
        repl.exec("1 // 0")
    lines = "".join(f"t += {n}\n" for n in range(20_000))
    assert repl.exec(f"t = 0\n{lines}print(t)", timeout=60) == f"{sum(range(20_000))}\n"


def test_both_terminals_show_the_same_and_both_may_type(guest, repl):
    repl.send("a = 'typed over vsock'\r")
    guest.console.expect(rb"a = 'typed over vsock'\r\n>>> ")
    guest.console.send("print(a)\r")
    repl.expect(rb"print\(a\)\r\ntyped over vsock\r\n>>> ")


def test_a_soft_reset_leaves_the_connection(guest, repl):
    for number in range(5):
        repl.exec("x = 1")
        repl.soft_reset()
        with pytest.raises(RemoteError, match="NameError"):
            repl.exec("x")
        assert repl.eval(str(number)) == number
    guest.console.expect("MPY: soft reboot")


def test_a_soft_reset_from_the_serial_port_leaves_it_too(guest, repl):
    guest.console.soft_reset()
    repl.expect(rb"MPY: soft reboot\r\n.*>>> ")
    assert repl.eval("6 * 7") == 42


def test_after_a_soft_reset_it_can_be_dialled_again(repl, dial):
    repl.soft_reset()
    repl.close()
    other = dial()
    other.interrupt()
    assert other.eval("6 * 7") == 42


def test_who_dials_takes_the_terminal_over(repl, dial):
    other = dial()
    other.send("\r")
    other.wait_prompt()
    with pytest.raises(ConsoleClosed):
        repl.expect("never")
    assert other.eval("6 * 7") == 42


@pytest.mark.once
def test_it_is_a_repl(repl):
    repl.send("6 * 7\r")
    repl.expect(rb"6 \* 7\r\n42\r\n>>> ")


@pytest.mark.once
def test_a_megabyte_of_output_arrives_whole(repl):
    code = "for n in range(16384): print('%063d' % n)"
    expected = "".join(f"{n:063d}\n" for n in range(16384))
    assert repl.exec(code, timeout=100) == expected


def interrupted(console, running):
    """Ctrl-C ends what runs at once."""
    console.start(running)
    time.sleep(0.3)
    console.send(b"\x03")
    with pytest.raises(RemoteError, match="KeyboardInterrupt"):
        console.finish()
    assert console.eval("40 + 2") == 42


@pytest.mark.once
@pytest.mark.parametrize(
    "running",
    (
        "while True: pass",
        "import time; time.sleep(60)",
        "import sys; sys.stdin.read(1)",
        "import socket; s = socket.create_server((-1 & 0xffffffff, 5)); s.accept()",
        "import asyncio; asyncio.run(asyncio.wait_for(asyncio.Event().wait(), 60))",
        "import select, sys; p = select.poll(); p.register(sys.stdin, 1); p.poll(60000)",
        "import machine\nwhile True: machine.wait()",
    ),
)
def test_ctrl_c_interrupts_whatever_runs(repl, running):
    interrupted(repl, running)


@pytest.mark.once
def test_ctrl_c_comes_through_although_what_was_typed_before_fills_everything(repl):
    """16 KiB wait in the guest to be read, the rest in the connection."""
    repl.start("import time; time.sleep(60)")
    time.sleep(0.2)
    repl.send(b"x" * 200_000)
    time.sleep(0.5)
    repl.send(b"\x03")
    with pytest.raises(RemoteError, match="KeyboardInterrupt"):
        repl.finish(5)
    assert repl.eval("40 + 2") == 42


@pytest.mark.once
def test_a_program_may_read_the_interrupt_character(repl):
    repl.start(
        "import micropython, sys\n"
        "micropython.kbd_intr(-1)\n"
        "data = sys.stdin.buffer.read(256)\n"
        "micropython.kbd_intr(3)\n"
        "print(data == bytes(range(256)))"
    )
    time.sleep(0.3)
    repl.send(bytes(range(256)))
    assert repl.finish() == "True\n"


@pytest.mark.once
def test_nothing_that_is_typed_ahead_is_lost(repl):
    """More than the guest keeps: the rest waits in the connection until there is room."""
    data = b"".join(b"%07d\n" % n for n in range(20_000))
    repl.start(
        "import sys, time\n"
        "time.sleep(1)\n"
        "print(all(sys.stdin.buffer.read(8) == b'%07d\\n' % n for n in range(20_000)))"
    )
    time.sleep(0.3)
    repl.send(data)
    assert repl.finish(60) == "True\n"


@pytest.mark.once
def test_the_serial_port_goes_on_when_the_terminal_hangs_up(guest, repl):
    repl.start("for n in range(30):\n print(n)\n import time\n time.sleep(0.02)\nprint('done')")
    time.sleep(0.1)
    repl.close()
    guest.console.expect(r"29\r\ndone\r\n", 20)
    guest.console.interrupt()
    assert guest.console.eval("6 * 7") == 42


@pytest.mark.once
def test_a_terminal_that_reads_nothing_is_dropped(guest):
    """It holds what prints up for ten seconds; then the program goes on."""
    with guest.vsock.dial(PORT) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        guest.console.start("for n in range(40): print('x' * 63 * 1024)\nprint('end')")
        with pytest.raises(ConsoleTimeout):
            guest.console.expect("end\r\n", 6)
        guest.console.finish(60)
    assert guest.console.eval("6 * 7") == 42


@pytest.mark.once
def test_ctrl_c_on_the_serial_port_ends_that_wait(guest):
    with guest.vsock.dial(PORT) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        guest.console.start("while True: print('x' * 63 * 1024)")
        time.sleep(4)
        guest.console.send(b"\x03")
        with pytest.raises(RemoteError, match="KeyboardInterrupt"):
            guest.console.finish(5)
    assert guest.console.eval("6 * 7") == 42


@pytest.mark.once
def test_a_program_starts_and_stops_it(boot):
    guest = boot(vsock=True, fw_cfg=IDLE)
    guest.console.wait_prompt(30)
    guest.console.exec("import apps.repl; apps.repl.start(7001)")
    with pytest.raises(ConnectionError):
        guest.vsock.dial_once(PORT)
    console = Console(guest.vsock.dial(7001))
    console.interrupt()
    assert console.eval("6 * 7") == 42
    console.soft_reset()  # who is connected stays so, although fw_cfg asks for nothing
    assert console.eval("6 * 8") == 48
    stop = "apps.repl.stop()" if console.eval("'apps' in globals()") else STOP
    with pytest.raises(ConsoleClosed):
        console.start(stop)
        console.expect("never")
    console.close()
    with pytest.raises(ConnectionError):
        guest.vsock.dial_once(7001)


STOP = "import apps.repl; apps.repl.stop()"


@pytest.mark.once
def test_two_starts_do_not_hurt_and_a_taken_port_is_eaddrinuse(guest):
    guest.console.exec(f"import apps.repl; apps.repl.start({PORT}); apps.repl.start({PORT + 1})")
    guest.console.exec("import socket; s = socket.create_server((0xffffffff, 900))")
    with pytest.raises(RemoteError, match="EADDRINUSE"):
        guest.console.exec("apps.repl.start(900)")


@pytest.mark.once
@pytest.mark.parametrize("text", ("", "x", "-1", "4294967295", "12 34"))
def test_a_port_that_is_none_is_said(boot, text):
    guest = boot(vsock=True, fw_cfg=IDLE | {"opt/micropython/repl": text})
    guest.console.expect("opt/micropython/repl: a vsock port is a number, not ", 30)
    guest.console.wait_prompt()


@pytest.mark.once
def test_without_a_vsock_device_it_is_said(boot):
    guest = boot(fw_cfg=ASKED)
    guest.console.expect("The services that fw_cfg asks for need a vsock device", 30)
    guest.console.wait_prompt()


@pytest.mark.once
def test_on_a_terminal(guest, host):
    place = f"vsock:{guest.vsock.cid}:{PORT}"
    if host.kind in ("vhost-user", "device"):
        place = f"uds:{guest.directory}/vsock-{guest.vsock.cid}:{PORT}"
    has_a_repl([sys.executable, "-m", "mpfw", "repl", place], b"Ctrl-] ends this.")
