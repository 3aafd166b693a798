# SPDX-License-Identifier: MIT
"""Addresses of `mpfw forward`: what is one, and the sentence for what is none."""

import re
import socket
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpfw.guest.addresses import AddressError, Hybrid, Tcp, Vsock, hybrid_sockets, parse

PORTS = st.integers(1, 65535)
VSOCK = st.integers(0, 0xFFFFFFFE)
PATHS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1).map(
    lambda text: "/" + text.strip("/")
)


@given(PORTS)
def test_a_tcp_port_alone_is_on_the_ipv4_loopback(port):
    address = parse(f"tcp:{port}")
    assert isinstance(address, Tcp)
    assert (address.host, address.port) == ("127.0.0.1", port)


@pytest.mark.parametrize(
    "text, host",
    (("tcp:example.org:80", "example.org"), ("tcp:[::1]:80", "::1"), ("tcp::80", "127.0.0.1")),
)
def test_a_tcp_host_is_a_name_or_an_address(text, host):
    address = parse(text)
    assert isinstance(address, Tcp)
    assert (address.host, address.port) == (host, 80)


@given(VSOCK, VSOCK)
def test_a_vsock_address_is_written_as_it_is_read(cid, port):
    assert str(parse(f"vsock:{cid}:{port}")) == f"vsock:{cid}:{port}"
    assert str(parse(f"vsock:{port}", listening=True)) == f"vsock:{port}"


@given(PATHS, VSOCK)
def test_a_path_may_hold_colons_and_spaces(path, port):
    address = parse(f"uds:{path}:{port}")
    assert isinstance(address, Hybrid)
    assert (str(address.path), address.port) == (path, port) or "//" in path or "/." in path
    assert str(parse(f"unix:{path}")).startswith("unix:/")


WRONG = (
    ("", "is no address: tcp:PORT"),
    ("8080", "is no address"),
    ("udp:80", "is no address"),
    ("unix:", "is no address"),
    ("uds:/path", "is no address"),
    ("tcp:", "is no TCP address"),
    ("tcp:host", "is no TCP address"),
    ("tcp:::1:80", "is no TCP address"),
    ("tcp:65536", "a TCP port is a number from 1 to 65535"),
    ("tcp:0", "a TCP port is a number from 1 to 65535"),
    ("vsock:1234", "which guest? vsock:CID:PORT"),
    ("vsock:33:", "a vsock port is a number below 4294967295, not ''"),
    ("vsock:33:4294967295", "a vsock port is a number below 4294967295"),
    ("vsock:-1:5", "a vsock CID is a number below 4294967295, not '-1'"),
    ("vsock:٣:5", "a vsock CID"),
    ("uds:/path:x", "a vsock port is a number below 4294967295, not 'x'"),
)


@pytest.mark.parametrize("text, sentence", WRONG)
def test_what_is_no_address_is_one_sentence(text, sentence):
    with pytest.raises(AddressError, match=re.escape(sentence)) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@given(st.text())
def test_any_text_is_an_address_or_a_sentence(text):
    for listening in (True, False):
        try:
            parse(text, listening)
        except AddressError as error:
            assert str(error)


def test_port_0_is_for_listening_only():
    address = parse("tcp:0", listening=True)
    listener = address.listen()
    try:
        assert re.fullmatch(r"tcp:127\.0\.0\.1:[1-9]\d*", address.bound(listener))
    finally:
        address.close(listener)


def test_a_guest_of_a_cid_is_admitted_alone():
    assert Vsock(33, 5).admits((33, 9999))
    assert not Vsock(33, 5).admits((34, 9999))
    assert Vsock(None, 5).admits((34, 9999))


def test_a_running_guest_is_found_by_its_cid_and_a_dead_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("mpfw-a", "mpfw-b", "other"):
        (tmp_path / name).mkdir()
    alive = tmp_path / "mpfw-a/vsock-33"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(alive))
    listener.listen()
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    dead.bind(str(tmp_path / "mpfw-b/vsock-33"))
    dead.close()
    with listener:
        assert hybrid_sockets(33) == hybrid_sockets() == [alive]
        assert hybrid_sockets(34) == []
    assert hybrid_sockets(33) == []
