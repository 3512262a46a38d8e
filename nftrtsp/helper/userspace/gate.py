"""The gate that RTSP packets wait at: each goes on when what it asks for is open, rewritten where need be.

Packets in, verdicts out; conntrack's part is done by :class:`Expectations`. The dialogue decides, the gate
does it: the expectations are there before the packet that completes a SETUP goes on. A packet is held back
only while an unfinished message may still have to be rewritten, and not for long.
"""

from __future__ import annotations

import contextlib
import errno
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from nftrtsp.config import Config
from nftrtsp.conntrack.record import OpenPortRecord
from nftrtsp.conntrack.role import Roles
from nftrtsp.conntrack.tuple import IPPROTO_TCP, Tuple
from nftrtsp.errors import KernelError, MalformedError, NftrtspError
from nftrtsp.helper.action import Action, CloseWay, Rewrite
from nftrtsp.helper.dialogue import Dialogue
from nftrtsp.helper.dialogues import Dialogues
from nftrtsp.helper.note import Note, Overrun, WayOpen
from nftrtsp.helper.userspace import nfqueue
from nftrtsp.helper.userspace.expectations import Expectations
from nftrtsp.helper.userspace.held_packets import Direction, HeldPacket
from nftrtsp.helper.userspace.nfqueue import Queued
from nftrtsp.helper.ways import Connection, Way, Ways, way_record
from nftrtsp.rtsp import rewriting
from nftrtsp.rtsp.packet import ACK, SYN, Packet, read_packet
from nftrtsp.rtsp.stream import distance
from nftrtsp.rtsp.unfinished import has_transport, names_ports

#: Seconds that a packet of an unfinished message may wait. TCP sends a lost piece again after 200 ms or more
#: (RFC 6298 allows 1 s, Linux takes 0.2); a sender with Nagle's algorithm sends none before it had an answer.
LONGEST_WAIT = 0.3
_MOST_WAITING = 64  # packets of one direction
_MOST_ENTRIES = 8192
_MOST_MET = 1024  # boxes

Tell = Callable[[Note], None]


class GateEntry:
    """A connection at the gate, as conntrack knows it.

    ``master`` is its tuple in the original direction, ``router`` the packed address that its server sees.
    """

    __slots__ = ("connection", "master", "router", "sides")

    def __init__(self, orig: Tuple, reply: Tuple) -> None:
        self.sides = {False: Direction(), True: Direction()}  # by Queued.reply
        self.set_entry(orig, reply)

    def set_entry(self, orig: Tuple, reply: Tuple) -> None:
        """Take over what an entry of conntrack says, the first or one in its place."""
        self.master = orig
        self.router = reply.dst
        self.connection = Connection(orig.src, orig.sport or 0, orig.dst, orig.dport or 0)


class Gate:
    """All connections at the gate. ``tell`` is given every note, ``dialogues`` decides."""

    def __init__(self, config: Config, dialogues: Dialogues, expectations: Expectations, tell: Tell) -> None:
        self.queue = config.rtsp.queue
        self.rewrite_destination = config.rtsp.rewrite_destination
        self.roles = Roles(config)
        self.dialogues = dialogues
        self.expectations = expectations
        self.tell = tell
        self.rewritten = 0  # packets that went on changed
        self._now = 0.0
        self._met: OrderedDict[bytes, None] = OrderedDict()
        self._packet: Queued | None = None  # the one that is being read
        self._entries: OrderedDict[bytes, GateEntry] = OrderedDict()
        self._held: set[tuple[bytes, bool]] = set()
        self._later: list[tuple[GateEntry, Dialogue, Way, WayOpen | None]] = []
        self._evicted: list[bytes] = []  # verdicts on packets of connections that were forgotten

    @property
    def ways(self) -> Ways:
        """The ways that are open."""
        return self.dialogues.ways

    @property
    def waiting(self) -> int:
        """How many directions of connections have packets that wait."""
        return len(self._held)

    def receive(self, queued: Queued, now: float) -> list[bytes]:
        """Take one packet; return the verdicts that can be given now, on it or on those before it."""
        self._now = now
        packet = read_packet(queued.payload, queued.length)
        known = queued.confirmed and queued.key in self._entries
        entry = self._entry(queued) if packet is not None else None
        if packet is None or entry is None:
            return [self._accept(queued)]
        side = entry.sides[queued.reply]
        if known and self._is_idle(entry, side, packet, queued.reply):
            return [self._accept(queued)]
        if packet.flags & ACK and entry.sides[not queued.reply].overlay:
            entry.sides[not queued.reply].overlay.acknowledged(packet.ack)
        router = entry.router if self.rewrite_destination else None
        self._packet = queued
        dialogue, actions = self.dialogues.receive(
            _before_nat(packet, entry, queued.reply), now, rewrite_destination=router
        )
        self._packet = None
        if dialogue is not None and dialogue.claims and not known:
            self._reopen(entry, dialogue)
        if not side.waiting:
            if not packet.length and not actions:
                return [self._accept(queued)]
            side.since = now
        side.waiting.append(HeldPacket(queued, packet))
        verdicts: list[bytes] = []
        if actions:
            self._carry_out(entry, dialogue, actions)
        if dialogue is not None and dialogue.closed:
            verdicts += self._let_go(entry, queued, not queued.reply)
        elif dialogue is not None and dialogue.garbage and not dialogue.claims:
            return self._dismiss(entry, queued)
        elif dialogue is not None and self._may_change(dialogue, side, queued.reply, now):
            self._held.add((queued.key, queued.reply))
            return verdicts
        return verdicts + self._let_go(entry, queued, queued.reply)

    def confirm(self, connection: Connection) -> bool:
        """Whether conntrack knows a connection as one that both ends take part in; only then it may ask.

        The packet that is being read brings its entry along; where that says too little, conntrack is asked.
        """
        told = self._packet.is_established() if self._packet is not None else None
        if not (self.expectations.is_established(connection) if told is None else told):
            return False
        self._met[connection.client] = None
        self._met.move_to_end(connection.client)
        if len(self._met) > _MOST_MET:
            self._met.popitem(last=False)
        return True

    def has_met(self, box: bytes) -> bool:
        """Whether conntrack has vouched for a connection of the box with this packed address."""
        return box in self._met

    def _is_idle(self, entry: GateEntry, side: Direction, packet: Packet, reply: bool) -> bool:
        """Take a packet if it can go on at once, as it is, and asks for nothing; return whether it was taken.

        A short way with the same end as the long one: it is what a film inside the connection depends on.
        """
        if side.waiting or side.message is not None or side.overlay or entry.sides[not reply].overlay:
            return False
        if not self.dialogues.is_idle(entry.connection, packet, self._now, from_client=not reply):
            return False
        if packet.length:
            side.passed = (packet.seq + packet.length) % (1 << 32)
        return True

    def tick(self, now: float) -> list[bytes]:
        """Return the verdicts on packets that have waited for long enough."""
        self._now = now
        verdicts, self._evicted = self._evicted, []
        for key, reply in list(self._held):
            entry = self._entries[key]
            if now - entry.sides[reply].since >= LONGEST_WAIT:
                entry.sides[reply].late = True
                verdicts += self._release(entry, key, reply)
        return verdicts

    def perform(self, actions: list[Action], now: float) -> None:
        """Carry out what no packet asks for: sessions that expired, connections that ended unseen."""
        self._now = now
        self._carry_out(None, None, actions)

    def _reopen(self, entry: GateEntry, dialogue: Dialogue) -> None:
        """Open the ways of a connection anew: conntrack had forgotten it, and its expectations with it."""
        for claim in dialogue.claims:
            for way in self.ways.of_claim(claim):
                self._open(entry, dialogue, way, None)

    def rehome(self, way: Way) -> bool:
        """Let another control connection be the master of ``way``; return whether there is one."""
        for claim in reversed(way.claims):
            entry = next((one for one in self._entries.values() if one.connection == claim.connection), None)
            dialogue = self.dialogues.find(claim.connection)
            if entry is not None and dialogue is not None and not dialogue.closed:
                try:
                    self.expectations.open(way, entry.master, entry.router, self._now)
                except NftrtspError:
                    continue
                return True
        return False

    def _entry(self, queued: Queued) -> GateEntry | None:
        entry = self._entries.get(queued.key)
        if entry is not None or not queued.key:
            if entry is not None:
                self._entries.move_to_end(queued.key)
                if not queued.confirmed:
                    with contextlib.suppress(MalformedError):
                        entry.set_entry(*queued.tuples())
            return entry
        try:
            orig, back = queued.tuples()
        except MalformedError:
            return None
        if orig.proto != IPPROTO_TCP or len(orig.src) != 4:
            return None
        entry = GateEntry(orig, back)
        self._entries[queued.key] = entry
        if len(self._entries) > _MOST_ENTRIES:
            key, old = self._entries.popitem(last=False)
            for reply in (False, True):
                self._evicted += self._release(old, key, reply)
        return entry

    def _may_change(self, dialogue: Dialogue, side: Direction, reply: bool, now: float) -> bool:
        """Whether what waits is part of a message that may have to be rewritten once it is complete."""
        if not dialogue.conversation.incomplete(from_client=not reply) or dialogue.garbage:
            side.begin(None)
            return False
        sequence, text = dialogue.conversation.unfinished(from_client=not reply)
        if side.message != sequence:
            side.begin(sequence)
        if side.late or now - side.since >= LONGEST_WAIT or len(side.waiting) >= _MOST_WAITING:
            side.late = True
            return False
        stb = dialogue.connection.client
        mine = self.ways.of(stb)
        if reply:
            wanted = self.rewrite_destination or any(way.port != at for at, way in mine.items())
        else:
            wanted = self.rewrite_destination or len(self.ways) > len(mine)
        if not wanted:
            return False
        if side.has_hole():
            return True
        if not names_ports(text, from_client=not reply):
            return False
        if not has_transport(text):
            return True
        begun = dialogue.conversation.begun(from_client=not reply)
        if begun is not None:
            foreseen = dialogue.foresee(begun, now, from_client=not reply)
            side.patch([(one.sequence, one.old, one.new) for one in foreseen])
        side.late = True  # all is said that has to be rewritten: the rest need not wait
        return False

    def _carry_out(self, entry: GateEntry | None, dialogue: Dialogue | None, actions: list[Action]) -> None:
        rewrites: list[Rewrite] = []
        for action in actions:
            if isinstance(action, Note):
                self.tell(action)
            elif isinstance(action, Rewrite):
                rewrites.append(action)
            elif isinstance(action, CloseWay):
                record = self.record(action.way)
                self._close(action.way, cut=action.cut)
                self.tell(msgspec.structs.replace(action.note, way=record))
            elif entry is None or dialogue is None or self.ways.at(action.way.port) is not action.way:
                continue
            elif action.new or not self.expectations.is_fresh(action.way, entry.master, self._now):
                self._open(entry, dialogue, action.way, action.note)
        if entry is not None and dialogue is not None and dialogue.closed:
            for way in list(self.ways.of(entry.connection.client).values()):
                if self.expectations.is_mastered_by(way, entry.master):
                    self.rehome(way)
        if rewrites and entry is not None and dialogue is not None:
            for from_client in (True, False):
                mine = [one for one in rewrites if one.from_client is from_client]
                if mine:
                    self._rewrite(entry, dialogue, from_client, mine)

    def _open(
        self, entry: GateEntry, dialogue: Dialogue, way: Way, said: WayOpen | None, *, last: bool = False
    ) -> None:
        """Open ``way`` and say so with ``said``, or say why not."""
        try:
            self.expectations.open(way, entry.master, entry.router, self._now)
        except KernelError as error:
            if error.errno == errno.ENOENT and not last:
                # The connection begins with this very packet, for conntrack: it knows it once that went on.
                self._later.append((entry, dialogue, way, said))
                return
            self.tell(dialogue.failed(way, str(error)))
        except NftrtspError as error:
            self.tell(dialogue.failed(way, str(error)))
        else:
            if said is not None:
                self.tell(msgspec.structs.replace(said, way=self.record(way)))

    def settle(self) -> None:
        """Open what could not be opened before the verdicts were given; call it when they are."""
        later, self._later = self._later, []
        for entry, dialogue, way, said in later:
            if self.ways.at(way.port) is way:
                self._open(entry, dialogue, way, said, last=True)

    def record(self, way: Way) -> OpenPortRecord:
        """Return ``way`` as lists and events show it."""
        return way_record(way, self.ways.kind, self.expectations.left(way, self._now), self.roles)

    def _close(self, way: Way, *, cut: bool) -> None:
        try:
            self.expectations.close(way, cut=cut)
        except NftrtspError as error:
            self.tell(Overrun(reason=f"closing port {way.port}: {error}"))

    def _rewrite(
        self, entry: GateEntry, dialogue: Dialogue, from_client: bool, wanted: list[Rewrite]
    ) -> None:
        """Carry out what the dialogue asks for, as far as it has not been foreseen."""
        side = entry.sides[not from_client]
        for one, done in zip(
            wanted, side.patch([(one.sequence, one.old, one.new) for one in wanted]), strict=True
        ):
            if done:
                self.tell(one.note)
            else:
                self._give_up(dialogue, one)

    def _give_up(self, dialogue: Dialogue, late: Rewrite) -> None:
        """Close the way of a substitute port that the server will never hear of."""
        if not late.from_client or not late.new.isdigit():
            return
        way = self.ways.at(int(late.new))
        if way is not None and way.stb == dialogue.connection.client:
            self._close(way, cut=False)
            reason = f"port {late.old.decode()} is in use, and the request had gone on unchanged"
            self.tell(dialogue.failed(way, reason))

    def _release(self, entry: GateEntry, key: bytes, reply: bool) -> list[bytes]:
        self._held.discard((key, reply))
        side = entry.sides[reply]
        verdicts = [self._verdict(one, side) for one in side.waiting]
        side.waiting.clear()
        return verdicts

    def _let_go(self, entry: GateEntry, queued: Queued, reply: bool) -> list[bytes]:
        return self._release(entry, queued.key, reply)

    def _dismiss(self, entry: GateEntry, queued: Queued) -> list[bytes]:
        """Let a connection that is no RTSP go for good: without its helper it no longer comes here."""
        entry.sides[queued.reply].waiting.pop()
        verdicts = [one for reply in (False, True) for one in self._let_go(entry, queued, reply)]
        self._entries.pop(queued.key, None)
        last = nfqueue.encode_verdict(self.queue, queued.id, ct=nfqueue.CT_WITHOUT_HELPER)
        return [*verdicts, last]

    def _verdict(self, waiting: HeldPacket, side: Direction) -> bytes:
        queued, packet = waiting.queued, waiting.packet
        if packet.flags & SYN:
            side.passed = (packet.seq + 1) % (1 << 32)
        if not packet.length:
            return self._accept(queued)
        end = (packet.seq + packet.length) % (1 << 32)
        if side.passed is None or distance(end, side.passed) > 0:
            side.passed = end
        changed = None
        if side.overlay and packet.length == len(packet.data):
            changed = side.overlay.apply(packet.seq, packet.data)
        if changed is None or changed == packet.data:
            return self._accept(queued)
        self.rewritten += 1
        payload = rewriting.replace_payload(queued.payload, packet.start, changed)
        return nfqueue.encode_verdict(self.queue, queued.id, payload=payload)

    def _accept(self, queued: Queued) -> bytes:
        return nfqueue.encode_verdict(self.queue, queued.id)


def _before_nat(packet: Packet, entry: GateEntry, reply: bool) -> Packet:
    """Return the packet as it is on the set-top box's side; it comes to the queue after source NAT."""
    one = entry.connection
    if reply:
        ends = (one.server, one.client, one.server_port, one.client_port)
    else:
        ends = (one.client, one.server, one.client_port, one.server_port)
    return Packet(*ends, packet.seq, packet.ack, packet.flags, packet.data, packet.length, packet.start)
