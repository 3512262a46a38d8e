"""Scenes as the dashboard sees them: the same calls, through news and the observer."""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec

from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.record import OpenPortRecord
from nftrtsp.events.news import Checked, Gauged, Heard, HelperLeft, Listed, Told
from nftrtsp.helper.note import Hello, Line
from nftrtsp.monitor.observer import Observer
from nftrtsp.monitor.snapshot import Snapshot
from tests.unit.scenes import BOX, BOX2, IPTV, MEDIA, MEDIA2, SERVER, T0, House, control, make_config, media

os.environ["TZ"] = "UTC"
time.tzset()


class Watched(House):
    """A house whose news go through an observer."""

    def __init__(self, *, config: bool = True, **rtsp: Any) -> None:
        self.observer = Observer(make_config(**rtsp) if config else None, router="router")
        super().__init__(self.observer.sessions)
        self.received = 0
        self.gauge = Gauged(T0, 0.0, (IPTV,), 0, 0, 1204, 65536, 0, accounting=True, rp_filter=0)

    def event(self, at: float, kind: EventType, value: Flow | Expectation) -> None:
        flow = value if isinstance(value, Flow) else None
        other = value if isinstance(value, Expectation) else None
        self.observer.take(Heard(Event(kind, T0 + at, flow, other)))

    def show(self, at: float, *values: Flow | Expectation) -> None:
        flows = tuple(value for value in values if isinstance(value, Flow))
        others = tuple(value for value in values if isinstance(value, Expectation))
        self.observer.take(Listed(T0 + at, flows, others))
        self.read(at, rate=6.5e6 * sum(flow.orig.proto == 17 for flow in flows))

    def read(self, at: float, *, rate: float = 0.0, **more: Any) -> None:
        passed = at - self.gauge.monotonic
        self.received += int(rate * passed / 8)
        values = {"time": T0 + at, "monotonic": at, "received": self.received, "sent": self.received // 60}
        self.gauge = msgspec.structs.replace(self.gauge, **{**values, **more})
        self.observer.take(self.gauge)

    def tick(self, at: float) -> None:
        self.read(at)

    def say(self, at: float, event: str, box: str = BOX, sport: int = 40000, **more: Any) -> None:
        line = {"time": T0 + at, "event": event, "stb": box, "client": f"{box}:{sport}"}
        line |= {"server": f"{SERVER}:554", **more}
        self.observer.take(Told(T0 + at, msgspec.convert(line, Line)))

    def hello(self, at: float = 0.0, kind: str = "pinhole", ways: tuple[dict[str, Any], ...] = ()) -> None:
        open_now = msgspec.convert(ways, tuple[OpenPortRecord, ...])
        told = Hello(time=T0 + at, kind=kind, why="NFLOG is there", ways=open_now)
        self.observer.take(Told(T0 + at, told))

    def in_sync(self, at: float = 0.0) -> None:
        self.observer.take(Checked(T0 + at, "in sync"))

    def snapshot(self, at: float) -> Snapshot:
        return self.observer.snapshot(T0 + at)


def evening(films: int = 1) -> Watched:
    """Two boxes: the living room watches, the bedroom's film does not come."""
    house = Watched()
    house.in_sync()
    house.hello()
    house.ask(1.12)
    house.new(1.144, media())
    sent = 0
    for at in range(2, 64):
        wave = 560 + (at * 37) % 90
        sent += wave
        flows = [media(packets=sent), control(helper=None, packets=at)]
        if at == 20:
            house.say(20.4, "pause")
        if at == 30:
            house.say(30.2, "play")
        if 20 < at <= 30:
            sent -= wave
            flows[0] = media(packets=sent)
        if at == 56:
            house.ask(56.3, 27400, BOX2, 40001)
        if at > 56:
            flows.append(control(BOX2, 40001, helper=None, packets=at))
        house.show(at, *flows)
    return house


def quiet() -> Watched:
    house = Watched()
    house.in_sync()
    house.hello()
    for at in range(1, 5):
        house.show(at)
    return house


def empty() -> Watched:
    """No event, no set-top box, nothing."""
    house = Watched()
    house.observer.sessions.boxes.clear()
    house.in_sync()
    house.read(1.0)
    return house


def no_config() -> Watched:
    house = Watched(config=False)
    for at in range(1, 5):
        house.show(at, control(helper=None, packets=at), media(packets=600 * at, master=control().orig))
    return house


def no_table() -> Watched:
    house = Watched(helper="pinhole")
    changes = ("+ table inet nftrtsp", "+ chain forward { type filter hook forward priority filter; }")
    house.observer.take(Checked(T0, "absent", changes))
    house.observer.take(HelperLeft(T0, "no helper listens on /run/nftrtsp/helper.sock"))
    house.read(1.0)
    return house


def drifted() -> Watched:
    house = evening()
    changes = (
        '~ rule from-iptv: "ct state established,related accept" → "ct state established accept"',
        "- rule input: tcp dport 22 accept",
        "+ set rtsp_ports { type inet_service; elements = { 554 } }",
    )
    house.observer.take(Checked(T0 + 63, "drifted", changes))
    return house


def helper_absent() -> Watched:
    house = Watched(helper="userspace")
    house.in_sync()
    house.observer.take(HelperLeft(T0, "no helper listens on /run/nftrtsp/helper.sock"))
    for at in range(1, 8):
        house.show(at, control(helper=None, packets=at))
    return house


def overrun() -> Watched:
    house = evening()
    house.observer.take(Heard(Event(EventType.OVERRUN, T0 + 63.2, lost=1)))
    house.read(63.5, overruns=3)
    return house


def interface_gone() -> Watched:
    house = evening()
    house.read(64.0, received=None, sent=None, addresses=())
    return house


def interface_back() -> Watched:
    house = interface_gone()
    house.received = 0
    house.read(70.0, addresses=(IPTV,))
    house.read(71.0)
    return house


def clock_set() -> Watched:
    house = evening()
    house.read(64.0, time=T0 + 64.0 + 7200)
    return house


def many_flows(count: int = 2000) -> Watched:
    house = Watched()
    house.in_sync()
    house.hello()
    for at in (1.0, 2.0, 3.0):
        flows = []
        for number in range(count):
            box = f"192.168.1.{200 + number % 20}"
            source = f"172.26.{84 + number % 100}.{137 + number // 100}"
            flows.append(media(box, 20000 + number, source, packets=int(at) * (500 + number % 200)))
        house.show(at, *flows)
    return house


def pinned_box() -> Watched:
    from tests.unit.scenes import expectation

    house = Watched(helper="kernel")
    house.in_sync()
    house.new(1.0, control())
    house.new(1.1, expectation(pinned=SERVER))
    for at in range(2, 14):
        house.show(at, control(packets=at), expectation(pinned=SERVER))
    return house


def two_sources() -> Watched:
    house = evening()
    house.say(63.2, "play", uri="rtsp://172.26.83.10/vod/4711")
    house.new(63.4, media(source=MEDIA2))
    house.show(64, media(packets=40_000), media(source=MEDIA2, packets=300))
    assert MEDIA != MEDIA2
    return house


SCENES = {
    "evening": evening,
    "quiet": quiet,
    "empty": empty,
    "no_config": no_config,
    "no_table": no_table,
    "drifted": drifted,
    "helper_absent": helper_absent,
    "overrun": overrun,
    "interface_gone": interface_gone,
    "interface_back": interface_back,
    "clock_set": clock_set,
    "many_flows": many_flows,
    "pinned": pinned_box,
}
