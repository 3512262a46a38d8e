"""All control connections that a helper follows, bounded in number and in memory. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from nftrtsp.helper.action import Action, CloseWay
from nftrtsp.helper.confirmation import Confirm, Confirmation
from nftrtsp.helper.dialogue import Dialogue
from nftrtsp.helper.memory_shares import MemoryShares
from nftrtsp.helper.note import ConnectionOpen, Overrun, WayClosed, note
from nftrtsp.helper.port_policy import PortPolicy
from nftrtsp.helper.port_reuse import is_first
from nftrtsp.helper.ways import Connection, Way, Ways
from nftrtsp.rtsp.packet import SYN, Packet

_Key = tuple[bytes, int, bytes, int]
_FORGET_CLOSED = 120.0  # seconds; until then its last segments must not be taken for a new connection
_FORGET_SILENT = 60.0  # seconds of a dialogue without a way that is half, or keeps something unfinished
#: Bytes that all dialogues together may keep of what is unfinished.
BUDGET = 16 << 20


class Dialogues:
    """The control connections by their addresses and ports.

    ``ports`` are the RTSP ports: who sends to one is the set-top box. ``confirm`` says if conntrack knows
    a connection as an established one: traffic went both ways, TCP is established and does not close. It is
    asked before a connection is picked up in the middle, and before the first way of each opens; None:
    whoever shows us packets vouches for them. ``capacity``: how many connections are kept, of one set-top box
    a quarter; beyond it those go that hold no way and were silent longest, of the box that has most.
    ``budget``: bytes that all may keep of what is unfinished; beyond it whoever keeps most loses it.
    """

    def __init__(
        self,
        policy: PortPolicy,
        ways: Ways,
        ports: tuple[int, ...],
        *,
        confirm: Confirm | None = None,
        capacity: int = 4096,
        budget: int = BUDGET,
    ) -> None:
        self.policy = policy
        self.ways = ways
        self.ports = frozenset(ports)
        self.capacity = capacity
        self.per_box = max(1, capacity // 4)
        self.budget = budget
        self.evicted = 0
        self._confirmation = Confirmation(confirm)
        self._by_key: OrderedDict[_Key, Dialogue] = OrderedDict()
        self._shares = MemoryShares()
        self._to_look_at: list[_Key] = []  # the rest of a round of :meth:`forget`
        self._lost = self._lost_so_far = 0
        self._clashes: frozenset[int] = frozenset()  # ports of ways that the router used at the last sweep

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Dialogue]:
        return iter(list(self._by_key.values()))

    @property
    def lost(self) -> int:
        """Bytes of the connections followed that were never seen, as of the last round of :meth:`forget`."""
        return self._lost

    @property
    def held(self) -> int:
        """Bytes that all dialogues keep of what is unfinished."""
        return self._shares.held

    def find(self, connection: Connection) -> Dialogue | None:
        """Return the dialogue of ``connection``."""
        return self._by_key.get(_key(connection))

    def is_idle(self, connection: Connection, packet: Packet, now: float, *, from_client: bool) -> bool:
        """Take a segment of ``connection`` if nothing can come of it (:meth:`Dialogue.is_idle`)."""
        key = _key(connection)
        dialogue = self._by_key.get(key)
        if dialogue is None or not dialogue.is_idle(packet, now, from_client=from_client):
            return False
        self._by_key.move_to_end(key)
        return True

    def receive(
        self, packet: Packet, now: float, *, rewrite_destination: bytes | None = None
    ) -> tuple[Dialogue | None, list[Action]]:
        """Take a segment of any connection; return its dialogue, if it has one, and what is to be done."""
        from_client = packet.dport in self.ports
        if from_client:
            key = (packet.src, packet.sport, packet.dst, packet.dport)
        elif packet.sport in self.ports:
            key = (packet.dst, packet.dport, packet.src, packet.sport)
        else:
            return None, []
        actions: list[Action] = []
        dialogue = self._by_key.get(key)
        if dialogue is None or (dialogue.closed and from_client and is_first(packet)):
            confirmed = self._may_begin(Connection(*key), packet, now, from_client=from_client)
            if confirmed is None:
                return None, []
            if dialogue is not None:
                self._forget(key, dialogue)
            dialogue = self._begin(Connection(*key), now, rewrite_destination, actions, confirmed=confirmed)
        elif from_client and is_first(packet) and not dialogue.begins(packet):
            dialogue.port_reuse.wait(packet)
            return dialogue, []
        elif not from_client and (number := dialogue.port_reuse.answered(packet)) is not None:
            actions += dialogue.close("replaced by a new one")
            self._forget(key, dialogue)
            dialogue = self._begin(Connection(*key), now, rewrite_destination, actions)
            actions += dialogue.receive(Packet(*_ends(key), number, 0, SYN, b"", 0, packet.start), now)
        else:
            self._by_key.move_to_end(key)
        actions += dialogue.receive(packet, now)
        self._shares.account(dialogue)
        if self._shares.held > self.budget:
            actions += self._trim()
        return dialogue, actions

    def _may_begin(
        self, connection: Connection, packet: Packet, now: float, *, from_client: bool
    ) -> bool | None:
        """Return None where ``packet`` begins no dialogue, else whether conntrack vouched for it.

        Only the set-top box's SYN or data begin one: the last ACK of a connection that we forgot does not.
        """
        if is_first(packet):
            return False if from_client else None
        if not packet.length:
            return None
        return self._confirmation.ask(connection, now) or None

    def begin(self, connection: Connection, now: float) -> tuple[Dialogue, list[Action]]:
        """Follow a connection that was open before we looked, as conntrack tells."""
        actions: list[Action] = []
        dialogue = self.find(connection) or self._begin(connection, now, None, actions)
        return dialogue, actions

    def close(self, dialogue: Dialogue, reason: str) -> list[Action]:
        """End a connection that has gone without our seeing it, as conntrack tells."""
        actions = dialogue.close(reason)
        self._shares.account(dialogue)
        return actions

    def sweep(self, now: float) -> list[Action]:
        """Close the ways that have expired or whose port the router uses; forget dialogues that ended."""
        actions = self.expire(now)
        self.forget(now)  # after that: what held the ways that have expired goes with them
        return actions

    def expire(self, now: float) -> list[Action]:
        """Close the ways that have expired or whose port the router uses."""
        actions: list[Action] = [
            self._close(way, "the session has expired", cut=False)
            for way in self.ways
            if way.ends(self.policy.pause) <= now
        ]
        return actions + self._leave_to_router()

    def forget(self, now: float, most: int | None = None) -> None:
        """Forget dialogues that ended; look at ``most`` of them in this turn (None: at all).

        A look takes some 4 us, so all 4,096 that there may be would hold up a set-top box for 20 ms.
        """
        if most is None or not self._to_look_at:
            self._to_look_at = list(self._by_key)
            self._lost_so_far = 0
        first = 0 if most is None else max(0, len(self._to_look_at) - most)
        turn, self._to_look_at = self._to_look_at[first:], self._to_look_at[:first]
        for key in turn:
            dialogue = self._by_key.get(key)
            if dialogue is None:
                continue
            self._lost_so_far += dialogue.conversation.lost
            dialogue.claims.prune()
            self._shares.account(dialogue)  # what :meth:`is_idle` took may have freed some
            silent = now - dialogue.last
            if dialogue.closed:
                over = silent > _FORGET_CLOSED
            else:
                idle = not dialogue.claims and (dialogue.accounted or dialogue.is_half)
                over = bool(idle) and silent > _FORGET_SILENT
            if over:
                self._forget(key, dialogue)
        if not self._to_look_at:
            self._lost = self._lost_so_far

    def _leave_to_router(self) -> list[Action]:
        """Close the ways on ports that the router began to use.

        Only those that it used at the last sweep as well: a resolver uses any port for the moment of a query,
        whose answer a way does not take, for its flow is known.
        """
        used = self.policy.router_ports()
        clashes = [way for way in self.ways if way.port in used] if used else []
        before, self._clashes = self._clashes, frozenset(way.port for way in clashes)
        return [
            self._close(way, f"port {way.port} is in use by the router itself", cut=True)
            for way in clashes
            if way.port in before
        ]

    def _close(self, way: Way, reason: str, *, cut: bool) -> CloseWay:
        self.ways.drop(way)
        return CloseWay(way, cut, note(WayClosed, way.master, port=way.port, reason=reason))

    def _begin(
        self,
        connection: Connection,
        now: float,
        rewrite_destination: bytes | None,
        actions: list[Action],
        *,
        confirmed: bool = False,
    ) -> Dialogue:
        dialogue = Dialogue(
            connection,
            self.policy,
            self.ways,
            now,
            rewrite_destination=rewrite_destination,
            confirm=self._confirmation.confirm,
            confirmed=confirmed,
        )
        self._make_room(connection.client)
        self._by_key[_key(connection)] = dialogue
        self._shares.add(dialogue)
        actions.append(note(ConnectionOpen, connection))
        return dialogue

    def _forget(self, key: _Key, dialogue: Dialogue) -> None:
        del self._by_key[key]
        self._shares.remove(dialogue)

    def _make_room(self, client: bytes) -> None:
        """Let one more dialogue of ``client`` fit in: an eighth goes at once, so that it is done seldom."""
        if self._shares.count(client) >= self.per_box:
            self._evict(self._shares.of(client), max(1, self.per_box // 8))
        if len(self._by_key) < self.capacity:
            return
        crowd = self._shares.crowd()
        if crowd is not None:
            self._evict(crowd, len(crowd) // 8)
        else:
            self._evict(self._by_key.values(), max(1, self.capacity // 8))

    def _evict(self, candidates: Iterable[Dialogue], count: int) -> None:
        wayless = []
        for dialogue in candidates:
            dialogue.claims.prune()
            if not dialogue.claims:
                wayless.append(dialogue)
            if len(wayless) == count:
                break
        for dialogue in wayless:
            self._forget(_key(dialogue.connection), dialogue)
        self.evicted += len(wayless)

    def _trim(self) -> list[Overrun]:
        """Let go of what those keep who keep most, a sixteenth more than needed: so it is done seldom."""
        return [
            note(
                Overrun,
                dialogue.connection,
                reason=f"unfinished messages took too much memory: {freed >> 10} KiB of it let go",
            )
            for dialogue, freed in self._shares.trim(self.budget - self.budget // 16)
        ]


def _key(connection: Connection) -> _Key:
    return (connection.client, connection.client_port, connection.server, connection.server_port)


def _ends(key: _Key) -> tuple[bytes, bytes, int, int]:
    """Return source, destination and their ports of what the set-top box sends."""
    return (key[0], key[2], key[1], key[3])
