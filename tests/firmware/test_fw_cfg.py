# SPDX-License-Identifier: MIT
"""fw_cfg and the HOB list as the firmware's Python sees them."""

import hashlib
import random

import pytest

from mpfw.guest.console import RemoteError


def test_a_file_by_name(boot):
    guest = boot(fw_cfg={"opt/test/text": "héllo", "opt/test/empty": ""})
    guest.console.wait_prompt()
    guest.console.exec("import fw_cfg")
    assert guest.console.eval("bytes(fw_cfg.read('opt/test/text'))") == "héllo".encode()
    assert guest.console.eval("bytes(fw_cfg.read('opt/test/empty'))") == b""
    assert guest.console.eval("fw_cfg.size('opt/test/text')") == 6
    assert guest.console.eval("fw_cfg.read('opt/test')") is None
    assert guest.console.eval("fw_cfg.read('pt/test/text')") is None
    assert "opt/test/text" in guest.console.eval("fw_cfg.names()")


def test_a_large_file_arrives_whole(boot):
    content = random.Random(1).randbytes(3 << 20)
    guest = boot(fw_cfg={"opt/test/large": content})
    guest.console.wait_prompt()
    code = """
import fw_cfg, hashlib
data = fw_cfg.read("opt/test/large")
print(len(data), hashlib.sha256(data).digest().hex())
"""
    expected = f"{len(content)} {hashlib.sha256(content).hexdigest()}\n"
    assert guest.console.exec(code) == expected


def test_a_file_beyond_the_limit_is_refused(boot):
    guest = boot(fw_cfg={"opt/test/large": bytes(1000)})
    guest.console.wait_prompt()
    with pytest.raises(RemoteError, match="has 1000 bytes, more than 999"):
        guest.console.exec("import fw_cfg; fw_cfg.read('opt/test/large', 999)")


def test_a_file_beyond_the_memory_is_enomem(boot):
    guest = boot(fw_cfg={"opt/test/large": bytes(60 << 20)}, memory="32M")
    guest.console.wait_prompt()
    with pytest.raises(RemoteError, match="ENOMEM: no memory for the 62914560 bytes"):
        guest.console.exec("import fw_cfg; fw_cfg.read('opt/test/large')")


def test_an_environment_that_is_no_text_is_none(boot):
    guest = boot(fw_cfg={"opt/micropython/env": b"\xff=\xff\0"})
    guest.console.wait_prompt()
    assert guest.console.eval("__import__('os').environ") == {}
    assert "opt/micropython/env: " in guest.debugcon()


def test_an_overlay_beyond_all_limits_is_a_sentence(boot):
    guest = boot(fw_cfg={"opt/micropython/overlay": bytes((64 << 20) + 1)}, memory="256M")
    guest.console.wait_prompt()
    text = bytes(guest.console.transcript).decode()
    assert "bytes, more than 67108864, so the frozen modules run" in text
    assert "Traceback" not in text


def test_without_dma_it_reads_byte_by_byte(boot):
    content = random.Random(2).randbytes(5000)
    guest = boot(
        fw_cfg={"opt/test/file": content},
        # QEMU 11 has no ACPI without that DMA.
        extra=("-global", "fw_cfg_io.dma_enabled=off", "-machine", "acpi=off"),
    )
    guest.console.wait_prompt()
    read = guest.console.eval("bytes(__import__('fw_cfg').read('opt/test/file'))")
    assert read == content


def test_ctrl_c_ends_what_is_read_byte_by_byte(boot):
    guest = boot(
        fw_cfg={"opt/test/file": bytes(48 << 20)},
        memory="128M",
        extra=("-global", "fw_cfg_io.dma_enabled=off", "-machine", "acpi=off"),
    )
    guest.console.wait_prompt()
    guest.console.start("import fw_cfg\nprint('begun')\nfw_cfg.read('opt/test/file')")
    guest.console.expect("begun")
    guest.console.interrupt()
    assert guest.console.eval("6 * 7") == 42


@pytest.mark.parametrize("memory, size", (("64M", 64 << 20), ("8G", 8 << 30)))
def test_hobs_tell_the_memory(boot, memory, size):
    guest = boot(memory=memory)
    guest.console.wait_prompt()
    guest.console.exec("import hob")
    resources = guest.console.eval("hob.resources()")
    total = sum(length for kind, _, length in resources if kind == 0)
    assert size - (1 << 20) <= total <= size
    for _, length, kind in guest.console.eval("hob.allocations()"):
        assert length and kind < 15
    assert (2, 0, 0x10000) in resources
    volumes = guest.console.eval("hob.volumes()")
    assert max(start + length for start, length in volumes) == 1 << 32
    assert 36 <= guest.console.eval("hob.address_bits()") <= 52
