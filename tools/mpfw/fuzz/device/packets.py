# SPDX-License-Identifier: MIT
"""Packets of any kind, in chains of any shape, among connections that live."""

from mpfw.device.firmware import virtio as v
from mpfw.device.firmware import vsock as w
from mpfw.device.wire import FROM_GUEST, TX
from mpfw.fuzz.device.guest import BUFFER, ENTRIES, address, header
from mpfw.fuzz.device.world import CALLED, CALLING, LIAR, MESSAGES, POLITE, SIBLING, World

_CIDS = (0, 1, w.CID_HOST, LIAR, POLITE, SIBLING, 99, w.CID_ANY, 1 << 32 | 2, (1 << 64) - 1)
_OPS = (*range(9), 0xFFFF)
_TYPES = (0, w.TYPE_STREAM, w.TYPE_SEQPACKET, w.TYPE_DGRAM, 4, 0xFFFF)
_COUNTS = (0, 1, 1000, 1 << 16, 1 << 31, (1 << 32) - 1)
_LENGTHS = (0, 1, 43, 44, 65536, 65537, (1 << 31), (1 << 32) - 1)
_SIZES = (0, 0, 1, 64, 1000, 4000)
_KNOWN = 40  # connections that are remembered
_HARMLESS = (w.OP_CREDIT_UPDATE,) * 30  # or no connection lives for long
_DEAF = 1200  # more packets than a device keeps answers for


class Packets:
    """Most of the packets are such as a guest sends; in others some fields lie."""

    def __init__(self, world: World):
        self.world = world
        self.random = world.random
        self._known: list[tuple[int, int, int]] = []  # our port, the host's, type
        self._forwarded = 0
        self._deaf = 0  # inputs until it reads again what the device sends

    def step(self) -> None:
        if self._deaf:
            self._deaf -= 1
        else:
            self._hear()
            if self.random.random() < 0.001:
                self._deaf = _DEAF
        if self.random.random() < 0.3:
            self.world.programs_act()
        data = bytes(self.random.choice(_SIZES))
        self._lay(header(self._fields(len(data))) + data)
        self.world.turn()
        if self.random.random() < 0.3:
            self.world.sibling.receive()
        self.world.revive()

    def close(self) -> None:
        self.world.liar.wire.tap = None

    def _hear(self) -> None:
        """Learn which connections there are; answer those who call."""
        for fields, data in self.world.liar.receive():
            _, _, port, ours, _, kind, op, *_ = fields
            self._forwarded += len(data)
            if op in (w.OP_REQUEST, w.OP_RESPONSE) and (ours, port, kind) not in self._known:
                self._known.append((ours, port, kind))
                del self._known[:-_KNOWN]
            if op == w.OP_RST and (ours, port, kind) in self._known:
                self._known.remove((ours, port, kind))
            if op == w.OP_REQUEST and self.random.random() < 0.9:
                answer = {"op": w.OP_RESPONSE, "type": kind, "src_port": ours, "dst_port": port}
                self.world.liar.send(b"", **answer)
                self.world.turn()

    def _fields(self, n: int) -> dict[str, int]:
        choice = self.random.choice
        fields = {"src_cid": LIAR, "dst_cid": w.CID_HOST, "buf_alloc": 1 << 18, "len": n}
        fields["fwd_cnt"] = self._forwarded
        if self._known and self.random.random() < 0.7:
            fields["src_port"], fields["dst_port"], fields["type"] = choice(
                self._known[choice((0, -3)) :]
            )
            fields["op"] = w.OP_RW if n else choice((*_OPS, *_HARMLESS))
        else:
            port, kind = choice(((CALLED, w.TYPE_STREAM), (MESSAGES, w.TYPE_SEQPACKET), (7, 1)))
            fields |= {"dst_port": port, "type": kind, "op": w.OP_REQUEST}
            fields["src_port"] = choice((CALLING, self.random.randrange(1 << 16)))
        if fields["op"] == w.OP_SHUTDOWN:
            fields["flags"] = choice((0, 1, 2, 3, 0xFFFFFFFF))
        lies = {
            "src_cid": _CIDS, "dst_cid": _CIDS, "op": _OPS, "type": _TYPES, "len": _LENGTHS,
            "flags": (0, 1, 2, 3, 4, 0xFFFFFFFF), "buf_alloc": _COUNTS, "fwd_cnt": _COUNTS,
            "src_port": (0, 1, w.PORT_ANY), "dst_port": (0, 1, w.PORT_ANY),
        }  # fmt: skip
        for _ in range(choice((0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 5))):
            name = choice(list(lies))
            fields[name] = choice(lies[name])
        return fields

    def _lay(self, whole: bytes) -> None:
        """Offer the bytes in one descriptor, or in several, cut anywhere."""
        liar, pieces = self.world.liar, self.random.choice((1, 1, 1, 2, 2, 3, 5))
        first = liar.posted[TX] % ENTRIES
        at = liar.offset(TX, first)
        liar.view[at : at + len(whole)] = whole
        if pieces == 2 and self.random.random() < 0.7:
            cuts = [44]  # as Linux does
        else:
            cuts = sorted(self.random.randrange(len(whole) + 1) for _ in range(pieces - 1))
        ends = [0, *cuts, len(whole)]
        for number, (begin, end) in enumerate(zip(ends, ends[1:], strict=False)):
            flags = v.DESC_F_NEXT if number < pieces - 1 else 0
            if self.random.random() < 0.01:
                flags |= v.DESC_F_WRITE
            here = (first + number) % ENTRIES
            liar.describe(TX, here, address(at + begin), end - begin, flags, (here + 1) % ENTRIES)
        liar.offer(TX, first)
        liar.kick(TX)


class Changing(Packets):
    """Once the device has copied a header, the guest writes another one there, other data, other
    descriptors and other indices."""

    def __init__(self, world: World):
        super().__init__(world)
        world.liar.wire.tap = self._change

    def _change(self, direction: int, _header: memoryview, _data: list[memoryview]) -> None:
        liar, chance = self.world.liar, self.random
        at = liar.offset(TX, chance.randrange(ENTRIES))
        liar.view[at : at + 64] = chance.randbytes(64)
        if direction == FROM_GUEST:
            current = liar.offset(TX, (liar.posted[TX] - 1) % ENTRIES)
            liar.view[current : current + 44] = chance.randbytes(44)
        number = chance.randrange(ENTRIES)
        liar.describe(TX, number, address(at), chance.randrange(BUFFER), chance.randrange(2))
