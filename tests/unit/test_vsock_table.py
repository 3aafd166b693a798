# SPDX-License-Identifier: MIT
"""The table of connections under a host that chooses CIDs and ports so that they meet: what a look
costs has an end, and connections that were not chosen so are found as fast as ever."""

from array import array

import pytest
import vsock_bench

w = vsock_bench.module("vsock.words")
portable = vsock_bench.portable
table_module = vsock_bench.module("vsock.table")
DEEPEST = table_module.DEEPEST

MOST = 4096  # connections that the table is made for
PORT = 1234  # of ours
OUT = object()


class Connection:
    """As far as the table looks at one; `steps` counts how often any was left for the next."""

    steps = 0

    def __init__(self, port, peer_port, cid):
        self.block = array("I", bytes(4 * 64))
        self.block[w.SRC_PORT], self.block[w.DST_PORT] = port, peer_port
        self.block[w.DST_CID] = cid
        self.at = portable.addressof(self.block)
        self.out = OUT
        self.key = self._twin = None

    @property
    def twin(self):
        Connection.steps += 1
        return self._twin

    @twin.setter
    def twin(self, other):
        self._twin = other


def header(port, peer_port, cid):
    """What a packet from that peer has."""
    words = array("I", bytes(4 * w.HEADER_WORDS))
    words[w.SRC_CID], words[w.SRC_PORT], words[w.DST_PORT] = cid, peer_port, port
    return words


def cost(table, address):
    """(the connection, how many others were compared first)."""
    Connection.steps = 0
    found = table.find(header(*address), OUT)
    return found, Connection.steps


def bucket(table, address):
    port, peer_port, cid = address
    return table_module._spread(port, peer_port, cid) & table._mask


# Peers (port of ours, port, CID) that a host chooses, each without an end.


def by_xor(table):
    """One sum of shifted ports and CIDs, as an earlier key of ours was."""
    for m in range(1 << 18):
        yield PORT, 5000 ^ m, 3 ^ m << 14


def by_ports(table):
    """Ports tried one by one for those that meet."""
    return (each for each in tried(lambda n: (PORT, n, 2)) if bucket(table, each) == 0)


def by_cids(table):
    return (each for each in tried(lambda n: (PORT, 1024, n)) if bucket(table, each) == 0)


def by_both(table):
    def chosen(n):
        return PORT, n * 0x9E3779B1 & 0xFFFFFFFF, n * 0x10001 & 0xFFFFFFFF

    return (each for each in tried(chosen) if bucket(table, each) == 0)


def in_steps(table):
    """What meets in a table that takes a number modulo a power of two for its place."""
    for n in range(1 << 18):
        yield PORT, n << 14 & 0xFFFFFFFF, 2 + (n >> 18)


def tried(made):
    return map(made, range(3, 1 << 18))


CHOICES = [by_xor, by_ports, by_cids, by_both, in_steps]


def taken(table, addresses):
    """Those of the addresses whose connections the table takes."""
    return [each for each in addresses if table.add(Connection(*each))]


@pytest.fixture
def table():
    vsock_bench.memory.clear()
    return table_module.Table(MOST)


@pytest.mark.parametrize("choice", CHOICES)
def test_a_look_compares_with_few_whatever_the_host_has_chosen(table, choice):
    """Once it compared with all that have the same key: 3,999 of 4,000 for `by_xor`."""
    addresses = [each for each, _ in zip(choice(table), range(4000), strict=False)]
    there = set(taken(table, addresses))
    assert len(addresses) > 100 and len(there) >= DEEPEST
    for each in addresses:
        found, steps = cost(table, each)
        assert (found is not None) == (each in there)
        assert steps <= DEEPEST


@pytest.mark.parametrize("choice", CHOICES)
def test_who_was_not_chosen_has_a_place(table, choice):
    """The host has had its own refused, and nobody else's."""
    addresses = [each for each, _ in zip(choice(table), range(2000), strict=False)]
    taken(table, addresses)
    others = [(PORT, 40000 + n, 7) for n in range(1000)]
    assert len(taken(table, others)) >= len(others) - 5  # in a full bucket by chance
    assert sum(cost(table, each)[1] for each in others) / len(others) < 5


@pytest.mark.parametrize("most", [1, 16, 33, 1000, 4096])
def test_honest_connections_are_spread_over_half_as_many_buckets(most):
    vsock_bench.memory.clear()
    table = table_module.Table(most)
    keys = set()
    for n in range(8 * most):
        conn = Connection(PORT, 30000 + n, 2)
        if table.add(conn):
            keys.add(conn.key)
            table.remove(conn)
    assert len(keys) >= most / 2


def test_buckets_are_given_back(table):
    addresses = [each for each, _ in zip(by_ports(table), range(100), strict=False)]
    for _ in range(3):
        conns = [Connection(*each) for each in addresses]
        there = [conn for conn in conns if table.add(conn)]
        assert len(there) == DEEPEST
        for conn in there:
            table.remove(conn)
        assert table.count == 0
    assert taken(table, addresses[::-1]) == addresses[: -DEEPEST - 1 : -1]
