"""Scenes for the model and the dashboard: what kernel and helper say in each case that people meet.

A scene is a list of calls on :class:`House`, which makes the values that the real sockets would bring.
"""

from __future__ import annotations

import zlib
from ipaddress import IPv4Address
from typing import Any

import msgspec

from nftrtsp import config as configuration
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.expectation import Expectation, ExpectationNat
from nftrtsp.conntrack.flow import Counters, Flow
from nftrtsp.conntrack.record import OpenPortRecord
from nftrtsp.conntrack.tuple import Tuple
from nftrtsp.films.film import Film
from nftrtsp.films.sessions import Sessions
from nftrtsp.helper.note import Hello, Line

T0 = 1_700_000_000.0
BOX, BOX2 = "192.168.1.200", "192.168.1.201"
IPTV = "10.214.0.2"
SERVER, MEDIA, MEDIA2 = "172.26.83.10", "172.26.83.137", "172.26.83.138"
MARK = 0x00100000
RATE = 6_400_000  # bit/s


def make_config(**rtsp: Any) -> configuration.Config:
    return configuration.parse(
        {
            "profile": "movistar",
            "iptv": {"interface": "vlan2"},
            "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]},
            "rtsp": rtsp,
            "stb": [{"name": "Living room", "address": BOX}, {"name": "Bedroom", "address": BOX2}],
        }
    )


def packed(address: str) -> bytes:
    return IPv4Address(address).packed


def tcp(src: str, sport: int, dst: str = SERVER, dport: int = 554) -> Tuple:
    return Tuple(packed(src), packed(dst), 6, sport, dport)


def control(
    box: str = BOX, sport: int = 40000, *, helper: str | None = "rtsp", packets: int = 4, state: int = 3
) -> Flow:
    orig = tcp(box, sport)
    reply = Tuple(packed(SERVER), packed(IPTV), 6, 554, sport)
    return Flow(
        2,
        orig,
        reply,
        id=sport,
        status=0x18E,
        timeout=431999,
        helper=helper,
        tcp_state=state,
        counters_orig=Counters(packets, packets * 120),
        counters_reply=Counters(packets, packets * 200),
    )


def media(
    box: str = BOX,
    port: int = 27336,
    source: str = MEDIA,
    *,
    outer: int | None = None,
    packets: int | None = None,
    master: Tuple | None = None,
    timeout: int = 3600,
) -> Flow:
    outer = outer or port
    orig = Tuple(packed(source), packed(IPTV), 17, 48440, outer)
    reply = Tuple(packed(box), packed(source), 17, port, 48440)
    counted = packets is not None
    return Flow(
        2,
        orig,
        reply,
        id=zlib.crc32(f"{source} {outer}".encode()),
        status=0x1A9,
        timeout=timeout,
        mark=MARK,
        master=master,
        counters_orig=Counters(packets, packets * 1344) if counted and packets is not None else None,
        counters_reply=Counters(0, 0) if counted else None,
    )


def expectation(
    box: str = BOX,
    port: int = 27336,
    *,
    sport: int = 40000,
    pinned: str | None = None,
    outer: int | None = None,
    helper: str | None = "rtsp",
) -> Expectation:
    mask = b"\xff\xff\xff\xff"
    return Expectation(
        2,
        Tuple(packed(pinned or "0.0.0.0"), packed(IPTV), 17, 0, outer or port),
        Tuple(mask if pinned else b"\0\0\0\0", mask, 17, 0, 65535),
        tcp(box, sport),
        timeout=300,
        id=port,
        nat=ExpectationNat(1, Tuple(packed(box), b"\0\0\0\0", 17, port, 0)),
        helper=helper,
        flags=1,
        function="nat-follow-master",
    )


def pinhole(box: str = BOX, port: int = 27336) -> dict[str, Any]:
    return {
        "kind": "pinhole",
        "id": port,
        "timeout": 3600,
        "proto": "udp",
        "tuple": {"src": "0.0.0.0", "sport": None, "dst": IPTV, "dport": port},
        "mask": {"src": "0.0.0.0", "sport": 0, "dst": "255.255.255.255", "dport": 65535},
        "master": {"src": box, "sport": 40000, "dst": SERVER, "dport": 554},
        "helper": "nftrtsp",
        "class": 0,
        "flags": ["permanent"],
        "nat": {"direction": 1, "src": box, "sport": port},
        "any_source": True,
        "stb": box,
    }


class House:
    """Feeds a model with scenes; times are seconds after T0."""

    def __init__(self, model: Sessions | None = None, **rtsp: Any) -> None:
        self.model = model or Sessions(make_config(**rtsp))
        self.rates: dict[bytes, int] = {}
        self.now = T0

    def event(self, at: float, kind: EventType, value: Flow | Expectation) -> None:
        flow = value if isinstance(value, Flow) else None
        other = value if isinstance(value, Expectation) else None
        self.model.event(Event(kind, T0 + at, flow, other))

    def new(self, at: float, value: Flow | Expectation) -> None:
        self.event(at, EventType.NEW if isinstance(value, Flow) else EventType.EXPECT_NEW, value)

    def gone(self, at: float, value: Flow | Expectation) -> None:
        self.event(at, EventType.DESTROY if isinstance(value, Flow) else EventType.EXPECT_DESTROY, value)

    def show(self, at: float, *values: Flow | Expectation) -> None:
        flows = [value for value in values if isinstance(value, Flow)]
        expectations = [value for value in values if isinstance(value, Expectation)]
        self.model.listing(T0 + at, flows, expectations)
        self.model.tick(T0 + at)

    def say(self, at: float, event: str, box: str = BOX, sport: int = 40000, **more: Any) -> None:
        line = {
            "time": T0 + at,
            "event": event,
            "stb": box,
            "client": f"{box}:{sport}",
            "server": f"{SERVER}:554",
            **more,
        }
        self.model.helper(msgspec.convert(line, Line), T0 + at)

    def hello(self, at: float = 0.0, kind: str = "pinhole", ways: tuple[dict[str, Any], ...] = ()) -> None:
        self.model.helper(
            Hello(time=T0 + at, kind=kind, ways=msgspec.convert(ways, tuple[OpenPortRecord, ...])), T0 + at
        )

    def tick(self, at: float) -> None:
        self.model.tick(T0 + at)

    def play_flow(self, start: float, end: float, *others: Flow | Expectation, **kind: Any) -> float:
        """List a film of 6.4 Mbit/s each second from ``start`` to ``end``; return the packets sent."""
        at = start
        while at <= end:
            packets = int((at - start + 1) * RATE / 8 / 1344)
            self.show(at, media(packets=packets, **kind), *others)
            at += 1
        return int((end - start + 1) * RATE / 8 / 1344)

    def state(self, box: str = BOX) -> str:
        state = self.model.boxes[packed(box)].state
        return state.value if state else "idle"

    def film(self, box: str = BOX) -> Film:
        return self.model.boxes[packed(box)].films[-1]

    def words(self, box: str = BOX) -> list[str]:
        return [f"{step.kind}: {step.text}" for step in self.film(box).steps]

    def kinds(self, box: str = BOX) -> list[str]:
        return [step.kind.value for step in self.film(box).steps]

    def ask(self, at: float, port: int = 27336, box: str = BOX, sport: int = 40000, **more: Any) -> None:
        """What a pinhole helper tells of a SETUP that succeeds."""
        self.say(at, "connection-open", box, sport)
        uri = "rtsp://172.26.83.10/vod/4711"
        self.say(at, "setup", box, sport, port=port, cseq=2, uri=uri, **more)
        self.say(at + 0.001, "way-open", box, sport, port=port, way=pinhole(box, port))
        self.say(at + 0.004, "response", box, sport, cseq=2, status=200, reason="OK")
        self.say(at + 0.010, "play", box, sport, cseq=3)
