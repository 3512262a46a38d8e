"""The pinhole helper on this kernel: real packets through a lab's router, RTSP spoken by the test."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from nftrtsp.config import HelperKind, load
from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.helper import note
from nftrtsp.helper.publish import HelperSubscription
from nftrtsp.lab import registry
from nftrtsp.lab.network import Lab
from nftrtsp.ruleset.build import build
from nftrtsp.ruleset.kernel import Nft
from nftrtsp.ruleset.pinhole import Pinhole, PinholeMap
from nftrtsp.ruleset.render import render
from tests.integration.crossing import forge, numbers

pytestmark = pytest.mark.root

ROUTER = "10.214.0.2"
PORT = 27336


def patience() -> float:
    return 10 * registry.patience()


def until(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + patience()
    while not (result := condition()):
        if time.monotonic() > end:
            pytest.fail(f"did not come true in time: {what}")
        time.sleep(0.01)
    return result


class Helper:
    """A running `nftrtsp helper`, and what it publishes."""

    def __init__(self, lab: Lab, log: Path) -> None:
        self.lab = lab
        self.log_file = log
        self.process: subprocess.Popen[Any] | None = None
        self.events: list[dict[str, Any]] = []
        self._subscription: HelperSubscription | None = None

    def start(self) -> dict[str, Any]:
        with self.log_file.open("ab") as log:
            self.process = self.lab.router.popen_nftrtsp("helper", stderr=log)
        self._subscription = until(self._connect, "the helper publishes")
        return self.wait("hello")

    def _connect(self) -> HelperSubscription | None:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        with contextlib.suppress(OSError):
            return HelperSubscription(self.lab.run_dir / "helper.sock")
        return None

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        if self._subscription:
            self._subscription.close()
        return int(self.process.wait(patience()))

    def log(self) -> str:
        return self.log_file.read_text()

    def receive(self, timeout: float) -> list[dict[str, Any]]:
        assert self._subscription is not None
        return [note.record(line) for line in self._subscription.receive(timeout)]

    def wait(self, event: str, **parts: Any) -> dict[str, Any]:
        """Return the next event of this name and with these parts; what came before it is passed over."""
        end = time.monotonic() + patience()
        while time.monotonic() < end:
            while self.events:
                one = self.events.pop(0)
                if one["event"] == event and all(one.get(key) == value for key, value in parts.items()):
                    return one
            self.events += self.receive(0.2)
        pytest.fail(f"no {event} {parts} was published; the log says:\n{self.log()}")


class Call:
    """A control connection: the set-top box's end, and the server's."""

    def __init__(self, scene: Scene, stb: int) -> None:
        address = (str(scene.lab.rtsp_server), 554)
        self.client = scene.lab.stbs[stb].call(lambda: socket.create_connection(address, patience()))
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server, _ = scene.listener.accept()
        self.server.settimeout(patience())
        self.cseq = 0

    def ask(self, method: str, *fields: str, uri: str = "rtsp://172.26.83.10/film") -> int:
        self.cseq += 1
        self.client.sendall(message(f"{method} {uri} RTSP/1.0", f"CSeq: {self.cseq}", *fields))
        self.heard()
        return self.cseq

    def setup(self, port: int | str, *fields: str) -> int:
        return self.ask("SETUP", f"Transport: MP2T/H2221/UDP;unicast;client_port={port}", *fields)

    def heard(self) -> bytes:
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += self.server.recv(65536)
        return data

    def answer(self, status: str = "200 OK", *fields: str) -> None:
        self.server.sendall(message(f"RTSP/1.0 {status}", f"CSeq: {self.cseq}", *fields))
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += self.client.recv(65536)

    def close(self) -> None:
        self.client.close()
        self.server.close()


def message(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


class Scene:
    """A lab with the pinhole ruleset loaded and a helper that runs."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.helper = Helper(lab, folder / "helper.log")
        self.config = load(lab.config_path)
        self.load_ruleset()
        self.listener = lab.isp.call(lambda: socket.create_server((str(lab.rtsp_server), 554)))
        self.listener.settimeout(patience())
        self.map = lab.router.call(PinholeMap)
        self._calls: list[Call] = []

    def load_ruleset(self) -> None:
        text = render(build(self.config, HelperKind.PINHOLE))

        def load_it() -> None:
            with Nft() as nft:
                nft.load(text)

        self.lab.router.call(load_it)

    def call(self, stb: int = 0) -> Call:
        made = Call(self, stb)
        self._calls.append(made)
        return made

    def ports(self) -> list[int]:
        return sorted(one.port for one in self.map.dump())

    def receiver(self, port: int, stb: int = 0) -> socket.socket:
        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind((self.lab.stbs[stb].address, port))
            made.settimeout(patience())
            return made

        return self.lab.stbs[stb].call(make)

    def sender(self, number: int = 0) -> socket.socket:
        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind((str(self.lab.media_servers[number]), 5000))
            return made

        return self.lab.isp.call(make)

    def arrives(self, port: int, stb: int = 0, media: int = 0) -> bool:
        """Whether a packet from a media server to the router's ``port`` reaches the set-top box."""
        with self.receiver(port, stb) as receiver, self.sender(media) as sender:
            receiver.settimeout(1.0)
            sender.sendto(b"film", (ROUTER, port))
            with contextlib.suppress(TimeoutError):
                return receiver.recv(100) == b"film"
        return False

    def close(self) -> None:
        for call in self._calls:
            call.close()
        self.listener.close()
        self.map.close()
        if self.helper.process is not None and self.helper.process.poll() is None:
            self.helper.end()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.build(stbs=3, media_servers=3, helper="pinhole") as lab:
        yield lab


@pytest.fixture
def scene(lab: Lab, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(lab, tmp_path)
    made.helper.start()
    try:
        yield made
    finally:
        made.close()


def test_a_film_from_an_unknown_server_arrives_after_setup_and_not_before(scene: Scene) -> None:
    assert not scene.arrives(PORT)
    call = scene.call()
    call.setup(PORT)
    opened = scene.helper.wait("way-open", port=PORT)
    assert opened["way"]["stb"] == scene.lab.stbs[0].address
    assert opened["way"]["kind"] == "pinhole"
    assert opened["way"]["tuple"]["dst"] == ROUTER
    call.answer("200 OK", "Session: 77")
    assert scene.arrives(PORT, media=0)
    assert scene.arrives(PORT, media=2)


def test_a_way_is_the_same_object_wherever_it_is_shown(scene: Scene) -> None:
    call = scene.call()
    call.setup(PORT)
    opened = scene.helper.wait("way-open", port=PORT)
    assert list(opened)[:2] == ["time", "event"]  # as conntrack's events begin
    router = scene.lab.router
    listed = json.loads(router.nftrtsp("expectations", "--json").stdout)
    greeting = json.loads(router.nftrtsp("status", "--json").stdout)["helper"]
    for way in (listed, greeting["ways"][0]):
        assert list(way) == list(opened["way"])
        assert {**way, "timeout": 0} == {**opened["way"], "timeout": 0}
    assert listed["tuple"]["dst"] == ROUTER
    scene.helper.end()
    alone = json.loads(router.nftrtsp("expectations", "--json").stdout)
    unknown = {"master": None, "timeout": 0}  # the map does not say who asked
    assert {**alone, **unknown, "tuple": 0, "mask": 0} == {**listed, **unknown, "tuple": 0, "mask": 0}


def test_a_whole_dialogue_is_told_and_ends_clean(scene: Scene) -> None:
    call = scene.call()
    scene.helper.wait("connection-open")
    call.ask("OPTIONS")
    call.answer("200 OK")
    call.setup(PORT)
    call.answer("200 OK", "Session: 77;timeout=60")
    scene.helper.wait("way-open", port=PORT)
    assert scene.helper.wait("response", status=200)["session"] == "77"
    for method in ("PLAY", "PAUSE", "GET_PARAMETER", "PLAY"):
        call.ask(method, "Session: 77")
        call.answer("200 OK", "Session: 77")
    scene.helper.wait("play", session="77")
    scene.helper.wait("pause", session="77")
    call.ask("TEARDOWN", "Session: 77")
    call.answer("200 OK")
    scene.helper.wait("teardown", session="77")
    assert scene.helper.wait("way-closed", port=PORT)["reason"] == "TEARDOWN"
    assert scene.ports() == []
    call.close()
    scene.helper.wait("connection-close")


def test_a_setup_cut_at_every_byte_opens_its_way(scene: Scene) -> None:
    call = scene.call()
    fields = "Transport: MP2T/H2221/UDP;unicast;client_port={}"
    for cut in range(1, 104):  # the shortest of these messages has 105 bytes
        call.cseq += 1
        port = 20000 + cut
        line = (
            f"SETUP rtsp://172.26.83.10/film RTSP/1.0\r\nCSeq: {call.cseq}\r\n{fields.format(port)}\r\n\r\n"
        )
        data = line.encode()
        call.client.sendall(data[:cut])
        assert call.server.recv(cut, socket.MSG_WAITALL)  # it is on its way: the rest is another segment
        call.client.sendall(data[cut:])
        assert call.server.recv(len(data) - cut, socket.MSG_WAITALL)
        scene.helper.wait("way-open", port=port)
        call.answer("454 Session Not Found")
        scene.helper.wait("way-closed", port=port)


def test_a_port_in_use_is_refused_to_another_box_and_free_again_after_teardown(scene: Scene) -> None:
    first, second = scene.call(0), scene.call(1)
    first.setup(PORT)
    first.answer("200 OK", "Session: 1")
    scene.helper.wait("way-open", port=PORT)
    second.setup(PORT)
    refused = scene.helper.wait("way-refused", port=PORT)
    assert refused["reason"] == (f"port {PORT} is in use by {scene.lab.stbs[0].address}, which asked first")
    assert scene.arrives(PORT, stb=0)
    first.ask("TEARDOWN", "Session: 1")
    scene.helper.wait("way-closed", port=PORT)
    second.setup(PORT)
    scene.helper.wait("way-open", port=PORT)
    # The same server and port again: the old film's conntrack entry would lead to the first box.
    time.sleep(0.2)
    assert scene.arrives(PORT, stb=1)


@pytest.mark.parametrize(
    ("transport", "reason"),
    [
        ("MP2T/H2221/UDP;unicast;client_port=1023", "port 1023 is below 1024"),
        ("MP2T/H2221/UDP;unicast;client_port=70000", "port 70000 is no UDP port"),
        (
            "MP2T/H2221/UDP;destination=192.168.1.9;client_port=27336",
            "asked for media to 192.168.1.9, which is another host",
        ),
    ],
)
def test_what_may_not_be_asked_for_is_refused_and_logged(scene: Scene, transport: str, reason: str) -> None:
    call = scene.call()
    call.ask("SETUP", f"Transport: {transport}")
    assert scene.helper.wait("way-refused")["reason"] == reason
    assert scene.ports() == []
    assert f"Living room ({scene.lab.stbs[0].address}): refused: {reason}" in scene.helper.log()


def test_the_ninth_way_of_a_box_is_refused(scene: Scene) -> None:
    call = scene.call()
    for number in range(8):
        call.setup(PORT + number)
        scene.helper.wait("way-open", port=PORT + number)
    call.setup(PORT + 8)
    assert "8 is the limit" in scene.helper.wait("way-refused", port=PORT + 8)["reason"]
    assert scene.ports() == list(range(PORT, PORT + 8))


def test_teardown_of_one_session_leaves_the_other(scene: Scene) -> None:
    call = scene.call()
    for session, port in (("1", PORT), ("2", PORT + 2)):
        call.setup(port)
        call.answer("200 OK", f"Session: {session}")
    scene.helper.wait("response", session="2")
    call.ask("TEARDOWN", "Session: 1")
    scene.helper.wait("way-closed", port=PORT)
    assert scene.ports() == [PORT + 2]
    assert scene.arrives(PORT + 2)


def test_a_pair_of_ports_opens_both(scene: Scene) -> None:
    call = scene.call()
    call.setup(f"{PORT}-{PORT + 1}")
    scene.helper.wait("way-open", port=PORT + 1)
    assert scene.ports() == [PORT, PORT + 1]


@pytest.mark.parametrize("end", ["close", "reset", "server"])
def test_the_end_of_the_connection_closes_its_ways(scene: Scene, end: str) -> None:
    call = scene.call()
    call.setup(PORT)
    call.answer("200 OK", "Session: 1")
    scene.helper.wait("way-open", port=PORT)
    if end == "reset":
        call.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    (call.server if end == "server" else call.client).close()
    scene.helper.wait("way-closed", port=PORT)
    assert scene.ports() == []


def send_early(scene: Scene, sender: socket.socket, receiver: socket.socket) -> None:
    """Let a packet of the film come before its way is open, and see that it does not arrive."""
    receiver.settimeout(0.2)
    sender.sendto(b"early", (ROUTER, PORT))
    with pytest.raises(TimeoutError):
        receiver.recv(100)


def play(scene: Scene, sender: socket.socket, receiver: socket.socket) -> None:
    """Ask for the film, and see that it arrives from that same server and port."""
    call = scene.call()
    call.setup(PORT)
    call.answer("200 OK", "Session: 1")
    scene.helper.wait("way-open", port=PORT)

    def film_arrives() -> bool:
        sender.sendto(b"film", (ROUTER, PORT))
        with contextlib.suppress(TimeoutError):
            return receiver.recv(100) == b"film"
        return False

    until(film_arrives, "the film arrives")


def test_media_that_came_before_its_way_was_open_does_not_swallow_the_film(lab: Lab, tmp_path: Path) -> None:
    # Without the drop policy the early packet makes a conntrack entry that ends at the router.
    text = lab.config_path.read_text()
    lab.write_config(text.replace("[iptv]\n", '[iptv]\npolicy = "accept"\n'))
    scene = Scene(lab, tmp_path)
    try:
        scene.helper.start()
        with scene.sender() as sender, scene.receiver(PORT) as receiver:
            send_early(scene, sender, receiver)
            play(scene, sender, receiver)
    finally:
        lab.write_config(text)
        scene.close()


def test_a_port_of_the_router_is_refused_to_a_host_of_the_lan_and_stays_its_own(
    lab: Lab, tmp_path: Path
) -> None:
    wireguard = 51820
    text = lab.config_path.read_text()
    lab.write_config(text.replace("[iptv]\n", '[iptv]\npolicy = "accept"\n'))
    scene = Scene(lab, tmp_path)
    try:
        service = lab.router.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with service, scene.sender() as peer:
            service.bind(("0.0.0.0", wireguard))
            service.settimeout(patience())
            scene.helper.start()
            call = scene.call(1)
            call.setup(wireguard)
            refused = scene.helper.wait("way-refused", port=wireguard)
            assert "router" in refused["reason"]
            peer.sendto(b"handshake", (ROUTER, wireguard))
            assert service.recv(100) == b"handshake"
        call.answer("200 OK", "Session: 1")
        call.setup(PORT)
        scene.helper.wait("way-open", port=PORT)
        # Another film's entry may lead to another box for a moment more: it is taken away as a stale flow.
        until(lambda: scene.arrives(PORT, stb=1), "the film arrives")
    finally:
        lab.write_config(text)
        scene.close()


@pytest.mark.parametrize("distance", [-(1 << 30), -100_000, 1 << 30], ids=["long ago", "late", "to come"])
def test_forged_segments_of_a_real_connection_open_and_close_nothing(scene: Scene, distance: int) -> None:
    """Beyond the window conntrack takes them for invalid; before it for late, and hands them on."""
    call = scene.call()
    call.setup(PORT)
    call.answer("200 OK", "Session: 1")
    scene.helper.wait("way-open", port=PORT)
    box, server = call.client.getsockname(), (str(scene.lab.rtsp_server), 554)
    setup = message("SETUP rtsp://s/f RTSP/1.0", "CSeq: 9", "Transport: MP2T/UDP;unicast;client_port=27400")
    teardown = message("TEARDOWN rtsp://s/f RTSP/1.0", "CSeq: 9", "Session: 1")
    answer = message("RTSP/1.0 454 No", "CSeq: 1")
    sent, received = numbers(call.client)
    ask = {"seq": (sent + distance) % (1 << 32), "ack": received}
    say = {"seq": (received + distance) % (1 << 32), "ack": sent}
    for flags, asked, said in (
        (0x04, b"", b""),
        (0x11, b"", b""),
        (0x18, setup, answer),
        (0x18, teardown, b""),
    ):
        forge(scene.lab.stbs[1], box, server, asked, flags=flags, **ask)
        forge(scene.lab.isp, server, (ROUTER, box[1]), said, flags=flags, **say)
    call.ask("GET_PARAMETER", "Session: 1")
    call.answer()
    time.sleep(1.5)  # the helper looks once a second
    assert scene.ports() == [PORT]
    assert scene.arrives(PORT)
    # And the connection is still followed.
    call.setup(PORT + 2)
    scene.helper.wait("way-open", port=PORT + 2)


@pytest.mark.parametrize("helper_first", [True, False])
def test_media_that_came_before_the_ruleset_does_not_swallow_the_film(
    lab: Lab, tmp_path: Path, helper_first: bool
) -> None:
    scene = Scene(lab, tmp_path)

    def remove() -> None:
        with Nft() as nft:
            nft.run("delete table inet nftrtsp")

    lab.router.call(remove)
    try:
        if helper_first:
            scene.helper.start()
        with scene.sender(1) as sender, scene.receiver(PORT) as receiver:
            send_early(scene, sender, receiver)
            scene.load_ruleset()
            if helper_first:
                until(lambda: "map is there now" in scene.helper.log(), "the helper sees the ruleset")
            else:
                scene.helper.start()
            play(scene, sender, receiver)
    finally:
        scene.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_helper_that_starts_anew_takes_over_in_the_middle_of_a_film(
    scene: Scene, number: signal.Signals
) -> None:
    call = scene.call()
    call.setup(PORT)
    call.answer("200 OK", "Session: 77;timeout=60")
    scene.helper.wait("response", status=200)
    assert scene.arrives(PORT)
    scene.helper.end(number)
    assert scene.ports() == [PORT]
    assert scene.arrives(PORT, media=1), "the film goes on while no helper runs"
    hello = scene.helper.start()
    assert [way["tuple"]["dport"] for way in hello["ways"]] == [PORT]
    # A new SETUP on the connection that was open all the time, then the end of the old session only.
    call.setup(PORT + 2)
    scene.helper.wait("way-open", port=PORT + 2)
    call.answer("200 OK", "Session: 78")
    call.ask("TEARDOWN", "Session: 77")
    scene.helper.wait("way-closed", port=PORT)
    assert scene.ports() == [PORT + 2]


def test_a_helper_that_is_stopped_holds_up_nobody_and_catches_up(scene: Scene) -> None:
    call = scene.call()
    assert scene.helper.process is not None
    scene.helper.process.send_signal(signal.SIGSTOP)
    try:
        call.setup(PORT)
        call.answer("200 OK", "Session: 1")
        assert scene.ports() == []
    finally:
        scene.helper.process.send_signal(signal.SIGCONT)
    scene.helper.wait("way-open", port=PORT)
    assert scene.arrives(PORT)


def speaks(call: Call, helper: Helper) -> bool:
    """Whether the helper tells of a request and its answer."""
    call.ask("OPTIONS")
    call.answer("200 OK")
    return any(event["event"] == "response" for event in helper.receive(0.5))


def test_after_an_overrun_the_connection_is_followed_again(scene: Scene) -> None:
    call, other = scene.call(0), scene.call(1)
    other.setup(PORT + 2)
    scene.helper.wait("way-open", port=PORT + 2)
    assert scene.helper.process is not None
    scene.helper.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(40000):  # more copies than the receive buffer holds
            call.client.sendall(b"$\x00\x00\x04film")
            call.server.recv(65536)
        call.setup(PORT)  # its copy is lost
    finally:
        scene.helper.process.send_signal(signal.SIGCONT)
    scene.helper.wait("overrun")
    # Until it has read what waits, the kernel drops more: netlink(7), NETLINK_S_CONGESTED.
    until(lambda: speaks(other, scene.helper), "the helper has caught up")
    call.answer("200 OK", "Session: 1", f"Transport: MP2T/H2221/UDP;unicast;client_port={PORT}")
    scene.helper.wait("way-open", port=PORT)
    other.ask("TEARDOWN")
    scene.helper.wait("way-closed", port=PORT + 2)
    call.ask("TEARDOWN", "Session: 1")
    scene.helper.wait("way-closed", port=PORT)


def test_what_ended_while_no_helper_ran_is_closed_at_its_start(scene: Scene) -> None:
    call = scene.call()
    call.setup(PORT)
    scene.helper.wait("way-open", port=PORT)
    scene.helper.end()
    call.client.close()
    call.server.close()
    until(lambda: not scene.lab.router.run(["true"]).returncode, "the router runs")
    scene.map.add([Pinhole(4000, IPv4Address("192.168.1.9").packed, 4000, timeout=60)])
    hello = scene.helper.start()
    assert hello["ways"] == []
    assert scene.ports() == [4000], "an element that somebody else wrote is left alone"


def test_the_ways_are_put_back_when_the_ruleset_is_replaced(scene: Scene) -> None:
    call = scene.call()
    call.setup(PORT)
    scene.helper.wait("way-open", port=PORT)
    scene.load_ruleset()
    until(lambda: scene.ports() == [PORT], "the way is put back")
    assert scene.arrives(PORT)


@pytest.mark.slow
def test_what_ends_without_a_word_is_closed_and_what_lives_is_kept(lab: Lab, tmp_path: Path) -> None:
    text = lab.config_path.read_text()
    lab.write_config(text.replace("[rtsp]\n", '[rtsp]\npause = "10s"\n'))
    scene = Scene(lab, tmp_path)
    try:
        scene.helper.start()
        silent, lives, gone = scene.call(0), scene.call(1), scene.call(2)
        for call, port, timeout in (
            (silent, PORT, ";timeout=1"),
            (lives, PORT + 2, ""),
            (gone, PORT + 4, ""),
        ):
            call.setup(port)
            call.answer("200 OK", f"Session: {port}{timeout}")
            scene.helper.wait("way-open", port=port)

        # The helper does not see how this one ends: its copies are off meanwhile.
        def stop_copies() -> None:
            with Nft() as nft:
                nft.run("flush chain inet nftrtsp attach")

        lab.router.call(stop_copies)
        gone.close()
        began = time.monotonic()
        closed = scene.helper.wait("way-closed", port=PORT + 4)
        assert "gone, says conntrack" in closed["reason"]
        assert scene.helper.wait("way-closed", port=PORT)["reason"] == "the session has expired"
        assert 9 < time.monotonic() - began < 9 + patience()
        time.sleep(max(0.0, began + 16 - time.monotonic()))
        assert scene.ports() == [PORT + 2], "its element was made to begin its time anew"
        scene.helper.end(signal.SIGKILL)
        until(lambda: scene.ports() == [], "without a helper the element runs out by itself")
    finally:
        lab.write_config(text)
        scene.close()


def test_a_film_outlives_a_flush_of_the_conntrack_table(scene: Scene) -> None:
    call = scene.call()
    call.setup(PORT)
    call.answer("200 OK", "Session: 1")
    scene.helper.wait("way-open", port=PORT)
    assert scene.arrives(PORT)

    def flush() -> int:
        with Conntrack() as conntrack:
            return sum(conntrack.delete_flow(flow) for flow in list(conntrack.dump_flows()))

    assert scene.lab.router.call(flush) >= 2
    time.sleep(1.5)  # the helper looks once a second
    assert scene.arrives(PORT)
    # One word each way, and conntrack knows the connection again; until then nothing of it is believed.
    call.ask("GET_PARAMETER", "Session: 1")
    call.answer()
    call.ask("TEARDOWN", "Session: 1")
    scene.helper.wait("way-closed", port=PORT)


def test_a_connection_older_than_conntracks_memory_opens_its_ways_with_the_next_setup(scene: Scene) -> None:
    call = scene.call()
    call.ask("OPTIONS")
    call.answer()
    scene.lab.router.run(["conntrack", "-F"])
    call.ask("OPTIONS")
    call.answer()
    call.setup(PORT)
    call.answer("200 OK", "Session: 1")
    scene.helper.wait("way-open", port=PORT)
    assert scene.arrives(PORT)


def test_media_flows_end_with_teardown_and_only_those(scene: Scene) -> None:
    call = scene.call()
    for session, port in (("1", PORT), ("2", PORT + 2)):
        call.setup(port)
        call.answer("200 OK", f"Session: {session}")
        scene.helper.wait("way-open", port=port)
        assert scene.arrives(port)

    def media() -> list[int]:
        with Conntrack() as conntrack:
            flows = list(conntrack.dump_flows())
        return sorted(flow.orig.dport or 0 for flow in flows if flow.mark & 0x100000)

    assert set(scene.lab.router.call(media)) >= {PORT, PORT + 2}
    call.ask("TEARDOWN", "Session: 1")
    until(lambda: PORT not in scene.lab.router.call(media), "the film's flow has ended")
    assert PORT + 2 in scene.lab.router.call(media)


def test_a_group_that_another_program_reads_is_named(scene: Scene, tmp_path: Path) -> None:
    command = ["env", f"NFTRTSP_RUN_DIR={tmp_path / 'other'}", "nftrtsp", "helper"]
    second = scene.lab.router.run(command, check=False)
    assert second.returncode == 2
    assert "NFLOG group 554: another program reads it; stop that one, or set rtsp.log_group" in second.stderr
    assert second.stderr.count("\n") == 1


def test_without_privilege_the_helper_says_so_in_one_sentence(lab: Lab, tmp_path: Path) -> None:
    command = ["setpriv", "--bounding-set=-net_admin,-sys_admin", "--inh-caps=-all"]
    command += ["env", f"NFTRTSP_RUN_DIR={tmp_path}", "nftrtsp", "helper"]
    refused = lab.router.run(command, check=False)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "was refused; run it as root" in refused.stderr


def test_a_box_that_is_not_configured_is_not_even_copied(scene: Scene) -> None:
    address = (str(scene.lab.rtsp_server), 554)

    def stranger() -> socket.socket:
        subprocess.run(["ip", "address", "add", "192.168.1.77/24", "dev", "eth0"], check=True)
        return socket.create_connection(address, patience(), source_address=("192.168.1.77", 0))

    client = scene.lab.stbs[0].call(stranger)
    server, _ = scene.listener.accept()
    client.sendall(message("SETUP rtsp://x/1 RTSP/1.0", "CSeq: 1", f"Transport: X/UDP;client_port={PORT}"))
    assert server.recv(1000)
    scene.call().setup(PORT + 2)
    assert scene.helper.wait("connection-open")["stb"] == scene.lab.stbs[0].address
    scene.helper.wait("way-open", port=PORT + 2)
    assert scene.ports() == [PORT + 2]
    client.close()
    server.close()


def test_garbage_is_counted_and_passed_through(scene: Scene) -> None:
    call = scene.call()
    call.client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 20)
    assert call.server.recv(11, socket.MSG_WAITALL)[:3] == b"\x16\x03\x01"
    assert "the set-top box" in scene.helper.wait("garbage")["reason"]
    scene.call().setup(PORT)
    scene.helper.wait("way-open", port=PORT)


def test_a_second_helper_is_refused_in_one_sentence(scene: Scene) -> None:
    second = scene.lab.router.nftrtsp("helper", check=False)
    assert second.returncode == 1, "another try may do: the unit starts it again"
    assert second.stderr.count("\n") == 1
    pid = scene.helper.process.pid if scene.helper.process else 0
    assert f"a helper is running already (process {pid}); stop that one first" in second.stderr


def test_without_the_ruleset_the_helper_says_so_and_serves_once_it_is_there(lab: Lab, tmp_path: Path) -> None:
    scene = Scene(lab, tmp_path)

    def remove() -> None:
        with Nft() as nft:
            nft.run("delete table inet nftrtsp")

    lab.router.call(remove)
    try:
        scene.helper.start()
        until(lambda: "nftrtsp apply" in scene.helper.log(), "the log names the remedy")
        scene.load_ruleset()
        scene.call().setup(PORT)
        scene.helper.wait("way-open", port=PORT)
        assert scene.arrives(PORT)
    finally:
        scene.close()


def test_an_interface_that_is_not_there_yet_is_warned_of(lab: Lab, tmp_path: Path) -> None:
    config, log = tmp_path / "nftrtsp.toml", tmp_path / "log"
    config.write_text(lab.config_path.read_text().replace('"vlan2"', '"vlan77"'))
    command = ["env", f"NFTRTSP_RUN_DIR={tmp_path}", "nftrtsp", "helper", "--config", str(config)]
    with log.open("w") as file:
        helper = lab.router.popen(command, stderr=file)
    try:
        until(lambda: "there is no interface vlan77 (iptv.interface)" in log.read_text(), "the warning")
        assert helper.poll() is None, "it serves all the same"
    finally:
        helper.terminate()
        helper.wait(patience())
