"""One box floods the pinhole helper; the films of the others begin as if it were not there."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nftrtsp.lab.network import Lab
from nftrtsp.netlink.socket import open_netlink
from nftrtsp.netlink.table_watch import NFNLGRP_NFTABLES
from tests.integration.test_pinhole import PORT, Call, Scene, lab, message, scene, until

__all__ = ["lab", "scene"]
pytestmark = pytest.mark.root

BAR = 0.1  # seconds from a box's SETUP to its way, while another one floods, on a machine of its own
FILMS = 40
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1


def setup(cseq: int, port: int) -> bytes:
    transport = f"Transport: MP2T/H2221/UDP;unicast;client_port={port}"
    return message("SETUP rtsp://172.26.83.10/film RTSP/1.0", f"CSeq: {cseq}", transport)


@contextlib.contextmanager
def flooding(call: Call, flood: Callable[[threading.Event], None]) -> Iterator[None]:
    """Let ``flood`` run beside; what it sends on ``call`` is read at the other end."""
    stop = threading.Event()

    def sink() -> None:
        with contextlib.suppress(OSError):
            while call.server.recv(1 << 18):
                pass

    threads = [threading.Thread(target=sink, daemon=True)]
    threads.append(threading.Thread(target=flood, args=(stop,), daemon=True))
    call.server.settimeout(None)
    for one in threads:
        one.start()
    try:
        yield
    finally:
        stop.set()
        threads[1].join(10)
        call.server.shutdown(socket.SHUT_RDWR)
        threads[0].join(10)


def delays(scene: Scene, calls: list[Call], pause: float = 0.02) -> list[float]:
    """Return the seconds from SETUP to open way of film after film, each at a port of its own."""
    found = []
    for number in range(FILMS):
        call, port = calls[number % len(calls)], 20000 + 2 * number
        began = time.time()
        call.setup(port)
        found.append(scene.helper.wait("way-open", port=port)["time"] - began)
        call.answer("454 Session Not Found")
        scene.helper.wait("way-closed", port=port)
        time.sleep(pause)
    return found


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def held_up(scene: Scene, calls: list[Call]) -> float:
    """Return the p99 of :func:`delays` in seconds, less what this machine alone is guilty of.

    Other tests run beside this one: a thread that only sleeps tells how late a wake-up comes meanwhile, and
    from SETUP to the news of it there are four (two ends of the log, the helper, its listener).
    """
    late, ended = [0.0], threading.Event()

    def sleep() -> None:
        while not ended.is_set():
            began = time.monotonic()
            time.sleep(0.005)
            late.append(time.monotonic() - began - 0.005)

    sleeper = threading.Thread(target=sleep, daemon=True)
    sleeper.start()
    try:
        found = p99(delays(scene, calls))
    finally:
        ended.set()
        sleeper.join()
    return found - 4 * p99(late)


def pipelined(call: Call) -> Callable[[threading.Event], None]:
    def flood(_stop: threading.Event) -> None:
        for number in range(3000):
            call.client.sendall(setup(100 + number, PORT))

    return flood


def sustained(call: Call) -> Callable[[threading.Event], None]:
    def flood(stop: threading.Event) -> None:
        began, sent = time.monotonic(), 0
        while not stop.wait(max(0.0, began + sent / 500 - time.monotonic())):
            call.client.sendall(setup(100 + sent, PORT))
            sent += 1

    return flood


@pytest.mark.parametrize("kind", [pipelined, sustained])
def test_who_repeats_its_setup_again_and_again_holds_up_nobody(scene: Scene, kind: Any) -> None:
    flooder, others = scene.call(0), [scene.call(1), scene.call(2)]
    flooder.setup(PORT)
    flooder.answer("200 OK", "Session: 1")
    scene.helper.wait("way-open", port=PORT)
    with flooding(flooder, kind(flooder)):
        assert held_up(scene, others) < BAR
        assert scene.ports() == [PORT], "its own film goes on"


class Transactions:
    """Counts the transactions of nf_tables in the router."""

    def __init__(self, scene: Scene) -> None:
        def opened() -> socket.socket:
            made = open_netlink()
            made.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
            made.setblocking(False)
            return made

        self.socket = scene.lab.router.call(opened)

    def count(self) -> int:
        count = 0
        with contextlib.suppress(BlockingIOError):
            while self.socket.recv(1 << 17):
                count += 1
        return count


def test_repeats_that_change_nothing_are_not_told_to_the_kernel(scene: Scene) -> None:
    call = scene.call()
    call.setup(PORT)
    call.answer("200 OK", "Session: 1")
    scene.helper.wait("way-open", port=PORT)
    time.sleep(0.3)  # the session is written down
    transactions = Transactions(scene)
    with contextlib.closing(transactions.socket):
        for _ in range(100):
            call.setup(PORT)
            call.answer("200 OK", "Session: 1")
        scene.helper.wait("setup", cseq=call.cseq)
        time.sleep(0.3)
        # A transaction is two datagrams. Each repeat was one (refused) and a second one before.
        assert transactions.count() <= 8
    assert scene.arrives(PORT)


def test_a_session_is_written_beside_its_element_soon_after_the_answer(scene: Scene) -> None:
    call = scene.call()
    call.setup(PORT)
    call.answer("200 OK", "Session: 4711;timeout=30")
    scene.helper.wait("way-open", port=PORT)
    until(lambda: scene.map.dump()[0].comment.endswith(" 4711 30"), "the session is in the map")


def test_a_port_goes_from_box_to_box_without_a_moment_for_the_wrong_one(scene: Scene) -> None:
    first, second = scene.call(0), scene.call(1)
    for call, stb in ((first, 0), (second, 1), (first, 0)):
        call.setup(PORT)
        call.answer("200 OK", "Session: 1")
        scene.helper.wait("way-open", port=PORT)
        (one,) = scene.map.dump()
        assert one.stb == socket.inet_aton(scene.lab.stbs[stb].address)
        call.ask("TEARDOWN", "Session: 1")
        call.answer("200 OK")
        scene.helper.wait("way-closed", port=PORT)
        assert scene.ports() == []


def test_a_server_that_promises_for_ever_gets_a_day(scene: Scene) -> None:
    call = scene.call()
    call.setup(PORT)
    call.answer("200 OK", "Session: 1;timeout=999999999")
    scene.helper.wait("way-open", port=PORT)
    time.sleep(0.3)
    assert 3600 <= (scene.map.dump()[0].timeout or 0) <= 86400
    assert scene.arrives(PORT)


def test_what_a_map_or_an_earlier_helper_claims_is_judged_as_a_request_is(scene: Scene) -> None:
    call = scene.call()
    call.setup(PORT)
    call.answer("200 OK", "Session: 1")
    scene.helper.wait("way-open", port=PORT)
    scene.helper.end()
    box = scene.lab.stbs[0].address
    client = f"{box}:{call.client.getsockname()[1]} 172.26.83.10:554"
    scene.lab.router.run(
        ["nft", "-f", "-"],
        input="\n".join(
            f"add element inet nftrtsp pinholes {{ {port} timeout {time} comment "
            f'"{text}" : {to} . {stb_port} }}'
            for port, time, text, to, stb_port in (
                (80, "1h", f"{client} a 60", box, 80),  # below 1024
                (5000, "1h", f"{client} b 60", box, 53),  # not the port that was asked for
                (5001, "1h", f"{box}:1 172.26.83.10:554 c 60", box, 5001),  # no such connection
                (5002, "9999d", f"{client} d 999999999", box, 5002),  # for ever
                (5003, "1h", "192.168.1.77:1 172.26.83.10:554 e 60", "192.168.1.77", 5003),  # may not ask
                (5004, "1h", "by hand", "192.168.1.9", 5004),  # none of ours
            )
        ),
    )
    hello = scene.helper.start()
    assert sorted(way["tuple"]["dport"] for way in hello["ways"]) == [5002, PORT]
    until(
        lambda: scene.ports() == [5002, 5004, PORT], "what is refused is taken away, what is not ours stays"
    )
    until(
        lambda: all(0 < (one.timeout or 0) <= 86400 for one in scene.map.dump() if one.port == 5002),
        "no element stays for longer than a day",
    )
    assert scene.arrives(PORT)


#: Sends SYNs to the RTSP server from made-up addresses of the LAN, as fast as it can, until it is ended.
SPOOFER = """
import random, socket, struct
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
server = socket.inet_aton("172.26.83.10")
packets = []
for _ in range(30000):
    source = bytes((192, 168, 1, random.randrange(2, 255)))
    port = random.randrange(1024, 65536)
    tcp = struct.pack("!HHIIBBHHH", port, 554, random.getrandbits(32), 0, 0x50, 2, 1000, 0, 0)
    data = source + server + struct.pack("!BBH", 0, 6, len(tcp)) + tcp
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    tcp = tcp[:16] + total.to_bytes(2, "big") + tcp[18:]
    packets.append(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, source, server) + tcp)
print(flush=True)
while True:
    for packet in packets:
        try:
            raw.sendto(packet, ("172.26.83.10", 554))
        except OSError:
            pass
"""


@contextlib.contextmanager
def spoofing(scene: Scene) -> Iterator[None]:
    """Let a third host pretend to be everybody; it is ended afterwards."""
    spoofer = scene.lab.stbs[2].popen([sys.executable, "-c", SPOOFER], stdout=subprocess.PIPE)
    try:
        assert spoofer.stdout is not None
        spoofer.stdout.readline()
        yield
    finally:
        spoofer.kill()
        spoofer.wait()
        if spoofer.stdout is not None:
            spoofer.stdout.close()


def test_connections_from_made_up_addresses_hold_up_nobody(lab: Lab, tmp_path: Path) -> None:
    text = lab.config_path.read_text()
    lab.write_config(text.partition("[[stb]]")[0])  # any LAN address may ask
    scene = Scene(lab, tmp_path)
    try:
        scene.helper.start()
        known, new = scene.call(0), scene.call(1)
        known.setup(PORT)
        known.answer("200 OK", "Session: 1")
        scene.helper.wait("way-open", port=PORT)
        with spoofing(scene):
            assert held_up(scene, [known]) < BAR
            assert held_up(scene, [new]) < BAR
            assert scene.arrives(PORT)
    finally:
        lab.write_config(text)
        scene.close()


def test_noise_on_the_log_group_ends_no_helper(scene: Scene) -> None:
    def noise() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
            for _ in range(2000):
                junk = os.urandom(random.randrange(20, 120))
                head = struct.pack("!HHIIBBHHH", 40000, 554, 7, 9, 0x50, 0x10, 1000, 0, 0)
                raw.sendto(head + junk, (str(scene.lab.rtsp_server), 554))
                raw.sendto(junk, (str(scene.lab.rtsp_server), 554))

    scene.lab.stbs[0].call(noise)
    call = scene.call(1)
    call.setup(PORT)
    scene.helper.wait("way-open", port=PORT)
    until(lambda: scene.arrives(PORT, stb=1), "the film arrives")
