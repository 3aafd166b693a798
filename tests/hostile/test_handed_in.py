# SPDX-License-Identifier: MIT
"""What fw_cfg hands in for a machine with a vsock device, and is not what it should be."""

import pytest


@pytest.mark.parametrize("service", ["repl", "log"])
@pytest.mark.parametrize("port", [b"1" * 33, b"9" * (1 << 20), b"\xff\xfe", b"-1", b"4294967295"])
def test_a_service_whose_port_is_none_is_a_sentence(beside, service, port):
    entries = {f"opt/micropython/{service}": port, "opt/micropython/main.py": ""}
    guest = beside(fw_cfg=entries)
    guest.console.wait_prompt(20)
    guest.answers()
    assert not guest.tracebacks()
    text = bytes(guest.console.transcript).decode(errors="backslashreplace")
    assert f"opt/micropython/{service}: " in text
