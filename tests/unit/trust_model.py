"""One router, its boxes, servers and strangers as a set of rules, with what must hold after each step.

The rules and the invariants of the core of trust (dialogues, ways, policy), once: a hypothesis state machine
plays them in the unit tests, a seeded driver plays a million of them (tests/fuzz/trust_steps.py). The model
knows what the core cannot know: who really sent a packet, and which connections conntrack has. What it checks
is written from the promises of issue and documentation, not from the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address
from typing import NamedTuple

from nftrtsp.helper.action import Action, CloseWay, OpenWay
from nftrtsp.helper.dialogues import Dialogues
from nftrtsp.helper.port_policy import PortPolicy
from nftrtsp.helper.ways import MAX_LIFETIME, Connection, Ways
from nftrtsp.rtsp.packet import ACK, FIN, RST, SYN, Packet

BOXES = tuple((IPv4Address("192.168.1.200") + number).packed for number in range(3))
STRANGER = IPv4Address("10.9.9.9").packed  # not configured
SERVERS = (IPv4Address("172.26.83.10").packed, IPv4Address("172.26.83.66").packed)
LINES = tuple(
    Connection(box, 40000 + number, server, 554)
    for box in (*BOXES, STRANGER)
    for number, server in enumerate((*SERVERS, SERVERS[0]))
)
MAX_PER_STB, MAX_TOTAL, CAPACITY, BUDGET = 4, 9, 10, 40_000
ROUTER = (51820, 30002, 20003)  # ports that services of the router take now and then
_FAR = 1 << 25  # bytes out of every window
_UNSEEN = 6  # ports that open by answers alone: two pairs that waited for an acknowledgement, and one more
_BIG = 65_536  # bytes that one gap may have

_ASKS: tuple[Callable[[int], tuple[str, tuple[tuple[int, ...], ...]]], ...] = (
    lambda port: (f"MP2T/H2221/UDP;unicast;client_port={port}", ((port,),)),
    lambda port: (f"RTP/AVP;unicast;client_port={port}-{port + 1}", ((port, port + 1),)),
    lambda port: (f"RTP/AVP;client_port={port}/{port + 2}", ((port, port + 2),)),
    lambda port: (
        f"RTP/AVP/TCP;interleaved=0-1,RTP/AVP;client_port={port}-{port + 1},MP2T/UDP;client_port={port + 4}",
        ((port, port + 1), (port + 4,)),
    ),
    lambda port: (f"RAW/RAW/UDP;unicast;destination=192.168.1.200:{port}", ((port,),)),
    lambda port: (f"MP2T/UDP;client_port={port};destination=192.168.1.7", ()),
    lambda port: ("RTP/AVP/TCP;interleaved=0-1", ()),
    lambda port: (f"MP2T/UDP;client_port={port % 1024}", ()),
    lambda port: (f"MP2T/UDP;client_port={port + 45536}", ()),
    lambda port: ("MP2T/UDP;client_port=51820", ((51820,),)),
    lambda port: ('MP2T/UDP;client_port="', ()),
    lambda port: (",".join(f"X/UDP;client_port={port + step}" for step in range(40)), tuple(
        (port + step,) for step in range(40)
    )),
)  # fmt: skip
_NAMES = ("", "{0}", "{0}-{1}", "5353-1900", "40000", "40000-40001", "53", "51820", "{2}", "1024-65535", "0")


class Line:
    """One connection as its ends know it; ``open``: established, for both ends and for conntrack."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.box = connection.client
        self.open = False
        self.begin(1, 1)

    def begin(self, client: int, server: int) -> None:
        self.seq = {True: client % (1 << 32), False: server % (1 << 32)}
        self.cseq = 0
        self.missed = False  # copies of the box's bytes did not reach the helper
        self.refused = 0  # ways that the kernel did not open
        self.asked: set[tuple[int, ...]] = set()  # the ports of each transport the box asked for
        self.named: set[int] = set()  # ports that the server may have put in their place
        self.said: set[int] = set()  # ports that it named, and that may open where the SETUP was missed


class Step(NamedTuple):
    """What a rule may bring about. ``line``: whose ways may open; ``closes``: whether any may close."""

    line: Line | None = None
    closes: bool = True


class Model:
    """The world of one run; each public method named in :data:`RULES` is a rule that takes integers."""

    def __init__(self, *, substitutes: bool = False) -> None:
        self.substitutes = substitutes
        self.now = 1000.0
        self.services: set[int] = set()
        self.refusals = 0  # so many of the next expectations the kernel refuses
        self.lines = [Line(one) for one in LINES]
        self.known = {line.connection: line for line in self.lines}
        self.open: dict[int, tuple[bytes, int]] = {}
        self.opened = 0  # ways, in all
        self.ways, self.dialogues = self._start()

    def _start(self) -> tuple[Ways, Dialogues]:
        ways = Ways()
        policy = PortPolicy(
            lambda address: address.packed in BOXES,
            MAX_PER_STB,
            MAX_TOTAL,
            substitutes=self.substitutes,
            router_ports=lambda: frozenset(self.services),
        )
        confirm = self._confirm
        return ways, Dialogues(policy, ways, (554,), confirm=confirm, capacity=CAPACITY, budget=BUDGET)

    def _confirm(self, connection: Connection) -> bool:
        line = self.known.get(connection)
        return line is not None and line.open

    # --- what is said and done ---

    def connect(self, which: int, client: int, server: int) -> None:
        """A box opens a connection; one that was open before is forgotten by its server."""
        line = self._line(which)
        line.open = False
        line.begin(client, server)
        self._say(line, True, flags=SYN)
        line.open = True
        self._say(line, False, flags=SYN | ACK)

    def pick_up(self, which: int, client: int, server: int) -> None:
        """A connection is open that the helper has seen nothing of."""
        line = self._line(which)
        if not line.open and self.dialogues.find(line.connection) is None:
            line.begin(client, server)
            line.open = line.missed = True

    def setup(self, which: int, form: int, port: int) -> None:
        """A box asks, in every form there is."""
        self._setup(self._line(which), form, port)

    def setup_in_pieces(self, which: int, form: int, cut: int) -> None:
        """A box asks, and the second half of it comes first."""
        line = self._line(which)
        if not line.open:
            return
        text = self._request(line, form, cut)
        cut = 1 + cut % (len(text) - 1)
        start = line.seq[True]
        line.seq[True] = (start + cut) % (1 << 32)
        self._say(line, True, text[cut:])
        end, line.seq[True] = line.seq[True], start
        self._say(line, True, text[:cut])
        line.seq[True] = end

    def answer(self, which: int, status: int, name: int, session: int) -> None:
        """The server answers, as it likes."""
        line = self._line(which)
        if not line.open:
            return
        self._note_missed(line)
        some = min(line.asked, default=(40002,))
        named = _NAMES[name % len(_NAMES)].format(some[0], some[-1], some[0] + 3)
        ports = tuple(dict.fromkeys(int(text) for text in named.split("-") if text))
        shape = _shape(ports)
        if ports and shape in {_shape(one) for one in line.asked}:
            line.named.update(ports)
        if shape in ((0,), (0, 1)):
            line.said.update(ports)
        before, quiet = self._held_by(line), self._is_quiet(line)
        self._say(line, False, _answer(line.cseq - session % 2, status, named, session))
        grown = self._held_by(line) - before
        most = line.refused + (_UNSEEN if line.missed else 0)
        assert not quiet or grown <= most, "an answer widened what was asked"

    def request(self, which: int, method: int, session: int) -> None:
        """A box says something else."""
        line = self._line(which)
        if line.open:
            name = ("TEARDOWN", "PLAY", "GET_PARAMETER", "PAUSE", "OPTIONS")[method % 5]
            more = (f"Session: {session % 3}",) if session % 4 else ()
            line.cseq += 1
            self._say(
                line, True, _text(f"{name} rtsp://s/{session % 2} RTSP/1.0", f"CSeq: {line.cseq}", *more)
            )

    def ended_by_server(self, which: int, session: int) -> None:
        """A server sends a TEARDOWN of its own."""
        line = self._line(which)
        if line.open:
            self._say(line, False, _text("TEARDOWN * RTSP/1.0", "CSeq: 9", f"Session: {session % 3}"))

    def end(self, which: int, side: int, flags: int) -> None:
        """One end closes or resets the connection."""
        line = self._line(which)
        if line.open:
            self._say(line, bool(side % 2), flags=(RST, RST | ACK, FIN | ACK)[flags % 3])
            line.open = False

    def vanish(self, which: int) -> None:
        """A connection ends unseen: a box was switched off. Conntrack tells of it, or does not."""
        line = self._line(which)
        if line.open:
            line.open = False
            dialogue = self.dialogues.find(line.connection)
            if which % 2 and dialogue is not None:
                self._take(self.dialogues.close(dialogue, "gone, says conntrack"), Step())

    def miss(self, which: int, side: int, count: int) -> None:
        """Copies are lost; what follows shows that they were received."""
        line, from_client = self._line(which), bool(side % 2)
        if line.open:
            count = 1 + count % _BIG
            line.seq[from_client] = (line.seq[from_client] + count) % (1 << 32)
            line.missed = line.missed or from_client
            self._say(line, not from_client)

    def hoard(self, which: int, side: int, count: int) -> None:
        """One end leaves a gap and sends on."""
        line, from_client = self._line(which), bool(side % 2)
        if line.open:
            line.seq[from_client] = (line.seq[from_client] + 1) % (1 << 32)
            line.missed = line.missed or from_client
            for _ in range(count % 24):
                self._say(line, from_client, b"x" * 1200)

    def babble(self, which: int, side: int, text: int) -> None:
        """One end says what is no RTSP, or begins without an end."""
        line = self._line(which)
        if line.open:
            kinds = (
                bytes((text % 256,)) * 30,
                b"SETUP * RTSP/1.0\r\nX: " + b"y" * (text % 3000),
                b"$\0\xff\xff",
            )
            self._say(line, bool(side % 2), kinds[text % 3])

    def repeat(self, which: int, side: int, other: int) -> None:
        """A segment comes again, as it was or with other bytes."""
        line, from_client = self._line(which), bool(side % 2)
        if line.open:
            text = _text("SETUP * RTSP/1.0", "CSeq: 77", f"Transport: X/UDP;client_port={41000 + other % 5}")
            end = line.seq[from_client]
            line.seq[from_client] = (end - len(text) - other % 50) % (1 << 32)
            if from_client:  # where it was not seen at first, it is what was asked
                line.asked.add((41000 + other % 5,))
            self._say(line, from_client, text)
            line.seq[from_client] = end

    # --- what others forge ---

    def spoof(self, which: int, kind: int, number: int) -> None:
        """A host of the LAN or of the IPTV side sends in somebody's name, and does not know the numbers."""
        line = self._line(which)
        if line.open:
            shift = _FAR + number % (1 << 30)
            seq = {side: (line.seq[side] + shift) % (1 << 32) for side in (True, False)}
            self._note_missed(line)
            if kind % 9 == 7 and not line.missed:
                seq[False] = line.seq[False]  # what the server said is known, what the box said is not
        else:
            seq = {True: number % (1 << 32), False: number * 7 % (1 << 32)}
        setup = _text("SETUP * RTSP/1.0", "CSeq: 5", f"Transport: X/UDP;client_port={41000 + number % 5}")
        teardown = _text("TEARDOWN * RTSP/1.0", "CSeq: 5", f"Session: {number % 3}")
        answer = _answer(5, 200, str(41000 + number % 5), number)
        forged: tuple[tuple[bool, bytes, int], ...] = (
            (True, b"", SYN),
            (True, setup, ACK),
            (True, teardown, ACK),
            (False, answer, ACK),
            (True, b"", RST),
            (False, b"", FIN | ACK),
            (False, b"", SYN),
            (True, setup, ACK),
            (False, teardown, ACK),
        )
        from_client, data, flags = forged[kind % len(forged)]
        kept, line.seq = line.seq, dict(seq)
        # Who knows what the server said may let out what it said, as far as it was seen: no more than that.
        self._say(line, from_client, data, flags=flags, step=Step(closes=kind % 9 == 7))
        line.seq = kept

    # --- time, the kernel, the router ---

    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds

    def sweep(self) -> None:
        """The helper looks at what has expired."""
        before = set(self.services)
        self._take(self.dialogues.sweep(self.now), Step())
        if not before & set(self.open):
            return
        self._take(self.dialogues.sweep(self.now), Step())
        assert not before & set(self.open), "a way stayed on a port of the router"

    def silence(self) -> None:
        """For a day nobody gives a sign of life."""
        self.now += MAX_LIFETIME
        self._take(self.dialogues.sweep(self.now), Step())
        assert not self.open, "a way outlived a day of silence"
        self.now += MAX_LIFETIME
        self._take(self.dialogues.sweep(self.now), Step())
        assert not any(dialogue.claims for dialogue in self.dialogues)
        assert not self.ways._by_session

    def serve(self, which: int) -> None:
        """A service of the router starts or stops."""
        self.services ^= {ROUTER[which % len(ROUTER)]}

    def refuse(self, count: int) -> None:
        """The kernel will refuse the next expectations."""
        self.refusals = count

    def restart(self) -> None:
        """The helper stops; the next one takes over what the kernel has open."""
        left, self.open = self.open, {}
        masters = {way.port: way.master for way in self.ways}
        named = {way.port: (claim.session, claim.timeout) for way in self.ways for claim in way.claims}
        self.ways, self.dialogues = self._start()
        for port, (box, stb_port) in left.items():
            line = self.known[masters[port]]
            if not line.open:
                continue
            assert line.box == box
            dialogue, actions = self.dialogues.begin(line.connection, self.now)
            self._take(actions, Step())
            session, timeout = named.get(port, (None, None))
            line.missed = True
            for way in dialogue.adopt({port: stb_port}, self.now, session=session, timeout=timeout):
                self.open[way.port] = (way.stb, way.stb_port)

    # --- what must hold ---

    def check(self) -> None:
        """What holds after every step."""
        assert self.open == {way.port: (way.stb, way.stb_port) for way in self.ways}
        assert len(self.open) <= MAX_TOTAL
        assert all(self._count(box) <= MAX_PER_STB for box in BOXES)
        assert all(port >= 1024 for port in self.open)
        for way in self.ways:
            assert 0 < len(way.claims) <= 8
            assert way.ends(3600) <= self.now + MAX_LIFETIME, "a way without an end"
        dialogues = list(self.dialogues)
        assert self.dialogues.held == sum(dialogue.held for dialogue in dialogues) <= BUDGET
        assert sum(not dialogue.claims for dialogue in dialogues) <= CAPACITY
        claims = sum(len(dialogue.claims) for dialogue in dialogues)
        assert claims <= 40 * len(dialogues)
        assert sum(len(one) for one in self.ways._by_session.values()) <= claims

    # --- how ---

    def _line(self, which: int) -> Line:
        return self.lines[which % len(self.lines)]

    def _count(self, box: bytes) -> int:
        return sum(owner == box for owner, _ in self.open.values())

    def _held_by(self, line: Line) -> int:
        """Return how many ways the SETUPs of a connection hold, one by one."""
        claims = [claim for way in self.ways for claim in way.claims]
        return sum(claim.connection == line.connection for claim in claims)

    def _is_quiet(self, line: Line) -> bool:
        """Whether nothing of the box waits to be read, which an acknowledgement could let out."""
        dialogue = self.dialogues.find(line.connection)
        if dialogue is None:
            return True
        return not dialogue.conversation.incomplete(from_client=True) and not dialogue._agreement.waits

    def _note_missed(self, line: Line) -> None:
        """Take note of a connection that the helper does not know, or has forgotten."""
        if line.open and self.dialogues.find(line.connection) is None:
            line.missed = True

    def _setup(self, line: Line, form: int, port: int) -> None:
        if line.open:
            self._say(line, True, self._request(line, form, port))

    def _request(self, line: Line, form: int, port: int) -> bytes:
        """Return a SETUP: half of the ports are the box's own choice, half are wanted by all."""
        number = 30000 + port % 6 if port % 2 else 20000 + 100 * self.lines.index(line) + port % 10
        transport, groups = _ASKS[form % len(_ASKS)](number)
        if form % len(_ASKS) != 4 or line.box == BOXES[0]:
            line.asked.update(groups)
        line.cseq += 1
        more = (f"Session: {port % 3}",) if form % 3 == 0 else ()
        uri = f"rtsp://s/{port % 2}"
        return _text(f"SETUP {uri} RTSP/1.0", f"CSeq: {line.cseq}", f"Transport: {transport}", *more)

    def _say(
        self, line: Line, from_client: bool, data: bytes = b"", flags: int = ACK, step: Step | None = None
    ) -> None:
        self._note_missed(line)
        one = line.connection
        ends = (one.client, one.server, one.client_port, one.server_port)
        if not from_client:
            ends = (one.server, one.client, one.server_port, one.client_port)
        ack = line.seq[not from_client] if flags & ACK else 0
        packet = Packet(*ends, line.seq[from_client], ack, flags, data, len(data), 40)
        line.seq[from_client] = (line.seq[from_client] + len(data) + bool(flags & (SYN | FIN))) % (1 << 32)
        self._take(self.dialogues.receive(packet, self.now)[1], step or Step(line))

    def _take(self, actions: Sequence[Action], step: Step) -> None:
        for action in actions:
            if isinstance(action, CloseWay):
                assert step.closes, "a forged packet closed a way"
                self.open.pop(action.way.port, None)  # absent where the kernel refused it a moment ago
            elif isinstance(action, OpenWay):
                self._open(action, step)

    def _open(self, action: OpenWay, step: Step) -> None:
        way, line = action.way, step.line
        assert line is not None, "nobody asked for this way"
        assert line.open, "a connection that conntrack does not know opened a way"
        assert way.stb == line.box, "a way to a host that did not ask"
        assert way.stb in BOXES, "a way to a host that may not ask"
        asked = {port for ports in line.asked for port in ports} | (line.said if line.missed else set())
        assert way.stb_port in asked | line.named, "a way to a port that was not asked for"
        assert not action.new or way.port not in self.services, "a way on a port of the router"
        assert self.substitutes or way.port == way.stb_port
        if self.ways.at(way.port) is not way:  # refused by the kernel a moment ago, or gone
            return
        if self.refusals:
            self.refusals -= 1
            line.refused += 1
            dialogue = self.dialogues.find(line.connection)
            assert dialogue is not None
            dialogue.failed(way, "the kernel is in a bad mood")
            self.open.pop(way.port, None)
            return
        self.opened += action.new
        self.open[way.port] = (way.stb, way.stb_port)


_WHICH = (0, len(LINES) - 1)
_NUMBER = (0, (1 << 32) - 1)

#: The rules: how often the driver takes each, and the range of each of its integers.
RULES: dict[str, tuple[int, tuple[tuple[int, int], ...]]] = {
    "connect": (10, (_WHICH, _NUMBER, _NUMBER)),
    "pick_up": (4, (_WHICH, _NUMBER, _NUMBER)),
    "setup": (30, (_WHICH, (0, len(_ASKS) - 1), (0, 59))),
    "setup_in_pieces": (6, (_WHICH, (0, len(_ASKS) - 1), (0, 119))),
    "answer": (30, (_WHICH, (0, 5), (0, len(_NAMES) - 1), (0, 11))),
    "request": (16, (_WHICH, (0, 4), (0, 11))),
    "ended_by_server": (2, (_WHICH, (0, 2))),
    "end": (4, (_WHICH, (0, 1), (0, 2))),
    "vanish": (2, (_WHICH,)),
    "miss": (3, (_WHICH, (0, 1), (0, _BIG))),
    "hoard": (3, (_WHICH, (0, 1), (0, 23))),
    "babble": (2, (_WHICH, (0, 1), (0, 3000))),
    "repeat": (3, (_WHICH, (0, 1), (0, 99))),
    "spoof": (20, (_WHICH, (0, 8), _NUMBER)),
    "wait": (4, ((0, 4000),)),
    "sweep": (6, ()),
    "silence": (1, ()),
    "serve": (2, ((0, len(ROUTER) - 1),)),
    "refuse": (2, ((0, 3),)),
    "restart": (1, ()),
}


def _shape(ports: Iterable[int]) -> tuple[int, ...]:
    known = tuple(ports)
    return tuple(port - known[0] for port in known)


def _text(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def _answer(cseq: int, status: int, named: str, session: int) -> bytes:
    code = (200, 200, 200, 454, 302, 100)[status % 6]
    lines = [f"RTSP/1.0 {code} X", f"CSeq: {cseq}"]
    if session % 5:
        lines.append(f"Session: {session % 3}" + (";timeout=999999999", ";timeout=60", "")[session % 3])
    if named:
        lines.append(f"Transport: RTP/AVP;unicast;client_port={named}")
    return _text(*lines)
