"""The userspace helper: a conntrack helper called ``rtsp`` without any kernel module.

It registers over nfnetlink_cthelper, is fed by NFQUEUE with the packets of helped connections, and creates
expectations over ctnetlink. It stands in the path of RTSP, so it must never be in its way: when the queue is
full packets pass, when it is stuck or gone its watchdog lets them pass.

Packets are read off the queue at once and wait for the turn of their box
(:mod:`nftrtsp.helper.userspace.turnstile`).
What a box sends beyond its share goes on unread: we are no policer of RTSP. A connection is believed only
when conntrack knows it as established in both directions.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from socket import inet_ntoa

from nftrtsp import figures, paths
from nftrtsp.config import Config
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.record import OpenPortRecord
from nftrtsp.conntrack.tuple import Tuple
from nftrtsp.errors import BusyError, NftrtspError
from nftrtsp.helper import adoption
from nftrtsp.helper.adoption import Orphan
from nftrtsp.helper.dialogue import Dialogue
from nftrtsp.helper.dialogues import Dialogues
from nftrtsp.helper.note import Answered, Note, Overrun, WayClosed, WayOpen, note
from nftrtsp.helper.port_policy import PortPolicy
from nftrtsp.helper.service import Service
from nftrtsp.helper.userspace import cthelper
from nftrtsp.helper.userspace.expectations import Expectations, load_function
from nftrtsp.helper.userspace.gate import Gate
from nftrtsp.helper.userspace.nfqueue import Queue
from nftrtsp.helper.userspace.saved_sessions import SavedSession, SavedSessions
from nftrtsp.helper.userspace.turnstile import Turnstile
from nftrtsp.helper.userspace.watchdog import PATIENCE, Watchdog
from nftrtsp.helper.ways import Connection, Ways
from nftrtsp.ruleset.names import CT_HELPER_TYPE

KIND = "userspace"
_EXPECT_MAX = Path("/proc/sys/net/netfilter/nf_conntrack_expect_max")
_EXPECT_SPARE = 256  # for the expectations of other helpers
_FORGET_AT_ONCE = 64  # connections of which a tick sees whether they have ended
_TICK = 0.1  # seconds between looks at packets that wait
_SWEEP = 5.0  # seconds between looks at sessions and expectations
_ASKED = 50  # connections at most that conntrack is asked about in one sweep: packets wait meanwhile
_REST = 20  # after writing the memory down it rests for so many times as long
_BIND_PATIENCE = 3.0  # seconds for a forerunner that was killed to let go of the queue
_NAMED = 3  # boxes at most that the log names for sending too much, in each sweep
_BATCH = 1024  # datagrams at most that are read off the queue before what they say is looked at
_LONGEST_NAMED = 3  # boxes at most that the log names for sending too much, in each sweep


class UserspaceHelper:
    """The helper at work; :func:`run` is all that a command needs. ``service`` tells and logs.

    Making it registers the helper and binds the queue; raises what :class:`cthelper.Registry` and
    :class:`Queue` do.
    """

    def __init__(self, config: Config, service: Service) -> None:
        self.config = config
        self.service = service
        self.ways = Ways("expectation")
        policy = PortPolicy.of(config, substitutes=True)
        self.dialogues = Dialogues(policy, self.ways, config.rtsp.ports, confirm=self._confirm)
        self._configured = frozenset(one.address.packed for one in config.stb)
        self._turns_due = False
        self._prolonging = False
        self.queue = Queue(config.rtsp.queue)
        # The queue is read before any connection is sent to it.
        self._bind()
        self.watchdog = Watchdog(self.queue.fileno(), config.rtsp.queue, cthelper.encode_disable(config))
        registered = cthelper.register(config)
        load_function()
        self.expectations = Expectations(config, policy_timeout=_policy_timeout(registered[0]))
        self._notes: list[Note] = []  # to be told once packets no longer wait for us
        self.gate = Gate(config, self.dialogues, self.expectations, self._note)
        self.turnstile = Turnstile(self.gate, self._is_known)
        self._changed = True
        self._write_after = 0.0  # monotonic
        self._turn = 0  # of the connections that conntrack is asked about
        self.memory = SavedSessions(paths.run_dir())
        _raise_expect_max(config, service)
        self.adopted = self._adopt()
        try:
            self.expectations.stale_flows.learn()
        except NftrtspError as error:
            service.warn(f"conntrack cannot be listed: {error}")
        self._beaten = time.monotonic()

    def close(self) -> None:
        """Let go. Registration, expectations and flows stay: films go on, a new helper takes over."""
        self.memory.write(self.ways)
        self.watchdog.close()
        self.queue.close()
        self.expectations.close_sockets()

    def records(self) -> list[OpenPortRecord]:
        """Return all ways open, as lists and events show them."""
        return [self.gate.record(way) for way in self.ways]

    def packets(self) -> None:
        """Read what the queue has off, then let go on whose turn it is."""
        self._beat()
        overruns = self.queue.overruns
        packets = self.queue.receive(_BATCH)
        self.queue.answer(self.turnstile.come(packets, time.monotonic()))
        self.service.counters.packets += len(packets)
        if self.queue.overruns != overruns:
            self._note(note(Overrun, reason="NFQUEUE"))
        self._take_turns()
        if self.queue.lost:
            self._bind()

    def _is_known(self, box: bytes) -> bool:
        """Whether a box has a queue of its own; all others are strangers, and share."""
        return box in self._configured or bool(self.ways.of(box)) or self.gate.has_met(box)

    def _confirm(self, connection: Connection) -> bool:
        return self.gate.confirm(connection)

    def _take_turns(self) -> None:
        """Do what waits, for a few milliseconds: then the loop looks at its timers and descriptors."""
        self._turns_due = False
        self.queue.answer(self.turnstile.serve())
        self.gate.settle()
        self.service.counters.rewritten = self.gate.rewritten
        self._tell()
        if len(self.turnstile) and not self._turns_due:
            self._turns_due = True
            self.service.after(0, self._take_turns)

    def tick(self) -> None:
        """Say that we are alive; let go what has waited for long enough."""
        self._beat()
        now = time.monotonic()
        verdicts = self.turnstile.let_go(now)
        verdicts += self.gate.tick(now)
        if verdicts:
            self.queue.answer(verdicts)
            self.gate.settle()
        self._tell()
        if self._prolonging:
            self._prolong()
        self.dialogues.forget(now, _FORGET_AT_ONCE)
        now = time.monotonic()
        if self._changed and now >= self._write_after:
            self._changed = False
            self.memory.write(self.ways)
            self._write_after = now + _REST * (time.monotonic() - now)

    def sweep(self) -> None:
        """Close what has expired, prolong what is used."""
        now = time.monotonic()
        self.gate.perform(self.dialogues.expire(now), now)
        for dialogue in self._ended(now):
            self.gate.perform(self.dialogues.close(dialogue, "gone, says conntrack"), now)
        self._prolong()
        with contextlib.suppress(NftrtspError):  # again in five seconds
            self._keep_enabled()
        self._say_unread()
        self._tell()
        if self.expectations.stale_flows.error is not None:
            self.service.warn(f"media flows could not be ended: {self.expectations.stale_flows.error}")
            self.expectations.stale_flows.error = None
        self.service.status(self.ways.summary())
        self.service.counters.lost = self.dialogues.lost

    def _prolong(self) -> None:
        """Prolong what is used, some of it at each tick: packets wait meanwhile."""
        self._prolonging = False
        with contextlib.suppress(NftrtspError):  # again in five seconds
            gone, self._prolonging = self.expectations.refresh(self.ways, time.monotonic())
            for way in gone:
                self.gate.rehome(way)

    def _say_unread(self) -> None:
        unread, self.turnstile.unread = self.turnstile.unread, {}
        for box, packets in sorted(unread.items(), key=lambda one: -one[1])[:_NAMED]:
            who = inet_ntoa(box) if box else "somebody"
            reason = f"{who} sends more than its share, {packets} packets of it went on unread"
            self._note(note(Overrun, reason=reason))
        faults, self.turnstile.faults = self.turnstile.faults, {}
        for fault, text in faults.items():
            self.service.warn(f"a packet went on unread, which is a fault of this program: {fault}: {text}")

    def _ended(self, now: float) -> list[Dialogue]:
        """Return the dialogues that hold ways and whose connection has ended without our seeing it."""
        quiet = [one for one in self.dialogues if one.claims and not one.closed and now - one.last > _SWEEP]
        if len(quiet) > _ASKED:
            first = self._turn % len(quiet)
            self._turn = first + _ASKED
            quiet = (quiet[first:] + quiet[:first])[:_ASKED]
        with contextlib.suppress(NftrtspError):
            return [one for one in quiet if self.expectations.has_ended(one.connection, now - one.last)]
        return []

    def _keep_enabled(self) -> None:
        """Enable the helper again, should another process have taken this one for gone."""
        with cthelper.Registry() as registry:
            there = registry.dump()
        if not any(one.name == CT_HELPER_TYPE and one.enabled for one in there):
            cthelper.register(self.config)

    def _bind(self) -> None:
        deadline = time.monotonic() + _BIND_PATIENCE
        while True:
            try:
                self.queue.bind()
            except BusyError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def _note(self, what: Note) -> None:
        # Only these change what is to be remembered: which ways there are, which session has which.
        self._changed = self._changed or isinstance(what, WayOpen | WayClosed | Answered)
        self._notes.append(what)

    def _tell(self) -> None:
        notes, self._notes = self._notes, []
        for one in notes:
            self.service.tell(one)

    def _beat(self) -> None:
        now = time.monotonic()
        silent = now - self._beaten
        if silent >= _TICK:
            self.watchdog.beat()
            self._beaten = now
        if silent >= PATIENCE:
            reason = f"the helper stood still for {silent:.1f} s, and RTSP went on without it"
            self.service.tell(note(Overrun, reason=reason))

    def _adopt(self) -> int:
        """Take over the expectations that an earlier helper left; return how many."""
        known = self.memory.read()
        now = time.monotonic()
        groups: dict[Orphan, dict[int, Expectation]] = {}
        for one in self.expectations.listed():
            if one.nat is None:
                continue
            port = one.tuple.dport or 0
            memory = known.get(port, SavedSession(port))
            group = adoption.orphan(_connection(one.master), memory.session, memory.timeout)
            groups.setdefault(group, {})[port] = one
        return sum(self._take_over(orphan, ours, now) for orphan, ours in groups.items())

    def _take_over(self, orphan: Orphan, ours: dict[int, Expectation], now: float) -> int:
        """Go on with the ways ``ours`` of one connection, unless they may not be (any more)."""
        ports = {port: one.nat.tuple.sport or 0 for port, one in ours.items() if one.nat is not None}
        refusal = adoption.refuse(self.dialogues.policy, self.ways, orphan.connection, ports, now)
        owners = {one.nat.tuple.src for one in ours.values() if one.nat is not None}
        if refusal is not None or owners != {orphan.connection.client}:
            for one in ours.values():
                self.expectations.drop(one)
            return 0
        dialogue, _ = self.dialogues.begin(orphan.connection, now)
        for way in dialogue.adopt(ports, now, session=orphan.session, timeout=orphan.timeout):
            way.router = ours[way.port].tuple.dst
            self.expectations.adopt(ours[way.port], now)
        return len(ours)


def run(config: Config, why: str = "") -> None:
    """Run the helper in the foreground until SIGTERM or SIGINT; ``why`` it was chosen is published.

    Raises :class:`UnsupportedError` where this kernel cannot do it, :class:`BusyError` when another helper of
    this router runs or the kernel module holds the name, :class:`PrivilegeError` without root.
    """
    helpers: list[UserspaceHelper] = []
    with Service(config, KIND, why, lambda: helpers[0].records() if helpers else []) as service:
        helper = UserspaceHelper(config, service)
        helpers.append(helper)
        try:
            service.watch(helper.queue, helper.packets)
            service.every(_TICK, helper.tick)
            service.every(_SWEEP, helper.sweep)
            taken = f", {figures.counted(helper.adopted, 'port')} taken over" if helper.adopted else ""
            service.ready(f"userspace helper: NFQUEUE {helper.queue.number} is read{taken}")
            service.run()
        finally:
            helper.close()


def _connection(master: Tuple) -> Connection:
    return Connection(master.src, master.sport or 0, master.dst, master.dport or 0)


def _policy_timeout(wanted: cthelper.Registration) -> int:
    """Return what the kernel gives a new expectation; a registration of other making keeps its own."""
    with cthelper.Registry() as registry:
        for one in registry.dump():
            if one.name == wanted.name and one.family == wanted.family and one.proto == wanted.proto:
                return one.expect_timeout
    return 0


def _raise_expect_max(config: Config, service: Service) -> None:
    """Let the kernel hold as many expectations as we may open; its own limit is 256 to 1,024."""
    rtsp = config.rtsp
    most = min(rtsp.max_total, len(config.stb) * rtsp.max_per_stb or rtsp.max_total)
    wanted = most + _EXPECT_SPARE
    try:
        if int(_EXPECT_MAX.read_text()) < wanted:
            _EXPECT_MAX.write_text(f"{wanted}\n")
    except FileNotFoundError:  # the service does not see it: its unit raises it first
        return
    except (OSError, ValueError):  # a network namespace may not: it is the machine's
        service.warn(f"{_EXPECT_MAX} is below {wanted} and could not be raised; ports beyond it are refused")
