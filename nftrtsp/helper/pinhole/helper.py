"""The pinhole helper: reads copies of RTSP over NFLOG and fills a timed map that the ruleset sends media by.

It is not in the path: the SETUP goes on while the map's element is made, some 0.1 ms later; the film comes
only after the server's answer. What it knows of each way (who asked, which session) is written beside the
element as its comment, so a helper that starts anew takes over what its forerunner opened.

Copies are read off at once and wait for the turn of their box (:mod:`nftrtsp.helper.fair_queue`). A
connection is believed only when conntrack knows it as established in both directions.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections import OrderedDict
from collections.abc import Iterable
from socket import inet_ntoa

import msgspec

from nftrtsp import figures
from nftrtsp.config import Config
from nftrtsp.conntrack.record import OpenPortRecord
from nftrtsp.conntrack.role import Roles
from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.errors import KernelError, NftrtspError
from nftrtsp.helper import adoption
from nftrtsp.helper.action import Action, CloseWay, OpenWay, Rewrite
from nftrtsp.helper.adoption import Orphan
from nftrtsp.helper.conntrack_entries import ConntrackEntries, has_ended
from nftrtsp.helper.dialogue import Dialogue
from nftrtsp.helper.dialogues import Dialogues
from nftrtsp.helper.fair_queue import FairQueue
from nftrtsp.helper.note import Answered, Note, Overrun, WayClosed, WayOpen, note
from nftrtsp.helper.pinhole.comment import comment, read_comment
from nftrtsp.helper.pinhole.nflog import Nflog, asker, is_start
from nftrtsp.helper.pinhole.written_elements import WrittenElements
from nftrtsp.helper.port_policy import PortPolicy
from nftrtsp.helper.service import Service
from nftrtsp.helper.stale_flows import StaleFlows
from nftrtsp.helper.ways import Connection, Way, Ways, way_record
from nftrtsp.rtsp.packet import read_packet
from nftrtsp.ruleset.names import LOG_PREFIX, TABLE_NAME
from nftrtsp.ruleset.pinhole import Pinhole, PinholeMap, watch_table

KIND = "pinhole"
_SWEEP = 10.0  # seconds between looks at what has expired
_LOOKS = 10  # so many looks, one a second, reach all control connections
_ASKED = 50  # connections at most that conntrack is asked about in one look: some 2 ms
# Datagrams at most that are read off NFLOG before one is looked at: who asks stands behind what others sent.
_COPIES = 4096
_TURN = 0.004  # seconds of work before the loop looks at its descriptors and timers again
_SOON = 0.1  # seconds after which what need not be at once is written, together
_MET = 1024  # boxes at most that are remembered for having had a connection
_FORGET_EVERY, _FORGET_AT_ONCE = 0.5, 256  # seconds, connections: 1 ms of work at most
_NAMED = 3  # boxes at most that the log names for sending too much, in each sweep
_FORGOTTEN = 300.0  # seconds of silence after which a connection that conntrack does not know has ended
_NO_TABLE = f"there is no pinhole map in table inet {TABLE_NAME}; load the ruleset with `nftrtsp apply`"


class PinholeHelper:
    """The helper at work; :func:`run` is all that a command needs.

    ``service`` tells and logs. Raises what :class:`Nflog`, :class:`Conntrack` and :class:`PinholeMap` do.
    """

    def __init__(self, config: Config, service: Service) -> None:
        self.config = config
        self.service = service
        self.pause = int(config.rtsp.pause)
        self.roles = Roles(config)
        self.ways = Ways(KIND)
        self.dialogues = Dialogues(PortPolicy.of(config), self.ways, config.rtsp.ports, confirm=self.confirm)
        self.map = PinholeMap()
        self.elements = WrittenElements(self.map)
        self.conntrack = Conntrack()
        self.entries = ConntrackEntries(self.conntrack)
        self.watch = watch_table()
        self.log = Nflog(config.rtsp.log_group, LOG_PREFIX)
        self.stale_flows = StaleFlows(config)
        self._ports = frozenset(config.rtsp.ports)
        self._configured = frozenset(one.address.packed for one in config.stb)
        self._met: OrderedDict[bytes, bytes] = OrderedDict()  # boxes that conntrack vouched for
        self._fair_queue: FairQueue[bytes] = FairQueue(self._is_known)
        self._turn_due = False
        self._flush_due = False
        self._dropped: dict[bytes, int] = {}  # copies that were not read, by box
        self._faults: dict[str, str] = {}  # what went wrong with a packet, since the last sweep
        self._asked_about = 0  # of the dialogues that hold ways, those up to here were looked at
        self._missing = False

    def close(self) -> None:
        """Close the sockets. The elements stay: films go on, and the next helper takes them over."""
        for one in (self.log, self.watch, self.conntrack, self.map, self.stale_flows):
            one.close()

    # --- packets ---

    def packets(self) -> None:
        """Read what NFLOG has off, then do what the copies whose turn it is ask for."""
        overruns = self.log.overruns
        now = time.monotonic()
        for copy in self.log.receive(_COPIES):
            self.service.counters.packets += 1
            box = asker(copy, self._ports)
            if box is None or self._is_flood(box, copy, now):
                continue
            for whose, _ in self._fair_queue.put(box, len(copy), copy, now):
                if whose in self._dropped or len(self._dropped) < _MET:
                    self._dropped[whose] = self._dropped.get(whose, 0) + 1
        if self.log.overruns != overruns:
            self.service.tell(note(Overrun, reason="NFLOG"))
        self._take_turns()

    def _is_flood(self, box: bytes, copy: bytes, now: float) -> bool:
        """Whether a connection's beginning may be passed over: strangers have sent too many of them.

        It is picked up when it says something, and what it says then waits for the server's word. Not so for
        a box that is known: anybody can spend its bucket with SYNs in its name, and its film would come late.
        """
        return is_start(copy) and not self._is_known(box) and self._fair_queue.has_spent(box, now)

    def _is_known(self, box: bytes) -> bool:
        """Whether a box has a queue of its own; all others are strangers, and share."""
        return box in self._configured or box in self._met or bool(self.ways.of(box))

    def _take_turns(self) -> None:
        """Do what waits, for a few milliseconds: then the loop looks at its timers and descriptors."""
        self._turn_due = False
        now = time.monotonic()
        end = now + _TURN
        while now < end and (turn := self._fair_queue.take(now)) is not None:
            self._understand(turn[1], now)
            now = time.monotonic()
        if len(self._fair_queue) and not self._turn_due:
            self._turn_due = True
            self.service.after(0, self._take_turns)

    def _understand(self, copy: bytes, now: float) -> None:
        packet = read_packet(copy)
        if packet is None:
            return
        try:
            dialogue, actions = self.dialogues.receive(packet, now)
        except Exception as error:  # a fault of ours must not let one packet end all films
            self._faults[type(error).__name__] = str(error)
            return
        if actions:
            self.perform(dialogue, actions)

    def perform(self, dialogue: Dialogue | None, actions: list[Action]) -> None:
        """Carry out what a dialogue asks for."""
        answered = False
        closed = self._close_early(actions)
        for action in actions:
            if isinstance(action, OpenWay):
                self._open(dialogue, action)
            elif isinstance(action, CloseWay):
                if action.way.port not in closed:
                    self._close([action.way.port])
                if action.cut:
                    self.stale_flows.cut(action.way)
                self._tell(action.note, action.way)
            elif isinstance(action, Note):
                self.service.tell(action)
                answered = answered or isinstance(action, Answered)
            elif isinstance(action, Rewrite):  # not asked for by our policy: a copy cannot be rewritten
                continue
        if answered and dialogue is not None:
            self._remember_sessions(dialogue)

    def _close_early(self, actions: list[Action]) -> set[int]:
        """Close, in one transaction, what is closed before it is opened again; return the ports."""
        opened: set[int] = set()
        closed: set[int] = set()
        for action in actions:
            if isinstance(action, OpenWay):
                opened.add(action.way.port)
            elif isinstance(action, CloseWay) and action.way.port not in opened:
                closed.add(action.way.port)
        self._close(closed)
        return closed

    def _close(self, ports: Iterable[int]) -> None:
        with contextlib.suppress(NftrtspError):  # a map that has gone has no elements
            self.elements.close(ports, time.monotonic())

    def _open(self, dialogue: Dialogue | None, action: OpenWay) -> None:
        way = action.way
        if self.ways.at(way.port) is not way:  # refused by the kernel a moment ago, or closed again
            return
        try:
            self.elements.open(self._pinhole(way), time.monotonic())
        except NftrtspError as error:
            if dialogue is not None:
                self.service.tell(dialogue.failed(way, str(error)))
            return
        if action.new:
            way.router = self._router_address(way)
            self.stale_flows.opened(way)
            self._tell(action.note, way)
        else:
            self._flush_soon()

    def _tell(self, what: WayOpen | WayClosed, way: Way) -> None:
        self.service.tell(msgspec.structs.replace(what, way=self.record(way)))

    def _remember_sessions(self, dialogue: Dialogue) -> None:
        """Have the sessions that an answer named written beside their elements, for the next helper."""
        for claim in dialogue.claims:
            if claim.session is not None and not claim.noted:
                claim.noted = True
                for way in self.ways.of_claim(claim):
                    self.elements.write_again(way.port)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self.elements.due and not self._flush_due:
            self._flush_due = True
            self.service.after(_SOON, self._flush)

    def _flush(self) -> None:
        """Write again, in one transaction, what may wait: nobody's SETUP waits for it."""
        self._flush_due = False
        ways = [way for port in self.elements.take_due() if (way := self.ways.at(port)) is not None]
        try:
            self.elements.flush([self._pinhole(way) for way in ways], time.monotonic())
        except NftrtspError:
            self.reconcile()
        self._flush_soon()

    # --- records ---

    def record(self, way: Way) -> OpenPortRecord:
        """Return ``way`` as lists and events show it."""
        return way_record(way, KIND, self.elements.left(way.port, time.monotonic()), self.roles)

    def records(self) -> list[OpenPortRecord]:
        """Return all ways open, as lists and events show them."""
        return [self.record(way) for way in self.ways]

    def _pinhole(self, way: Way) -> Pinhole:
        return Pinhole(way.port, way.stb, way.stb_port, timeout=self._lifetime(way), comment=comment(way))

    def _lifetime(self, way: Way) -> float:
        """The element's own time: long enough to outlast a helper that is gone for a while."""
        return way.lifetime(self.pause)

    # --- conntrack ---

    def learn_owners(self) -> None:
        """Learn from conntrack where media went before this helper ran."""
        try:
            self.stale_flows.learn()
        except NftrtspError as error:
            self.service.warn(f"conntrack cannot be listed: {error}")

    def confirm(self, connection: Connection) -> bool:
        """Whether conntrack knows a connection as one that both ends take part in; only then it may ask."""
        flow = self.entries.established(connection)
        if flow is None:
            return False
        self._met[connection.client] = flow.reply.dst
        self._met.move_to_end(connection.client)
        if len(self._met) > _MET:
            self._met.popitem(last=False)
        return True

    def _router_address(self, way: Way) -> bytes:
        """Return the address the server sees: media comes to it. It is what conntrack translates to."""
        flow = self.entries.flow(way.master)
        return flow.reply.dst if flow is not None and len(flow.reply.dst) == 4 else bytes(4)

    # --- what time and others do ---

    def sweep(self) -> None:
        """Close what has expired; let the elements of what lives begin their time anew."""
        now = time.monotonic()
        self.perform(None, self.dialogues.expire(now))
        if self._missing:
            self.reconcile()
        for way in self.ways:
            if self.elements.is_old(self._pinhole(way), now):
                self.elements.write_again(way.port)
        self._flush_soon()
        self._say_dropped()
        for fault, text in self._faults.items():
            self.service.warn(f"a packet was passed over, which is a fault of this program: {fault}: {text}")
        self._faults.clear()
        self.service.status(self.ways.summary())
        self.service.counters.lost = self.dialogues.lost
        if self.stale_flows.error is not None:
            self.service.warn(f"conntrack entries in the way could not be deleted: {self.stale_flows.error}")
            self.stale_flows.error = None

    def forget(self) -> None:
        """Forget connections that have ended, some at a time."""
        self.dialogues.forget(time.monotonic(), _FORGET_AT_ONCE)

    def _say_dropped(self) -> None:
        dropped, self._dropped = self._dropped, {}
        for box, copies in sorted(dropped.items(), key=lambda one: -one[1])[:_NAMED]:
            reason = f"{inet_ntoa(box)} sends more than its share, {copies} copies of it were left out"
            self.service.tell(note(Overrun, reason=reason))

    def look(self) -> None:
        """Ask conntrack about some of the connections that hold ways: have they ended unseen?

        A few at a time, each one look-up; a listing would walk through the whole table.
        """
        holding = [one for one in self.dialogues if one.claims and not one.closed]
        first = self._asked_about if self._asked_about < len(holding) else 0
        self._asked_about = first + 1 + min(_ASKED, len(holding) // _LOOKS)
        now = time.monotonic()
        for dialogue in holding[first : self._asked_about]:
            flow = self.entries.flow(dialogue.connection)
            # What conntrack was made to forget may live on: its next packet brings it back.
            silent = now - dialogue.last > _FORGOTTEN
            if silent if flow is None else has_ended(flow):
                self.perform(dialogue, self.dialogues.close(dialogue, "gone, says conntrack"))

    def table_changed(self) -> None:
        """Put the pinholes back when the ruleset was replaced under them."""
        if self.watch.changed():
            self.reconcile()

    def reconcile(self) -> None:
        """See that each way has its element."""
        now = time.monotonic()
        try:
            there = self.elements.learn(self.map.dump(), now)
        except NftrtspError as error:
            self._say_missing(error)
            return
        if self._missing:
            self._missing = False
            self.learn_owners()  # without our ruleset media may have made entries that lead nowhere
            self.service.say("the pinhole map is there now")
        back = 0
        for way in self.ways:
            if way.port in there:
                continue
            with contextlib.suppress(NftrtspError):
                self.elements.open(self._pinhole(way), now)
                back += 1
        if back:
            self.service.say(f"{figures.counted(back, 'port')} put back after the ruleset was replaced")

    def _say_missing(self, error: NftrtspError) -> None:
        if not isinstance(error, KernelError) or error.errno != errno.ENOENT:
            self.service.warn(f"the pinhole map cannot be listed: {error}")
        elif not self._missing:
            self._missing = True
            self.service.warn(_NO_TABLE)
            self.service.status(_NO_TABLE)

    # --- taking over ---

    def adopt(self) -> None:
        """Take over the elements of an earlier helper whose control connection lives; remove the others.

        Elements that no helper of ours wrote are left alone.
        """
        try:
            there = self.map.dump()
        except NftrtspError as error:
            self._say_missing(error)
            return
        groups: dict[Orphan, dict[int, Pinhole]] = {}
        for one in there:
            known = read_comment(one.comment)
            if known is not None and known.connection.client == one.stb:
                groups.setdefault(known, {})[one.port] = one
        now = time.monotonic()
        taken, gone, refused = 0, list[int](), list[int]()
        for known, pinholes in groups.items():
            ports = {port: one.stb_port for port, one in pinholes.items()}
            if not self.confirm(known.connection):
                gone += ports
            elif refusal := adoption.refuse(self.dialogues.policy, self.ways, known.connection, ports, now):
                if not refused:
                    self.service.warn(f"not taken over from an earlier helper: {refusal.reason}")
                refused += ports
            else:
                taken += self._take_over(known, pinholes, ports, now)
        for port in (*gone, *refused):
            self.map.remove(port)
        if taken or gone:
            closed = (
                f", closed {figures.counted(len(gone), 'port')} whose connection had ended" if gone else ""
            )
            self.service.say(f"took over {figures.counted(taken, 'port')} of an earlier helper{closed}")

    def _take_over(
        self, known: Orphan, pinholes: dict[int, Pinhole], ports: dict[int, int], now: float
    ) -> int:
        dialogue, actions = self.dialogues.begin(known.connection, now)
        self.perform(dialogue, actions)
        ways = dialogue.adopt(ports, now, session=known.session, timeout=known.timeout)
        for way in ways:
            way.router = self._met.get(known.connection.client, way.router)
            self.elements.adopt(pinholes[way.port], now)
            if self.elements.left(way.port, now) > self._lifetime(way):
                self.elements.write_again(way.port)  # it was to stay for longer than it may
        self._flush_soon()
        return len(ways)


def run(config: Config, why: str) -> None:
    """Run the pinhole helper in the foreground until SIGTERM or SIGINT.

    Raises :class:`BusyError`, :class:`PrivilegeError`, :class:`KernelError` when it cannot start.
    """
    helpers: list[PinholeHelper] = []
    with (
        Service(config, KIND, why, lambda: helpers[0].records() if helpers else []) as service,
        contextlib.closing(PinholeHelper(config, service)) as helper,
    ):
        helpers.append(helper)
        helper.learn_owners()
        helper.adopt()
        service.watch(helper.log, helper.packets)
        service.watch(helper.watch, helper.table_changed)
        service.every(min(_SWEEP, helper.pause / 4), helper.sweep)
        service.every(_FORGET_EVERY, helper.forget)
        service.every(1.0, helper.look)
        ports = ", ".join(str(port) for port in config.rtsp.ports)
        service.ready(f"pinhole: reads RTSP to port {ports} from NFLOG group {config.rtsp.log_group}; {why}")
        service.run()
        if helper.ways:
            ports = figures.counted(len(helper.ways), "port")
            service.say(f"stopped; {ports} left open for {config.rtsp.pause} at most")
