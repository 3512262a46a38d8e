"""Every attack: what it hopes for, and whether it came true, while well-meaning boxes watch films beside it.

A scenario takes a :class:`Scene` and returns an :class:`Outcome`. The tests assert that it held, the table of
docs/security.md prints its figure.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nftrtsp.lab import registry
from nftrtsp.lab.network import LabStb
from tests.attacks.audience import Viewer
from tests.attacks.network import LAN_ROUTER, ROUTER, SERVER, Attack
from tests.attacks.packet import read, setup
from tests.attacks.scene import Beside, Scene

#: Seconds that a SETUP beside an attack may wait for its way, in a run of some seconds on a busy machine.
PATIENCE = 1.0
MEMORY = 64.0  # MiB that the helper may hold
LONGEST_WAY = 86400.0  # seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attack: ``figure`` is what it hoped to raise, ``held`` whether it did not."""

    figure: str
    held: bool
    beside: Beside

    @property
    def unharmed(self) -> bool:
        """Whether the boxes had their films, in time, and nothing was open that nobody asked for."""
        beside = self.beside
        fast = not beside.opening or beside.longest < PATIENCE * registry.patience()
        return fast and not beside.lost and not beside.troubles and not beside.illegal

    def __str__(self) -> str:
        beside = self.beside
        return (
            f"{self.figure}; beside it: longest opening {beside.longest * 1000:.0f} ms "
            f"of {len(beside.opening)}, {beside.lost} datagrams lost, "
            f"{len(beside.troubles)} films failed {beside.troubles[:2] or ''}, "
            f"open unasked: {sorted(beside.illegal)[:6] or 'none'}"
        )


Scenario = Callable[[Scene], Outcome]


def _few(count: int) -> int:
    """So many, fewer where the machine is emulated."""
    return int(count / registry.patience())


def _opened(scene: Scene, address: str, ports: range) -> list[int]:
    return sorted({way.port for way in scene.ways() if way.box == address and way.box_port in ports})


def an_answer_that_nobody_asked_for(scene: Scene) -> Outcome:
    box = scene.network.boxes[1].address
    with scene.audience() as beside:
        stranger = scene.network.strangers[0]
        scene.network.attack(stranger, "unasked_answer", box=box, port=5353, count=4).result()
        time.sleep(0.5)
        ports = _opened(scene, box, range(5353, 5361))
        arrives = any(scene.arrives(port, box) for port in ports[:1])
    figure = (
        f"{len(ports)} ports of another box open after 4 packets{', a packet arrives' if arrives else ''}"
    )
    return Outcome(figure, not ports, beside)


def a_setup_forged_by_a_neighbour(scene: Scene) -> Outcome:
    box = scene.network.boxes[1].address
    with scene.audience() as beside:
        scene.network.attack(
            scene.network.intruders[0], "forged_setup", server="172.26.83.66", box=box, port=6000
        ).result()
        time.sleep(0.5)
        ports = _opened(scene, box, range(6000, 6004))
    return Outcome(f"{len(ports)} ports of another box open", not ports, beside)


def a_false_end(scene: Scene) -> Outcome:
    box = scene.network.boxes[0].address
    with scene.audience() as beside:
        assert beside.film is not None
        port, local = beside.film.seen.port, beside.film.local_port
        network = scene.network
        for attack in (
            network.attack(network.strangers[0], "false_end", dport=local),
            network.attack(network.strangers[0], "false_end", target=box, dport=local),
            network.attack(
                network.intruders[0], "false_end", source=box, sport=local, target=SERVER, dport=554
            ),
        ):
            attack.result()
        closed = scene.until(lambda: not _opened(scene, box, range(port, port + 1)), 1.0)
        beside.film.ask("GET_PARAMETER")  # TCP lives: else this raises
    return Outcome(f"the film's way is {'closed' if closed else 'open'}, its TCP lives", not closed, beside)


def an_acknowledgement_far_ahead(scene: Scene) -> Outcome:
    box = scene.network.boxes[0].address
    with scene.audience() as beside:
        assert beside.film is not None
        film, network = beside.film, scene.network
        seq, ack = _place(scene, film)
        for attack in (
            # What conntrack calls INVALID is not translated back: to the box's own address it is sent on.
            *(
                network.attack(
                    network.strangers[0],
                    "far_acknowledgement",
                    target=target,
                    dport=film.local_port,
                    seq=seq,
                    ack=ack,
                )
                for target in (ROUTER, box)
            ),
            network.attack(
                network.intruders[0],
                "far_acknowledgement",
                source=box,
                sport=film.local_port,
                target=SERVER,
                dport=554,
                seq=ack,
                ack=seq,
            ),
        ):
            attack.result()
        port = next(scene.ports)
        scene.oracle.asks(box, port)
        film.ask("SETUP", f"Transport: MP2T/H2221/UDP;unicast;client_port={port}")
        heard = scene.until(lambda: _opened(scene, box, range(port, port + 1)), 2.0)
        forged = _opened(scene, box, range(6100, 6101))
    figure = f"a later SETUP is {'heard' if heard else 'not heard'}, {len(forged)} forged ones are"
    return Outcome(figure, heard and not forged, beside)


def _place(scene: Scene, film: Viewer) -> tuple[int, int]:
    """Return the sequence number that the server will use next and what it has acknowledged."""
    with scene.network.capture(scene.lab.isp, "iptv") as capture:
        film.ask("GET_PARAMETER")
        time.sleep(0.1)
        place = (0, 0)
        with contextlib.suppress(BlockingIOError):
            while True:
                one = read(capture.recv(65536))
                if one and one.source.port == 554 and one.target.port == film.local_port:
                    place = (one.seq + len(one.data), one.ack)
    assert place[0], "no segment of the film's connection was seen"
    return place


def heads_that_take_long_to_read(scene: Scene) -> Outcome:
    return _asking(scene, "slow_heads", count=_few(28), rate=14)


def three_thousand_setups_at_once(scene: Scene) -> Outcome:
    return _asking(scene, "repeated_setups", pipelined=_few(3000), seconds=2)


def five_hundred_setups_a_second(scene: Scene) -> Outcome:
    return _asking(scene, "repeated_setups", rate=_few(500), seconds=3)


def _asking(scene: Scene, name: str, **words: object) -> Outcome:
    """Ask much of a server that is not the film's, so that only the helper is held up."""
    network = scene.network
    with scene.audience() as beside:
        server = network.attack(network.strangers[1], "hostile_server", kind="plain", seconds=60)
        server.ready()
        address = network.stranger_addresses[1]
        network.attack(network.intruders[0], name, server=address, **words).result()
        time.sleep(0.3)
        server.end()
    figure = f"another box's SETUP waits {beside.longest * 1000:.0f} ms"
    return Outcome(figure, beside.longest < PATIENCE * registry.patience(), beside)


def half_connections(scene: Scene) -> Outcome:
    return _filling(scene, "half_connections", connections=_few(1000), held=64000, rate=_few(8000), stay=0.5)


def many_connections(scene: Scene) -> Outcome:
    return _filling(scene, "many_connections", connections=_few(8192), rate=_few(4000), stay=0.5)


def _filling(scene: Scene, name: str, **words: object) -> Outcome:
    before = scene.helper.memory()
    stranger, intruder = scene.network.strangers[0], scene.network.intruders[0]
    with scene.audience() as beside:
        server = scene.network.attack(stranger, "silent_server", seconds=60)
        server.ready()
        made = scene.network.attack(intruder, name, source=intruder.address, **words).result(120)
        memory = scene.helper.memory()
        server.end()
    figure = f"{made:,} connections: the helper holds {memory:.0f} MiB, {before:.0f} before"
    return Outcome(figure, memory < MEMORY and made > 0, beside)


def syns_of_every_source(scene: Scene) -> Outcome:
    return _flood(scene, "")


def syns_in_the_name_of_a_box(scene: Scene) -> Outcome:
    return _flood(scene, scene.network.boxes[1].address)


def _flood(scene: Scene, source: str) -> Outcome:
    with scene.audience() as beside:
        scene.network.attack(
            scene.network.intruders[0],
            "syn_flood",
            server="172.26.83.67",
            source=source,
            rate=_few(1500),
            seconds=2,
        ).result()
    memory = scene.helper.memory()
    figure = f"another box's SETUP waits {beside.longest * 1000:.0f} ms, the helper holds {memory:.0f} MiB"
    return Outcome(figure, beside.longest < PATIENCE * registry.patience() and memory < MEMORY, beside)


def a_server_that_answers_other_ports(scene: Scene) -> Outcome:
    return _lure(scene, "wide", "more", "low")


def a_server_that_answers_for_ever(scene: Scene) -> Outcome:
    return _lure(scene, "long")


def _lure(scene: Scene, *kinds: str) -> Outcome:
    network = scene.network
    box = network.boxes[1]
    unasked: set[str] = set()
    longest = 0.0
    with scene.audience() as beside:
        for kind in kinds:
            server = network.attack(network.strangers[1], "hostile_server", kind=kind, seconds=20)
            server.ready()
            port = next(scene.ports)
            with Viewer(network, scene.oracle, box, port, server=network.stranger_addresses[1]) as viewer:
                viewer.setup()
                time.sleep(0.4)
                # One port for one is the server's to choose; more, others' and low ones are not.
                mine = [way for way in scene.ways() if way.box == box.address]
                unasked |= {str(way) for way in mine if way.box_port not in _asked(scene, port)}
                longest = max(longest, scene.opened.longest())
            server.end()
    figure = f"{len(unasked)} ports that nobody asked for, the longest for {longest:,.0f} s"
    return Outcome(figure, not unasked and longest <= LONGEST_WAY, beside)


def _asked(scene: Scene, port: int) -> set[int]:
    """The port asked of the hostile server, and those of the probes."""
    return {port, *range(21000, port)} | {*range(port, port + 40)}


def sources_of_the_lan_from_outside(scene: Scene) -> Outcome:
    network = scene.network
    with scene.audience() as beside:
        assert beside.film is not None
        for source in ("192.168.1.77", LAN_ROUTER, ROUTER):
            network.attack(
                network.strangers[0],
                "udp_from",
                source=source,
                source_ports="6000",
                target=ROUTER,
                port=beside.film.seen.port,
                count=3,
            ).result()
        time.sleep(0.2)
        beside.film.drain()
        through = beside.film.tally.foreign
    return Outcome(f"{through} of 9 datagrams come through the film's way", not through, beside)


def segments_that_conntrack_calls_invalid(scene: Scene) -> Outcome:
    intruder = scene.network.intruders[0]
    leaked = 0
    with scene.audience() as beside, scene.network.capture(scene.lab.isp, "iptv") as capture:
        capture.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
        scene.network.attack(intruder, "invalid_segments", source=intruder.address).result()
        time.sleep(0.2)
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = capture.recv(65536)
                leaked += packet[0] == 0x45 and packet[12:15] == bytes((192, 168, 1))
    return Outcome(f"{leaked} packets with LAN addresses on the IPTV side", not leaked, beside)


def a_port_that_another_box_holds(scene: Scene) -> Outcome:
    network = scene.network
    squatter, box = network.intruders[0], network.boxes[1]
    port = 28400
    with scene.audience() as beside, _control(squatter) as held:
        held.sendall(setup(port))
        scene.until(lambda: _opened(scene, squatter.address, range(port, port + 1)))
        with _control(box) as mine:
            mine.sendall(setup(port))
            time.sleep(0.5)
            both = [
                line
                for line in scene.helper.log().splitlines()
                if box.address in line and squatter.address in line and str(port) in line
            ]
    figure = f"the second is refused, {'both addresses are told' if both else 'nobody is told'}"
    return Outcome(figure, bool(both), beside)


def _control(box: LabStb) -> socket.socket:
    return box.call(lambda: socket.create_connection((SERVER, 554), 5 * registry.patience()))


def unasked_answers_of_not_found(scene: Scene) -> Outcome:
    network = scene.network
    with scene.audience() as beside:
        server = network.attack(
            network.strangers[1], "hostile_server", kind="unasked", count=_few(20000), seconds=20
        )
        server.ready()
        before = len(scene.helper.log().splitlines())
        with _lured(scene) as lured:
            heard = 0
            with contextlib.suppress(TimeoutError):
                while heard < _few(20000):
                    data = lured.recv(1 << 18)
                    heard += data.count(b"404 Not")
                    if not data:
                        break
            time.sleep(0.5)
        told = len(scene.helper.log().splitlines()) - before
        server.end()
    return Outcome(f"{heard:,} answers of 404 make {told} lines in the log", heard > 0 and told <= 50, beside)


def _lured(scene: Scene) -> socket.socket:
    address = scene.network.stranger_addresses[1]
    made = scene.network.boxes[1].call(lambda: socket.create_connection((address, 554), 3))
    made.sendall(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
    return made


def text_that_can_be_read_in_two_ways(scene: Scene) -> Outcome:
    intruder = scene.network.intruders[1]
    astray: list[int] = []
    opened: list[int] = []
    with scene.audience() as beside:
        for number, kind in enumerate(("overlap", "retransmission", "lap", "overlapping fragments")):
            port = 31000 + 10 * number
            attack = _ambiguous(scene, intruder, kind, port)
            opened += (here := _opened(scene, intruder.address, range(port, port + 2)))
            # Of two copies behind a gap each server takes the one it likes: nobody can know.
            known = set() if kind == "overlap" else _read_by_the_server(scene)
            astray += sorted(set(here) - known)
            attack.result()
    figure = f"{len(opened)} of 4 open a port, {len(astray)} of them one that the server may not have read"
    return Outcome(figure, not astray, beside)


def honest_text_in_odd_segments(scene: Scene) -> Outcome:
    """No attack: over the end of the sequence numbers and in IP fragments a SETUP is a SETUP."""
    intruder = scene.network.intruders[1]
    opened: list[int] = []
    with scene.audience() as beside:
        for number, kind in enumerate(("wrap", "fragments")):
            port = 31100 + 10 * number
            attack = _ambiguous(scene, intruder, kind, port)
            ports = range(port, port + 2)
            scene.until(lambda ports=ports: _opened(scene, intruder.address, ports))  # type: ignore[misc]
            opened += _opened(scene, intruder.address, ports)
            attack.result()
    return Outcome(f"{len(opened)} of 2 honest SETUPs are heard", opened == [31100, 31110], beside)


def _ambiguous(scene: Scene, intruder: LabStb, kind: str, port: int) -> Attack:
    attack = scene.network.attack(
        intruder,
        "ambiguous_text",
        source=intruder.address,
        sport=port,
        kind=kind,
        port=port,
        stay=0.8 * registry.patience(),
    )
    attack.ready()
    time.sleep(0.4 * registry.patience())
    return attack


def _read_by_the_server(scene: Scene) -> set[int]:
    """The ports that the provider read in SETUPs."""
    found = set()
    for request in scene.network.provider.requests():
        match = re.search(r"client_port=(\d+)", request["headers"].get("transport", ""))
        if match:
            found.add(int(match[1]))
    return found


#: The attacks on a helper that any host of the LAN may ask.
OPEN: dict[str, Scenario] = {
    "1 an answer that nobody asked for": an_answer_that_nobody_asked_for,
    "1 a SETUP forged by a neighbour": a_setup_forged_by_a_neighbour,
    "1 a false end": a_false_end,
    "1 an acknowledgement 2^30 ahead": an_acknowledgement_far_ahead,
    "2 heads that take long to read": heads_that_take_long_to_read,
    "3 3,000 SETUPs at once": three_thousand_setups_at_once,
    "3 500 SETUPs a second": five_hundred_setups_a_second,
    "6 1,000 half connections": half_connections,
    "6 8,192 connections of one host": many_connections,
    "6 SYNs of every LAN address": syns_of_every_source,
    "6 SYNs in the name of a box": syns_in_the_name_of_a_box,
    "7 a server that answers other ports": a_server_that_answers_other_ports,
    "7 a server that answers for ever": a_server_that_answers_for_ever,
    "8 LAN sources from outside": sources_of_the_lan_from_outside,
    "9 INVALID segments": segments_that_conntrack_calls_invalid,
    "10 a port that another box holds": a_port_that_another_box_holds,
    "14 20,000 unasked 404": unasked_answers_of_not_found,
    "text that can be read in two ways": text_that_can_be_read_in_two_ways,
    "honest text in odd segments": honest_text_in_odd_segments,
}


def a_port_of_the_router_itself(scene: Scene) -> Outcome:
    intruder = scene.network.intruders[0]
    with (
        _router_listens(scene, 51820) as listeners,
        scene.audience() as beside,
        _control(intruder) as control,
    ):
        control.sendall(setup(51820))
        time.sleep(0.5)
        ways = [way.port for way in scene.ways() if way.port == 51820]
        taken = _taken_from_the_router(scene, listeners)
    kept, there = "has a way" if ways else "has no way", "is gone" if taken else "arrives"
    return Outcome(f"the router's own port {kept}, its traffic {there}", not ways and not taken, beside)


@contextlib.contextmanager
def _router_listens(scene: Scene, *ports: int) -> Iterator[dict[int, socket.socket]]:
    """Let programs of the router listen, as WireGuard does; long enough for the helper to know."""
    with contextlib.ExitStack() as stack:
        made = (scene.network.udp(scene.lab.router, "0.0.0.0", port, 0.3) for port in ports)
        listeners = {port: stack.enter_context(one) for port, one in zip(ports, made, strict=True)}
        time.sleep(1.1)
        yield listeners


def _taken_from_the_router(scene: Scene, listeners: dict[int, socket.socket]) -> list[int]:
    """The ports whose traffic from the IPTV side does not come to the router's own program."""
    taken = []
    with scene.network.udp(scene.lab.isp, SERVER, 0) as peer:
        for port, listener in listeners.items():
            peer.sendto(b"handshake", (ROUTER, port))
            try:
                listener.recv(100)
            except TimeoutError:
                taken.append(port)
    return taken


#: With ``policy = "accept"``.
ACCEPT: dict[str, Scenario] = {"4 a port of the router itself": a_port_of_the_router_itself}

_ROUTER_PORTS = (53, 67, 68, 123, 520, 51820)


def the_cone_at_ports_of_the_router(scene: Scene) -> Outcome:
    intruder = scene.network.intruders[0]
    with _router_listens(scene, *_ROUTER_PORTS) as listeners, scene.audience() as beside:
        sources = ",".join(map(str, _ROUTER_PORTS))
        scene.network.attack(intruder, "udp_from", source=intruder.address, source_ports=sources).result()
        time.sleep(0.2)
        taken = _taken_from_the_router(scene, listeners)
    return Outcome(f"{len(taken)} of {len(_ROUTER_PORTS)} ports taken: {taken}", not taken, beside)


def the_cone_by_a_hairpin(scene: Scene) -> Outcome:
    """From the IPTV side to the IPTV side, by way of the router, in the name of a box."""
    network, box = scene.network, scene.network.boxes[1].address
    with scene.audience() as beside:
        network.attack(
            network.strangers[0],
            "udp_from",
            source=box,
            source_ports="7777",
            target=network.stranger_addresses[1],
        ).result()
        time.sleep(0.2)
        written = "7777" in scene.cone()
        arrives = scene.arrives(7777, box)
    figure = f"{'a' if written else 'no'} way to a box that sent nothing"
    return Outcome(figure, not written and not arrives, beside)


def the_cone_of_an_honest_box(scene: Scene) -> Outcome:
    """No attack: what the cone is for still works."""
    box = scene.network.boxes[1]
    with scene.audience() as beside, scene.network.udp(box, box.address, 40404) as punch:
        punch.sendto(b"punch", (SERVER, 6000))
        time.sleep(0.2)
        with scene.network.udp(scene.lab.isp, "172.26.83.138", 0) as other:
            other.sendto(b"film", (ROUTER, 40404))
            received = b""
            with contextlib.suppress(TimeoutError):
                received = punch.recv(100)
    return Outcome(
        "an honest box's answer arrives" if received else "nothing arrives", bool(received), beside
    )


#: With ``policy = "accept"`` and ``full_cone = true``.
CONE: dict[str, Scenario] = {
    "4 the cone at ports of the router": the_cone_at_ports_of_the_router,
    "4 the cone by a hairpin": the_cone_by_a_hairpin,
    "the cone of an honest box": the_cone_of_an_honest_box,
}
