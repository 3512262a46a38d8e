"""The pinhole helper: reads copies of RTSP over NFLOG and fills a timed map that the ruleset sends media by.

It is not in the path: the SETUP goes on while the map's element is made, some 0.1 ms later; the film comes
only after the server's answer. What it knows of each way (who asked, which session) is written beside the
element as its comment, so a helper that starts anew takes over what its forerunner opened.
"""

from __future__ import annotations

import contextlib
import errno
import re
import time
from ipaddress import IPv4Address
from typing import Any

import msgspec

from nftrtsp.config import Config
from nftrtsp.conntrack.flow import IPPROTO_TCP, Flow, Tuple
from nftrtsp.conntrack.role import Roles
from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.errors import KernelError, NftrtspError
from nftrtsp.rtsp.action import Action, CloseWay, OpenWay, Rewrite
from nftrtsp.rtsp.dialogue import Dialogue
from nftrtsp.rtsp.dialogues import Dialogues
from nftrtsp.rtsp.nflog import Nflog
from nftrtsp.rtsp.note import Note, note
from nftrtsp.rtsp.packet import read_packet
from nftrtsp.rtsp.pinholemap import Pinhole, PinholeMap, TableWatch
from nftrtsp.rtsp.policy import Policy
from nftrtsp.rtsp.service import Service
from nftrtsp.rtsp.tidier import Tidier
from nftrtsp.rtsp.ways import Claim, Connection, Way, Ways, counted, way_record
from nftrtsp.ruleset.names import LOG_PREFIX, TABLE_NAME

KIND = "pinhole"
_SWEEP = 10.0  # seconds between looks at what has expired
_LOOKS = 10  # so many looks, one a second, reach all control connections
_FORGOTTEN = 300.0  # seconds of silence after which a connection that conntrack does not know has ended
_CLOSING = frozenset({4, 5, 6, 7, 8})  # TCP_CONNTRACK_FIN_WAIT .. CLOSE: the connection has ended
_COMMENT = re.compile(r"^([\d.]+):(\d+) ([\d.]+):(\d+) (\S+) (-|\d+)$")
_SESSION_MAX = 64  # characters of a session id that fit beside the addresses
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
        self.dialogues = Dialogues(Policy.of(config), self.ways, config.rtsp.ports)
        self.map = PinholeMap()
        self.conntrack = Conntrack()
        self.watch = TableWatch()
        self.log = Nflog(config.rtsp.log_group, LOG_PREFIX)
        self.tidier = Tidier(config)
        self._fresh: dict[int, float] = {}  # port: when the element's time began anew
        self._asked_about = 0  # of the dialogues that hold ways, those up to here were looked at
        self._missing = False

    def close(self) -> None:
        """Close the sockets. The elements stay: films go on, and the next helper takes them over."""
        for one in (self.log, self.watch, self.conntrack, self.map, self.tidier):
            one.close()

    # --- packets ---

    def packets(self) -> None:
        """Read what NFLOG has and do what it asks for."""
        overruns = self.log.overruns
        for copy in self.log.receive():
            self.service.counters.packets += 1
            packet = read_packet(copy)
            if packet is None:
                continue
            dialogue, actions = self.dialogues.receive(packet, time.monotonic())
            if actions:
                self.perform(dialogue, actions)
        if self.log.overruns != overruns:
            self.service.tell(note("overrun", reason="NFLOG"))

    def perform(self, dialogue: Dialogue | None, actions: list[Action]) -> None:
        """Carry out what a dialogue asks for."""
        answered = False
        for action in actions:
            if isinstance(action, OpenWay):
                self._open(dialogue, action)
            elif isinstance(action, CloseWay):
                self._close(action)
            elif isinstance(action, Note):
                self.service.tell(action)
                answered = answered or action.event == "response"
            elif isinstance(action, Rewrite):  # not asked for by our policy: a copy cannot be rewritten
                continue
        if answered and dialogue is not None:
            self._remember_sessions(dialogue)

    def _open(self, dialogue: Dialogue | None, action: OpenWay) -> None:
        way = action.way
        try:
            self.map.put(self._pinhole(way))
        except NftrtspError as error:
            if dialogue is not None:
                self.service.tell(dialogue.failed(way, str(error)))
            return
        self._fresh[way.port] = time.monotonic()
        if not action.new:
            return
        way.router = self._router_address(way)
        self.tidier.opened(way)
        self._tell(action.note, way)

    def _close(self, action: CloseWay) -> None:
        way = action.way
        with contextlib.suppress(NftrtspError):
            self.map.remove(way.port)
        self._fresh.pop(way.port, None)
        if action.cut:
            self.tidier.cut(way)
        self._tell(action.note, way)

    def _tell(self, what: Note, way: Way) -> None:
        self.service.tell(_with_way(what, self.record(way)))

    def _remember_sessions(self, dialogue: Dialogue) -> None:
        """Write the sessions that an answer named beside their elements, for the next helper."""
        for claim in dialogue.claims:
            if claim.session is None or claim.noted:
                continue
            claim.noted = True
            with contextlib.suppress(NftrtspError):  # without it the next helper knows a little less
                self.map.replace(self._pinhole(way) for way in self.ways.of_claim(claim))

    # --- records ---

    def record(self, way: Way) -> dict[str, Any]:
        """Return the way's JSON."""
        left = self._fresh.get(way.port, 0.0) + self._lifetime(way) - time.monotonic()
        return way_record(way, KIND, left, self.roles)

    def records(self) -> list[dict[str, Any]]:
        """Return the JSON of all ways open."""
        return [self.record(way) for way in self.ways]

    def _pinhole(self, way: Way) -> Pinhole:
        return Pinhole(way.port, way.stb, way.stb_port, timeout=self._lifetime(way), comment=comment(way))

    def _lifetime(self, way: Way) -> float:
        """The element's own time: long enough to outlast a helper that is gone for a while."""
        return max([self.pause, *(claim.timeout or 0 for claim in way.claims)])

    # --- conntrack ---

    def learn_owners(self) -> None:
        """Learn from conntrack where media went before this helper ran."""
        try:
            self.tidier.learn()
        except NftrtspError as error:
            self.service.say(f"conntrack cannot be listed: {error}")

    def _flow(self, connection: Connection) -> Flow | None:
        try:
            return self.conntrack.get_flow(_tuple(connection))
        except NftrtspError:
            return None

    def _router_address(self, way: Way) -> bytes:
        """Return the address the server sees: media comes to it. It is what conntrack translates to."""
        flow = self._flow(way.master)
        return flow.reply.dst if flow is not None and len(flow.reply.dst) == 4 else bytes(4)

    # --- what time and others do ---

    def sweep(self) -> None:
        """Close what has expired; let the elements of what lives begin their time anew."""
        now = time.monotonic()
        self.perform(None, self.dialogues.sweep(now))
        old = [way for way in self.ways if now - self._fresh.get(way.port, 0.0) > self._lifetime(way) / 2]
        try:
            if old:
                self.map.replace(self._pinhole(way) for way in old)
                self._fresh.update((way.port, now) for way in old)
        except NftrtspError:
            self.reconcile()
        self.service.status(self.ways.summary())
        self.service.counters.lost = self.dialogues.lost
        if self.tidier.error is not None:
            self.service.say(f"conntrack entries in the way could not be deleted: {self.tidier.error}")
            self.tidier.error = None

    def look(self) -> None:
        """Ask conntrack about some of the connections that hold ways: have they ended unseen?

        A few at a time, each one look-up; a listing would walk through the whole table.
        """
        holding = [one for one in self.dialogues if one.claims and not one.closed]
        first = self._asked_about if self._asked_about < len(holding) else 0
        self._asked_about = first + 1 + len(holding) // _LOOKS
        now = time.monotonic()
        for dialogue in holding[first : self._asked_about]:
            flow = self._flow(dialogue.connection)
            # What conntrack was made to forget may live on: its next packet brings it back.
            silent = now - dialogue.last > _FORGOTTEN
            if silent if flow is None else not _lives(flow):
                self.perform(dialogue, dialogue.close("gone, says conntrack"))

    def table_changed(self) -> None:
        """Put the pinholes back when the ruleset was replaced under them."""
        if self.watch.changed():
            self.reconcile()

    def reconcile(self) -> None:
        """See that each way has its element."""
        try:
            there = {one.port for one in self.map.dump()}
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
                self.map.put(self._pinhole(way))
                self._fresh[way.port] = time.monotonic()
                back += 1
        if back:
            self.service.say(f"{counted(back)} put back after the ruleset was replaced")

    def _say_missing(self, error: NftrtspError) -> None:
        if not isinstance(error, KernelError) or error.errno != errno.ENOENT:
            self.service.say(f"the pinhole map cannot be listed: {error}")
        elif not self._missing:
            self._missing = True
            self.service.say(_NO_TABLE)
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
        groups: dict[tuple[Connection, str | None, int | None], dict[int, Pinhole]] = {}
        for one in there:
            known = read_comment(one.comment)
            if known is not None and known[0].client == one.stb:
                groups.setdefault(known, {})[one.port] = one
        now = time.monotonic()
        taken = removed = 0
        for (connection, session, timeout), pinholes in groups.items():
            lives = _lives(flow := self._flow(connection))
            if lives and self.config.may_ask(IPv4Address(connection.client)):
                dialogue, actions = self.dialogues.begin(connection, now)
                self.perform(dialogue, actions)
                ports = {port: one.stb_port for port, one in pinholes.items()}
                for way in dialogue.adopt(ports, now, session=session, timeout=timeout):
                    way.router = flow.reply.dst if flow is not None else way.router
                    one = pinholes[way.port]
                    self._fresh[way.port] = now - max(0.0, one.timeout - one.expires)
                    taken += 1
            else:
                for port in pinholes:
                    removed += self.map.remove(port)
        if taken or removed:
            gone = f", closed {counted(removed)} whose connection had ended" if removed else ""
            self.service.say(f"took over {counted(taken)} of an earlier helper{gone}")


def comment(way: Way) -> str:
    """Return what is written beside the element: who asked whom, the session, its timeout in seconds."""
    claim: Claim | None = way.claims[-1] if way.claims else None
    connection = claim.connection if claim else way.master
    session = claim.session if claim else None
    if session is None or len(session) > _SESSION_MAX or not session.isascii() or not session.isprintable():
        session = None
    if session is not None and (" " in session or '"' in session):
        session = None
    timeout = claim.timeout if claim else None
    return (
        f"{connection.client_text} {connection.server_text} "
        f"{session or '-'} {timeout if timeout is not None else '-'}"
    )


def read_comment(text: str) -> tuple[Connection, str | None, int | None] | None:
    """Return what :func:`comment` wrote, or None if it was somebody else."""
    match = _COMMENT.match(text)
    if match is None:
        return None
    try:
        client, server = IPv4Address(match[1]).packed, IPv4Address(match[3]).packed
    except ValueError:
        return None
    session = None if match[5] == "-" else match[5]
    timeout = None if match[6] == "-" else int(match[6])
    return Connection(client, int(match[2]), server, int(match[4])), session, timeout


def _tuple(connection: Connection) -> Tuple:
    return Tuple(
        connection.client,
        connection.server,
        IPPROTO_TCP,
        connection.client_port,
        connection.server_port,
    )


def _lives(flow: Flow | None) -> bool:
    return flow is not None and flow.tcp_state not in _CLOSING


def _with_way(what: Note, record: dict[str, Any]) -> Note:
    return msgspec.structs.replace(what, way=record)


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
        service.every(1.0, helper.look)
        ports = ", ".join(str(port) for port in config.rtsp.ports)
        service.ready(f"pinhole: reads RTSP to port {ports} from NFLOG group {config.rtsp.log_group}; {why}")
        service.run()
        if helper.ways:
            service.say(f"stopped; {counted(len(helper.ways))} left open for {config.rtsp.pause} at most")
