"""All control connections that a helper follows, bounded in number. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from nftrtsp.rtsp.action import Action, CloseWay
from nftrtsp.rtsp.dialogue import Dialogue
from nftrtsp.rtsp.note import note
from nftrtsp.rtsp.packet import ACK, SYN, Packet
from nftrtsp.rtsp.policy import Policy
from nftrtsp.rtsp.ways import Connection, Ways

_Key = tuple[bytes, int, bytes, int]
_FORGET_CLOSED = 120.0  # seconds; until then its last segments must not be taken for a new connection


class Dialogues:
    """The control connections by their addresses and ports.

    ``ports`` are the RTSP ports: who sends to one is the set-top box. ``capacity``: how many connections are
    kept; beyond it the one that was silent longest and holds no way goes.
    """

    def __init__(self, policy: Policy, ways: Ways, ports: tuple[int, ...], *, capacity: int = 8192) -> None:
        self.policy = policy
        self.ways = ways
        self.ports = frozenset(ports)
        self.capacity = capacity
        self.evicted = 0
        self._by_key: OrderedDict[_Key, Dialogue] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Dialogue]:
        return iter(list(self._by_key.values()))

    @property
    def lost(self) -> int:
        """Bytes of the connections followed now that were never seen."""
        return sum(dialogue.hearing.lost for dialogue in self._by_key.values())

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
        if packet.dport in self.ports:
            key = (packet.src, packet.sport, packet.dst, packet.dport)
        elif packet.sport in self.ports:
            key = (packet.dst, packet.dport, packet.src, packet.sport)
        else:
            return None, []
        actions: list[Action] = []
        dialogue = self._by_key.get(key)
        if dialogue is not None and dialogue.begins_anew(packet):
            actions += dialogue.close("replaced by a new one")
            del self._by_key[key]
            dialogue = None
        if dialogue is None:
            # Only a SYN or data begin one: the last ACK of a connection that we forgot does not.
            if not packet.length and (packet.flags & (SYN | ACK)) != SYN:
                return None, []
            dialogue = self._begin(Connection(*key), now, rewrite_destination, actions)
        else:
            self._by_key.move_to_end(key)
        actions += dialogue.receive(packet, now)
        return dialogue, actions

    def begin(self, connection: Connection, now: float) -> tuple[Dialogue, list[Action]]:
        """Follow a connection that was open before we looked, as conntrack tells."""
        actions: list[Action] = []
        dialogue = self.find(connection) or self._begin(connection, now, None, actions)
        return dialogue, actions

    def close(self, connection: Connection, reason: str) -> list[Action]:
        """End a connection that has gone without our seeing it, as conntrack tells."""
        dialogue = self.find(connection)
        return dialogue.close(reason) if dialogue else []

    def sweep(self, now: float) -> list[Action]:
        """Close the ways whose session has expired, forget connections that have long been closed."""
        actions: list[Action] = []
        for way in self.ways:
            ends = way.ends(self.policy.pause)
            if ends is not None and ends <= now:
                master = way.master
                self.ways.drop(way)
                said = note("way-closed", master, port=way.port, reason="the session has expired")
                actions.append(CloseWay(way, False, said))
        for key, dialogue in list(self._by_key.items()):
            dialogue.prune()
            if dialogue.closed and now - dialogue.last > _FORGET_CLOSED:
                del self._by_key[key]
        return actions

    def _begin(
        self, connection: Connection, now: float, rewrite_destination: bytes | None, actions: list[Action]
    ) -> Dialogue:
        dialogue = Dialogue(connection, self.policy, self.ways, now, rewrite_destination=rewrite_destination)
        self._by_key[_key(connection)] = dialogue
        actions.append(note("connection-open", connection))
        if len(self._by_key) > self.capacity:
            self._make_room()
        return dialogue

    def _make_room(self) -> None:
        for key, dialogue in self._by_key.items():
            if not dialogue.claims:
                del self._by_key[key]
                self.evicted += 1
                return


def _key(connection: Connection) -> _Key:
    return (connection.client, connection.client_port, connection.server, connection.server_port)
