# SPDX-License-Identifier: MIT
"""The vsock packet: each header field, each way to cut a chain, each malformed shape by name."""

import pytest
import vsock_bench
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import examples

w = vsock_bench.module("vsock.words")
wire = vsock_bench.module("vsock.packet")

FIELDS = {
    "src_cid": 64,
    "dst_cid": 64,
    "src_port": 32,
    "dst_port": 32,
    "type": 16,
    "op": 16,
    "flags": 32,
    "buf_alloc": 32,
    "fwd_cnt": 32,
}
headers = st.fixed_dictionaries({name: st.integers(0, 2**n - 1) for name, n in FIELDS.items()})
payloads = st.binary(max_size=300)
cuts = st.lists(st.integers(0, 120), max_size=8)


def chain_of(length, cuts, writes):
    """A chain of `length` bytes in buffers whose lengths are `cuts` as far as they go."""
    chain = []
    for cut in cuts:
        cut = min(cut, length)
        chain.append((bytearray(cut), writes))
        length -= cut
    return [*chain, (bytearray(length), writes)]


def contents(chain):
    return b"".join(bytes(buffer) for buffer, _ in chain)


@settings(max_examples=examples(3000))
@given(headers, payloads, cuts, st.integers(0, 60))
def test_packet_laid_into_any_rx_chain_reads_back_the_same(fields, data, cuts, spare):
    chain = chain_of(w.HEADER_LEN + len(data) + spare, cuts, True)
    packet = wire.Packet(data, **fields)
    used = packet.to_rx_chain(chain)
    assert used == w.HEADER_LEN + len(data)
    assert wire.rx_room(chain) == len(data) + spare
    again = wire.Packet.from_used_rx_chain(chain, used)
    assert again.payload() == data
    assert again.len == len(data)
    assert {name: getattr(again, name) for name in FIELDS} == fields


@settings(max_examples=examples(3000))
@given(headers, payloads, cuts, cuts)
def test_where_a_tx_chain_is_cut_makes_no_difference(fields, data, cuts, other_cuts):
    packet = wire.Packet(data, **fields)
    chains = [chain_of(w.HEADER_LEN + len(data), c, False) for c in (cuts, other_cuts)]
    for chain in chains:
        assert packet.to_tx_chain(chain) == w.HEADER_LEN + len(data)
        assert wire.Packet.from_tx_chain(chain).payload() == data
    assert contents(chains[0]) == contents(chains[1])
    assert contents(chains[0])[:44] == bytes(packet.header)


@settings(max_examples=examples(2000))
@given(st.binary(max_size=200), cuts, st.integers(0, 220))
def test_noise_gives_a_packet_or_a_named_error(noise, cuts, used):
    chain = chain_of(len(noise), cuts, True)
    at = 0
    for buffer, _ in chain:
        buffer[:] = noise[at : at + len(buffer)]
        at += len(buffer)
    try:
        packet = wire.Packet.from_used_rx_chain(chain, used)
    except wire.PacketError:
        return
    assert packet.len == len(packet.payload()) <= used - w.HEADER_LEN
    try:
        packet.check()
    except wire.PacketError:
        return
    assert packet.type in (1, 2) and 1 <= packet.op <= 7


@pytest.mark.parametrize("name, bits", FIELDS.items())
def test_field_refuses_what_does_not_fit(name, bits):
    packet = wire.Packet()
    setattr(packet, name, 2**bits - 1)
    assert getattr(packet, name) == 2**bits - 1
    for value in (2**bits, -1):
        with pytest.raises(wire.FieldRange):
            setattr(packet, name, value)


def test_header_stands_in_the_order_of_the_specification():
    packet = wire.Packet(
        b"xyz", src_cid=2, dst_cid=33, src_port=4, dst_port=5, type=1, op=5, flags=6,
        buf_alloc=7, fwd_cnt=8,
    )  # fmt: skip
    words = [int.from_bytes(packet.header[i : i + 4], "little") for i in range(0, 44, 4)]
    assert words == [2, 0, 33, 0, 4, 5, 3, 1 | 5 << 16, 6, 7, 8]
    assert repr(packet) == "<Packet RW 2:4 > 33:5 len=3 flags=6 buf_alloc=7 fwd_cnt=8>"


def full_chain(writes, length=44, **fields):
    chain = [(bytearray(length), writes)]
    for name, value in fields.items():
        packet = wire.Packet(**{name: value})
        chain[0][0][:44] = packet.header
    return chain


def test_chain_shorter_than_a_header():
    with pytest.raises(wire.ChainTooShort, match="^43 bytes"):
        wire.Packet.from_tx_chain([(bytearray(20), False), (bytearray(23), False)])
    with pytest.raises(wire.ChainTooShort, match="^43 bytes"):
        wire.Packet().to_rx_chain([(bytearray(43), True)])
    with pytest.raises(wire.ChainTooShort, match="^43 bytes"):
        wire.rx_room([(bytearray(43), True)])


def test_descriptors_of_the_wrong_direction():
    with pytest.raises(wire.UnreadableDescriptor):
        wire.Packet.from_tx_chain([(bytearray(44), False), (bytearray(4), True)])
    with pytest.raises(wire.UnwritableDescriptor):
        wire.Packet().to_rx_chain([(bytearray(44), False)])


def test_used_length_must_fit_header_and_chain():
    with pytest.raises(wire.UsedTooShort):
        wire.Packet.from_used_rx_chain(full_chain(True, 100), 43)
    with pytest.raises(wire.UsedTooLong):
        wire.Packet.from_used_rx_chain(full_chain(True, 100), 101)


def test_len_beyond_what_came():
    with pytest.raises(wire.DataTooShort, match="^len 57, came 56$"):
        wire.Packet.from_used_rx_chain(full_chain(True, 100, len=57), 100)
    with pytest.raises(wire.DataTooShort):
        wire.Packet.from_tx_chain(full_chain(False, 44, len=1))


def test_len_beyond_what_a_packet_may_carry():
    with pytest.raises(wire.DataTooLong):
        wire.Packet.from_tx_chain(full_chain(False, 44, len=w.MAX_DATA + 1))
    with pytest.raises(wire.DataTooLong):
        wire.Packet(bytes(7)).to_rx_chain([(bytearray(50), True)])


def test_check_names_what_is_wrong_with_the_header():
    with pytest.raises(wire.UnknownType):
        wire.Packet(op=1, type=4).check()
    for op, flags in ((1, 0), (0, 0), (8, 0), (w.OP_RW, 1)):
        with pytest.raises(wire.NotADatagram):
            wire.Packet(op=op, flags=flags, type=w.TYPE_DGRAM).check()
    assert wire.Packet(op=w.OP_RW, type=w.TYPE_DGRAM).check().len == 0
    for op in (0, 8, 0xFFFF):
        with pytest.raises(wire.UnknownOp):
            wire.Packet(op=op).check()
    with pytest.raises(wire.UnexpectedData):
        wire.Packet(b"x", op=w.OP_SHUTDOWN).check()
    assert wire.Packet(b"x", op=w.OP_RW).check().payload() == b"x"
    for op in range(w.OP_REQUEST, w.OP_CREDIT_REQUEST + 1):
        assert wire.Packet(op=op, type=w.TYPE_SEQPACKET).check().op == op


def test_header_is_a_copy_that_the_device_cannot_change_afterwards():
    chain = full_chain(True, 50, len=6)
    packet = wire.Packet.from_used_rx_chain(chain, 50)
    chain[0][0][24:28] = b"\xff\xff\xff\xff"
    assert packet.len == 6
