# SPDX-License-Identifier: MIT
"""The store of received bytes against a plain list of what came.

After every step each segment is in exactly one place: a free list, a connection's queue, or out
in the receive ring.
"""

import random

import pytest
import vsock_bench
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from profiles import examples

w = vsock_bench.module("vsock.words")
control = vsock_bench.module("vsock.control")
credit = vsock_bench.module("vsock.credit")
types = vsock_bench.module("sockets.types")
store_module = vsock_bench.module("vsock.store")
memory = vsock_bench.memory

CHUNK = 64 * 4096
EOM, EOR = w.SEQ_EOM, w.SEQ_EOR
STREAM, SEQPACKET = types.STREAM, types.SEQPACKET
NONE = vsock_bench.M32
NOISE = random.Random(3).randbytes(1 << 18)

lengths = st.one_of(
    st.integers(1, 300),
    st.sampled_from([2047, 2048, 2049, 4095, 4096, 4097, 8192, 65535, 65536]),
)


def control_block(kind, window=262144):
    return control.control_block(33, 1, 2, 2, kind, window)


def source(data):
    buffer = vsock_bench.DMABuffer(len(data))
    memory.find(buffer.addr, len(data))[:] = data
    return buffer


def memory_of(large, chunks):
    """Bytes that a store allocates: buffers, blocks, a row of the table for each of them."""
    rows = large + 64 * chunks
    return large * w.LARGE_STRIDE + chunks * CHUNK + rows * 4 * w.SEG_WORDS


def segments(store):
    return store.segments


def word(store, seg, name):
    table = store._words[w.STORE_SEGMENTS] | store._words[w.STORE_SEGMENTS + 1] << 32
    return memory.view(table, 4)[seg * w.SEG_WORDS + getattr(w, name)]


def walk(store, first):
    """The segments of a list, in order. A list that does not end is a failure."""
    found = []
    while first != NONE:
        assert first not in found, "a segment is twice in its list"
        found.append(first)
        first = word(store, first, "SEG_NEXT")
    return found


def free_lists(store):
    words = store._words
    return (
        walk(store, words[w.STORE_LARGE]),
        walk(store, words[w.STORE_BLOCK]),
    )


def queue(store, block):
    return walk(store, block[w.HEAD])


def read(store, block, want, peek=False):
    into = vsock_bench.DMABuffer(want)
    n = store.read(block, into.addr, want, peek)
    data = bytes(memory.find(into.addr, n))
    into.free()
    return data


class Queues(RuleBasedStateMachine):
    """One store, a stream and a seqpacket connection, and a receive ring."""

    @initialize(large=st.integers(1, 4), chunks=st.integers(0, 2), window=st.integers(0, 1 << 18))
    def start(self, large, chunks, window):
        memory.clear()
        self.store = store_module.Store(vsock_bench.DMABuffer, large, chunks * CHUNK)
        self.large = large
        self.chunks = chunks
        self.blocks = [control_block(STREAM, window), control_block(SEQPACKET, window)]
        self.packets: tuple[list, list] = ([], [])  # [data, flags] in order
        self.posted = []
        self.lent = []  # (segment, address, bytes) that the device still reads
        self.promised = min(large, 64 * chunks)
        self.lends = 0
        self.at = 0
        for block in self.blocks:
            if self.store.promise(1):
                block[w.PLEDGE] = 1
                self.promised += 1

    def noise(self, n):
        at = self.at % (len(NOISE) - n)
        self.at += 7919
        return NOISE[at : at + n]

    @rule()
    def post(self):
        spare = self.store.spare
        seg = self.store.take_large()
        if spare:
            assert word(self.store, seg, "SEG_KIND") & 1
            self.posted.append(seg)
        else:
            assert seg == -1

    def room_for(self, which, n):
        """Whether there are blocks for `n` more bytes; the model's own count."""
        block = self.blocks[which]
        held = queue(self.store, block)
        if held and word(self.store, held[-1], "SEG_KIND") == 0:
            n = max(0, n - (4096 - word(self.store, held[-1], "SEG_END")))
        need = -(-n // 4096)
        free = len(free_lists(self.store)[1])
        more = len(held) + need - block[w.PLEDGE]
        if which and need and more > 0:
            told = block[w.EDGE] - block[w.READ_CNT]
            if len(held) + need > 64 + (max(told, block[w.BUF_ALLOC]) >> 9):
                return False
            if more > self.left():
                return False
            missing = self.promised + more - 64 * self.made()
            free += 64 * max(0, -(-missing // 64))
            self.lends = more
        return need <= free

    def left(self):
        return 64 * self.chunks - self.promised

    def made(self):
        """Chunks that have segments."""
        return (segments(self.store) - self.large) // 64

    @rule(which=st.integers(0, 1), n=lengths, flags=st.sampled_from([0, 0, EOM, EOM | EOR]))
    def a_packet_is_copied(self, which, n, flags):
        flags = flags if which else 0
        data = self.noise(n)
        self.lends = 0
        expected = self.room_for(which, n)
        buffer = source(data)
        result = self.store.append_bytes(self.blocks[which], buffer.addr, n, flags)
        buffer.free()
        assert result == (0 if expected else -1)
        self.promised += self.lends
        if expected:
            self.packets[which].append([data, flags])

    @rule(which=st.integers(0, 1), n=lengths, flags=st.sampled_from([0, EOM, EOR, EOM | EOR]))
    def a_packet_arrives_in_the_ring(self, which, n, flags):
        if not self.posted:
            return
        flags = flags if which else 0
        data = self.noise(n)
        seg = self.posted.pop(0)
        at = self.store.address(seg)
        memory.find(at, n)[:] = data
        spare = self.store.spare
        self.lends = 0
        expected = self.room_for(which, n)
        fresh = self.store.keep_bytes(self.blocks[which], seg, at, n, flags)
        if n > 2048 and spare:
            assert fresh not in (
                w.NO_MEMORY,
                seg,
            )  # kept where it is, another buffer goes into the ring
            assert queue(self.store, self.blocks[which])[-1] == seg
        else:
            assert fresh == (seg if expected else w.NO_MEMORY)
            self.promised += self.lends
        if fresh >= 0:
            self.packets[which].append([data, flags])
        self.posted.append(seg if fresh < 0 else fresh)

    @rule(want=st.one_of(lengths, st.just(200000)), peek=st.booleans())
    def the_stream_is_read(self, want, peek):
        data = read(self.store, self.blocks[0], want, peek)
        assert data == b"".join(d for d, _ in self.packets[0])[:want]
        if not peek:
            self.forget(len(data))

    def forget(self, n):
        """The first `n` bytes left the stream's queue."""
        packets = self.packets[0]
        while n:
            part = min(n, len(packets[0][0]))
            packets[0][0] = packets[0][0][part:]
            n -= part
            if not packets[0][0]:
                packets.pop(0)

    @rule(part=st.integers(1, 70000), lend=st.booleans())
    def the_first_segment_is_taken(self, part, lend):
        block = self.blocks[0]
        seg = self.store.head(block)
        if seg < 0:
            assert not self.packets[0]
            return
        n = self.store.length(seg)
        at = self.store.data(seg)
        data = bytes(memory.find(at, n))
        assert data == b"".join(d for d, _ in self.packets[0])[:n]
        part = min(part, n)
        if part == n:
            assert self.store.unlink(block) == seg
        if lend or part < n:
            assert self.store.lend(seg, part) == at
            self.lent.append((seg, at, data[:part]))
        else:
            self.store.release(seg)
        self.forget(part)

    @rule(which=st.integers(0, 1000))
    def the_device_returns_a_part(self, which):
        if self.lent:
            seg, at, data = self.lent.pop(which % len(self.lent))
            assert bytes(memory.find(at, len(data))) == data
            self.store.returned(seg)

    def first_message(self):
        data = b""
        for i, (part, flags) in enumerate(self.packets[1]):
            data += part
            if flags & EOM:
                return i + 1, data, flags
        return None

    @rule()
    def the_first_message_is_read(self):
        block = self.blocks[1]
        message = self.first_message()
        if message is None:
            queued = sum(len(data) for data, _ in self.packets[1])
            assert self.store.message(block) == queued
            return
        count, data, flags = message
        assert self.store.message(block) == len(data)
        assert read(self.store, block, len(data), peek=True) == data
        left = len(data)
        while left:
            seg = self.store.unlink(block)
            left -= self.store.length(seg)
            last = self.store.flags(seg)
            self.store.release(seg)
        assert last == flags  # EOR travels with the packet that ends the message
        del self.packets[1][:count]

    @rule(which=st.integers(0, 1))
    def a_queue_is_thrown_away(self, which):
        self.store.discard(self.blocks[which])
        self.packets[which].clear()

    @rule(which=st.integers(0, 1), window=st.integers(0, 1 << 18))
    def the_window_changes(self, which, window):
        self.blocks[which][w.BUF_ALLOC] = window

    @rule(blocks=st.integers(1, 70), which=st.integers(0, 1))
    def memory_is_promised(self, blocks, which):
        if self.store.promise(blocks):
            self.promised += blocks
            self.blocks[which][w.PLEDGE] += blocks
        else:
            assert self.promised + blocks > 64 * self.chunks

    @invariant()
    def what_is_promised_is_there(self):
        assert self.store.promised == self.promised <= 64 * self.chunks
        assert self.promised <= 64 * self.made() or self.promised <= self.large  # yet to come

    @invariant()
    def each_segment_is_in_one_place(self):
        large, blocks = free_lists(self.store)
        queues = [queue(self.store, block) for block in self.blocks]
        read = {seg for seg, _, _ in self.lent} - set(queues[0])
        everywhere = [*large, *blocks, *self.posted, *queues[0], *queues[1], *read]
        assert sorted(everywhere) == list(range(segments(self.store)))
        assert self.store.spare == len(large)
        assert self.store._words[w.STORE_BLOCKS] == len(blocks)
        assert all(word(self.store, seg, "SEG_KIND") & 1 for seg in large)
        assert not any(word(self.store, seg, "SEG_KIND") for seg in blocks)

    @invariant()
    def each_queue_holds_what_came(self):
        for block, packets in zip(self.blocks, self.packets, strict=True):
            held = queue(self.store, block)
            assert block[w.HELD] == len(held)
            lengths = [self.store.length(seg) for seg in held]
            assert all(lengths), "an empty segment stayed in its queue"
            assert sum(lengths) == sum(len(data) for data, _ in packets)
            if held:
                assert block[w.TAIL] == held[-1]
                assert [self.store.after(seg) for seg in held] == [*held[1:], -1]
            else:
                assert self.store.head(block) == -1

    @invariant()
    def no_more_memory_than_agreed(self):
        assert memory.allocated == memory_of(self.large, self.chunks)


TestQueues = Queues.TestCase
TestQueues.settings = settings(max_examples=examples(1400), stateful_step_count=30, deadline=None)


# -- one thing at a time


@pytest.fixture
def store():
    memory.clear()
    store = store_module.Store(vsock_bench.DMABuffer, 2, 2 * CHUNK)
    assert store.promise(120)
    return store


def append(store, block, data, flags=0):
    buffer = source(data)
    result = store.append_bytes(block, buffer.addr, len(data), flags)
    buffer.free()
    return result


def test_a_thousand_one_byte_packets_cost_one_block(store):
    block = control_block(STREAM)
    for i in range(1000):
        assert append(store, block, bytes([i & 0xFF])) == 0
    assert block[w.HELD] == 1
    assert read(store, block, 2000) == bytes(i & 0xFF for i in range(1000))


def test_two_messages_do_not_share_a_segment(store):
    block = control_block(SEQPACKET)
    append(store, block, b"one", EOM)
    append(store, block, b"two", EOM)
    assert block[w.HELD] == 2
    assert store.message(block) == 3


def test_a_message_in_pieces_is_one_message(store):
    block = control_block(SEQPACKET)
    for piece in (b"a", b"b" * 5000, b"c" * 3):
        append(store, block, piece)
    append(store, block, b"end", EOM | EOR)
    append(store, block, b"next", EOM)
    assert store.message(block) == 1 + 5000 + 3 + 3


def test_a_storm_of_tiny_messages_is_bounded():
    store = store_module.Store(vsock_bench.DMABuffer, 2, 2 * CHUNK)
    block = control_block(SEQPACKET, 4096)
    queued = 0
    while append(store, block, b"x", EOM) == 0:
        queued += 1
        assert queued < 1000
    assert queued == 64 + (4096 >> 9)


@pytest.mark.parametrize("read", [0, 100_000, NONE - 1000])
def test_the_bound_is_that_of_the_window_that_the_peer_was_told(read):
    """The program has read, and made its window smaller since."""
    store = store_module.Store(vsock_bench.DMABuffer, 2, 2 * CHUNK)
    block = control_block(SEQPACKET, 4096)
    block[w.READ_CNT], block[w.EDGE] = read, (read + 4096) & NONE
    block[w.BUF_ALLOC] = 0
    queued = 0
    while append(store, block, b"x", EOM) == 0:
        queued += 1
    assert queued == 64 + (4096 >> 9)


def test_without_memory_a_packet_is_refused_whole_and_nothing_is_lost():
    memory.clear()
    store = store_module.Store(vsock_bench.DMABuffer, 2, CHUNK)
    assert store.promise(62) and not store.promise(1)
    block = control_block(STREAM, 1 << 20)
    queued = 0
    while append(store, block, NOISE[:10000]) == 0:
        queued += 1
    assert queued == CHUNK // 10000
    assert read(store, block, 1 << 20) == NOISE[:10000] * queued
    assert append(store, block, b"again") == 0


def test_with_little_memory_there_are_fewer_blocks():
    memory.clear()
    for limit, chunks in (
        (memory_of(2, 4) - 1, 2),
        (memory_of(2, 1), 1),
    ):
        memory.clear()
        memory.limit = limit
        store = store_module.Store(vsock_bench.DMABuffer, 2, 8 * CHUNK)
        assert store.total == chunks * 64 and store.promise(1)
        assert memory.allocated == memory_of(2, chunks)


@pytest.mark.parametrize("missing", [1, CHUNK, CHUNK + 1, memory_of(2, 1)])
def test_without_memory_for_the_fewest_blocks_nothing_stays_allocated(missing):
    memory.clear()
    memory.limit = memory_of(2, 1) - missing
    with pytest.raises(MemoryError):
        store_module.Store(vsock_bench.DMABuffer, 2, 8 * CHUNK)
    assert memory.allocated == 0
    memory.limit = None


def test_bytes_of_a_stream_lie_close_whatever_packets_bring_them(store):
    block = control_block(STREAM)
    for _ in range(60):
        assert append(store, block, NOISE[:4097]) == 0
    assert block[w.HELD] == 61
    assert read(store, block, 1 << 18) == NOISE[:4097] * 60


def test_all_memory_is_given_back_at_the_end():
    memory.clear()
    store = store_module.Store(vsock_bench.DMABuffer, 2, 8 * CHUNK)
    assert memory.allocated > 8 * CHUNK
    store.close()
    assert memory.allocated == 0


def test_a_segment_that_is_filled_has_no_border_of_the_message_before(store):
    block = control_block(SEQPACKET, 1 << 20)
    seg = store.take_large()
    kept = store.keep_bytes(block, seg, store.address(seg), 65536, EOM | EOR)
    assert kept not in (w.NO_MEMORY, seg)
    assert word(store, seg, "SEG_KIND") != w.IS_LARGE
    assert read(store, block, 65536)
    store.fill(seg, source(NOISE[:5000]).addr, 5000)
    assert word(store, seg, "SEG_KIND") == w.IS_LARGE


@pytest.mark.parametrize("seg", [0, 1])
def test_a_large_packet_stays_where_the_device_put_it(store, seg):
    block = control_block(STREAM)
    taken = [store.take_large() for _ in range(2)]
    store.release(next(each for each in taken if each != seg))
    memory.find(store.address(seg), 65536)[:] = NOISE[:65536]
    assert store.keep_bytes(block, seg, store.address(seg), 65536, 0) not in (w.NO_MEMORY, seg)
    assert store.data(store.head(block)) == store.address(seg)
    assert read(store, block, 65536) == NOISE[:65536]


@pytest.mark.parametrize("seg", [0, 1])
@pytest.mark.parametrize("lent", [[100], [100, 200], [4999], [5000]])
def test_what_is_thrown_away_while_the_device_reads_some_is_free_when_it_has(store, seg, lent):
    block = control_block(STREAM)
    taken = [store.take_large() for _ in range(2)]
    store.release(next(each for each in taken if each != seg))
    assert store.keep_bytes(block, seg, store.address(seg), 5000, 0) not in (w.NO_MEMORY, seg)
    for n in lent:
        store.lend(seg, n)
    spare = store.spare
    store.discard(block)
    for _ in lent:
        assert store.spare == spare
        store.returned(seg)
    assert store.spare == spare + 1
    assert store.take_large() == seg


def test_each_segment_lies_in_its_own_memory(store):
    """Also the first of a buffer, whose neighbours in the table lie elsewhere."""
    block = control_block(STREAM, 1 << 20)
    assert append(store, block, NOISE[: CHUNK - 100]) == 0
    assert append(store, block, NOISE[CHUNK - 100 : CHUNK]) == 0
    held = queue(store, block)
    assert sorted(held) == list(range(min(held), min(held) + 64))
    for i, seg in enumerate(held):
        wanted = NOISE[4096 * i : 4096 * (i + 1)]
        assert store.data(seg) == store.address(seg) == store.lend(seg, 0)
        assert bytes(memory.find(store.data(seg), 4096)) == wanted
        store.returned(seg)
    assert read(store, block, CHUNK) == NOISE[:CHUNK]
    for seg in (0, 1):
        into = source(NOISE[:5000])
        store.fill(seg, into.addr, 5000)
        assert bytes(memory.find(store.data(seg), 5000)) == NOISE[:5000]


def test_the_header_fits_in_front_of_every_large_buffer(store):
    spans = []
    for _ in range(2):
        at = store.address(store.take_large())
        assert at % 64 == 0
        memory.find(at - 44, 44 + 65536)
        spans.append((at - 44, at + 65536))
    spans.sort()
    assert spans[0][1] <= spans[1][0]


def test_the_least_window_is_packed_where_it_lies():
    """Also in the first block, whose neighbour in the table lies elsewhere."""
    memory.clear()
    store = store_module.Store(vsock_bench.DMABuffer, 2, CHUNK)
    assert store.promise(62)
    others, block = control_block(STREAM), control_block(STREAM, 4096)
    block[w.PLEDGE] = 1
    assert append(store, others, NOISE[: 63 * 4096]) == 0
    for at in range(0, 4000, 500):
        assert append(store, block, NOISE[at : at + 500]) == 0
    assert queue(store, block) == [2]
    assert read(store, block, 3000) == NOISE[:3000]
    assert append(store, block, NOISE[4000:7000]) == 0
    assert queue(store, block) == [2]
    assert read(store, block, 5000) == NOISE[3000:7000]
    assert read(store, others, 63 * 4096) == NOISE[: 63 * 4096]


def test_of_a_message_what_was_taken_from_it_does_not_count(store):
    block = control_block(SEQPACKET)
    assert append(store, block, NOISE[:5000], EOM) == 0
    store.lend(queue(store, block)[0], 100)
    store.returned(queue(store, block)[0])
    assert store.message(block) == 4900
    assert read(store, block, 5000) == NOISE[100:5000]


def test_what_the_device_reads_of_the_least_window_stays_where_it_is():
    """Else what is unread moves to the beginning of its block, to make room."""
    memory.clear()
    store = store_module.Store(vsock_bench.DMABuffer, 2, CHUNK)
    assert store.promise(2)
    block = control_block(STREAM, 4096)
    block[w.PLEDGE] = 1
    assert append(store, block, NOISE[:3000]) == 0
    [seg] = queue(store, block)
    at = store.lend(seg, 1000)
    assert append(store, block, NOISE[3000:4500]) == 0
    assert bytes(memory.find(at, 1000)) == NOISE[:1000]
    assert queue(store, block)[0] == seg
    store.returned(seg)
    assert read(store, block, 4096) == NOISE[1000:4500]
