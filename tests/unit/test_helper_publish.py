"""What a helper publishes: who gets it, and that nobody can hold it up."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from nftrtsp.conntrack.record import Ends, OpenPortRecord
from nftrtsp.errors import BusyError, StateError
from nftrtsp.helper.lock import Lock
from nftrtsp.helper.note import (
    NOTES,
    Hello,
    HelperCounters,
    Line,
    Setup,
    Untold,
    WayClosed,
    WayOpen,
    note,
    record,
)
from nftrtsp.helper.notify import notify, watchdog_interval
from nftrtsp.helper.publish import Bye, HelperSubscription, Publisher, ask, decode, inquire, subscribe


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    made = Publisher(Hello, path=tmp_path / "helper.sock")
    yield made
    made.close()


def join(publisher: Publisher) -> HelperSubscription:
    subscription = HelperSubscription(publisher.path)
    publisher.accept()
    return subscription


def test_a_reader_is_greeted_and_gets_each_event(publisher: Publisher) -> None:
    reader = join(publisher)
    publisher.publish(WayOpen(stb="192.168.1.200", port=27336))
    first, second = reader.receive(1)
    assert first == Hello()
    assert second.time is not None
    assert abs(second.time - time.time()) < 60
    assert second == WayOpen(time=second.time, stb="192.168.1.200", port=27336)
    said = msgspec.json.decode(msgspec.json.encode(second))
    assert set(said) == {"event", "stb", "port", "time"}, "absent parts are absent"


@pytest.mark.parametrize("kind", NOTES)
def test_every_kind_of_line_arrives_as_it_was_said(publisher: Publisher, kind: str) -> None:
    texts = {"session": "1", "uri": "rtsp://s/1", "reason": "so", "holder": "192.168.1.201"}
    way = OpenPortRecord(tuple=Ends("0.0.0.0", 0, "10.214.0.2", 27336), flags=["permanent"])
    all_parts = {"port": 27336, "cseq": 3, "status": 200, "count": 7, "kinds": {"setup": 7}, "way": way}
    fields = NOTES[kind].__struct_fields__
    said = NOTES[kind](**{key: part for key, part in (texts | all_parts).items() if key in fields})  # type: ignore[arg-type]
    reader = join(publisher)
    publisher.publish(said)
    _, heard = reader.receive(1)
    assert heard == msgspec.structs.replace(said, time=heard.time)
    assert record(heard)["event"] == kind


class Plain:
    """A helper of another version: says what it is told to say, byte for byte."""

    def __init__(self, path: Path, *lines: bytes) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.reader = HelperSubscription(path)
        end, _ = self.listener.accept()
        end.sendall(b"".join(line + b"\n" for line in lines))
        self.end = end

    def close(self) -> None:
        for part in (self.reader, self.end, self.listener):
            part.close()


def test_a_newer_helper_is_understood_as_far_as_it_says_what_is_known(tmp_path: Path) -> None:
    helper = Plain(
        tmp_path / "helper.sock",
        b'{"event":"hello","kind":"pinhole","protocol":2,"moon":"full","counters":{"tides":3,"setups":1}}',
        b'{"event":"of-tomorrow","stb":"192.168.1.200"}',
        b'{"event":"setup","stb":"192.168.1.200","port":27336,"colour":"green"}',
    )
    assert helper.reader.receive(1) == [
        Hello(kind="pinhole", protocol=2, counters=HelperCounters(setups=1)),
        Setup(stb="192.168.1.200", port=27336),
    ]
    assert (helper.reader.unknown, helper.reader.malformed) == (1, 0)
    helper.close()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"nonsense",
        b"[1]",
        b'{"event":7}',
        b'{"event":"setup","time":"x"}',
        b'{"event":"way-open","way":{"tuple":null}}',
        b'{"event":"way-open","way":{"tuple":{"dport":"x"}}}',
        b'{"event":"hello","ways":["x",3,null]}',
        b'{"event":"response","status":"200"}',
    ],
)
def test_a_line_that_is_none_is_counted_and_passed_over(tmp_path: Path, line: bytes) -> None:
    helper = Plain(tmp_path / "helper.sock", line, b'{"event":"setup","port":27336}')
    assert helper.reader.receive(1) == [Setup(port=27336)]
    assert (helper.reader.unknown, helper.reader.malformed) == (0, 1)
    helper.close()


def test_the_lines_of_the_first_helpers_are_read_as_ever() -> None:
    """The wire stays as docs/design.md has it, whatever the structs are called."""
    said = (
        b'{"time":1.5,"event":"way-closed","stb":"192.168.1.200","client":"192.168.1.200:41193",'
        b'"server":"172.26.83.10:554","port":27336,"session":"8","uri":"rtsp://s/1","reason":"TEARDOWN",'
        b'"way":{"kind":"pinhole","id":27336,"family":"ipv4","timeout":0,"proto":"udp","tuple":{"src":'
        b'"0.0.0.0","sport":0,"dst":"10.214.0.2","dport":27336},"mask":{"src":"0.0.0.0","sport":0,"dst":'
        b'"255.255.255.255","dport":65535},"master":{"src":"192.168.1.200","sport":41193,"dst":'
        b'"172.26.83.10","dport":554},"helper":"rtsp","class":0,"flags":["permanent"],"function":null,'
        b'"zone":0,"nat":{"direction":1,"src":"192.168.1.200","sport":27336,"dst":"0.0.0.0","dport":0},'
        b'"any_source":true,"stb":"192.168.1.200","stb_name":"Living room"}}'
    )
    line = decode(said)
    assert isinstance(line, WayClosed)
    assert line.way is not None
    assert line.way.asker is not None
    assert msgspec.json.encode(record(line)) == said


def test_the_socket_is_for_root_and_its_group_only(publisher: Publisher) -> None:
    assert stat.S_IMODE(publisher.path.stat().st_mode) == 0o660


def test_a_reader_that_does_not_read_is_dropped_and_the_others_are_served(publisher: Publisher) -> None:
    slow, quick = join(publisher), join(publisher)
    got = len(quick.receive(1))
    for _ in range(20000):
        publisher.publish(Setup(uri="rtsp://s/" + "x" * 400))
        got += len(quick.receive(0))
    assert publisher.readers == 1
    assert publisher.dropped == 1
    assert got == 20001
    with pytest.raises(ConnectionResetError):
        _read_to_the_end(slow)


def _read_to_the_end(reader: HelperSubscription) -> None:
    while True:
        reader.receive(1)


BOX, OTHER = "192.168.1.200", "192.168.1.201"


def flood(publisher: Publisher, count: int = 3000) -> None:
    """Say what a box can have said in 0.2 s, while readers do something else."""
    for number in range(count):
        uri = f"rtsp://172.26.83.10/{number:0200}"
        publisher.publish(Setup(stb=BOX, client=f"{BOX}:40000", port=27336, cseq=number, uri=uri))


def said_of(lines: list[Line], stb: str) -> list[Line]:
    return [line for line in lines if not isinstance(line, Hello) and line.stb == stb]


@pytest.mark.root
def test_a_box_that_floods_does_not_hide_the_others(publisher: Publisher) -> None:
    reader = join(publisher)
    flood(publisher)
    publisher.publish(WayOpen(stb=OTHER, port=27400))
    flood(publisher)
    publisher.publish(WayClosed(stb=OTHER, port=27400))
    heard = reader.receive(1)
    assert (publisher.readers, publisher.dropped) == (1, 0), "nobody is hung up on"
    assert [line.event for line in said_of(heard, OTHER)] == ["way-open", "way-closed"]
    publisher.tell_untold()
    (untold,) = reader.receive(1)
    assert isinstance(untold, Untold)
    assert (untold.stb, untold.kinds) == (BOX, {"setup": untold.count})
    assert untold.count + len(said_of(heard, BOX)) == 6000
    assert publisher.untold == untold.count


@pytest.mark.root
@pytest.mark.parametrize("boxes", [2, 20, 100])
def test_many_boxes_that_flood_together_do_not_hide_one(publisher: Publisher, boxes: int) -> None:
    reader = join(publisher)
    for number in range(6000):
        publisher.publish(Setup(stb=f"192.168.7.{number % boxes}", cseq=number, uri="rtsp://s/" + "x" * 200))
    publisher.publish(WayOpen(stb=OTHER, port=27400))
    assert publisher.dropped == 0
    assert [line.event for line in said_of(reader.receive(1), OTHER)] == ["way-open"]
    publisher.tell_untold()
    assert len(reader.receive(1)) == min(boxes, 9), "eight by name, the others together"


@pytest.mark.root
def test_whoever_missed_that_a_port_was_opened_is_greeted_anew(publisher: Publisher) -> None:
    reader = join(publisher)
    flood(publisher)
    publisher.publish(WayOpen(stb=BOX, port=27336))
    assert "way-open" not in [line.event for line in reader.receive(1)]
    publisher.publish(Setup(stb=OTHER))
    assert [line.event for line in reader.receive(1)] == ["left-out", "hello", "setup"]


@pytest.mark.root
def test_who_keeps_reading_gets_all_of_a_flood(publisher: Publisher) -> None:
    reader = join(publisher)
    got = []
    for _ in range(60):
        flood(publisher, 50)
        got += said_of(reader.receive(0), BOX)
    assert len(got) == 3000


def test_a_stopped_helper_listens_and_does_not_answer(publisher: Publisher) -> None:
    assert inquire(publisher.path, timeout=0.05).listens
    assert inquire(publisher.path, timeout=0.05).hello is None
    assert not inquire(publisher.path.with_name("none"), timeout=0.05).listens


def test_a_socket_that_a_dead_helper_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "helper.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    assert ask(path) is None
    publisher = Publisher(Hello, path=path)
    reader = join(publisher)
    assert reader.receive(1) == [Hello()]
    publisher.close()
    assert not path.exists()


def test_readers_come_back_to_a_helper_that_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "helper.sock"
    publisher = Publisher(lambda: Hello(pid=1), path=path)
    events = subscribe(path, retry=0.01)

    def following() -> Line | Bye:
        import threading

        found: list[Line | Bye] = []
        thread = threading.Thread(target=lambda: found.append(next(events)))
        thread.start()
        while thread.is_alive():
            publisher.accept()
            thread.join(0.01)
        return found[0]

    assert following() == Hello(pid=1)
    publisher.close()
    assert isinstance(next(events), Bye)
    publisher = Publisher(lambda: Hello(pid=2), path=path)
    assert following() == Hello(pid=2)
    publisher.close()


def test_more_readers_than_there_may_be_are_turned_away(publisher: Publisher) -> None:
    readers = [join(publisher) for _ in range(40)]
    assert publisher.readers == 32
    for reader in readers[:10]:
        reader.close()
    readers.append(join(publisher))
    assert publisher.readers == 23


@pytest.mark.root
def test_a_reader_of_a_long_greeting_is_not_waited_for_and_gets_all_of_it(tmp_path: Path) -> None:
    ways = tuple(OpenPortRecord(tuple=Ends(dport=port), function="x" * 99) for port in range(1 << 14))
    publisher = Publisher(lambda: Hello(ways=ways), path=tmp_path / "helper.sock")
    silent = [join(publisher) for _ in range(3)]
    assert publisher.readers == 3
    lines: list[Line] = []
    while not lines:
        lines = silent[2].receive(1)
    assert lines == [Hello(ways=ways)]
    publisher.close()


def test_a_path_too_long_for_a_socket_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="NFTRTSP_RUN_DIR"):
        Publisher(Hello, path=tmp_path / ("x" * 120) / "helper.sock")


def test_one_lock_one_helper(tmp_path: Path) -> None:
    first = Lock(tmp_path / "run")
    with pytest.raises(BusyError, match=rf"running already \(process {os.getpid()}\)"):
        Lock(tmp_path / "run")
    first.release()
    assert not first.pid_file.exists()
    Lock(tmp_path / "run").release()


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_that_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    name = f"@nftrtsp-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert notify("READY=1", "STATUS=serving")
        assert systemd.recv(100) == b"READY=1\nSTATUS=serving"


def test_nothing_happens_where_no_systemd_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/socket")
    assert notify("READY=1")


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("30000000", None, 15.0),
        ("30000000", "1", None),
        ("", None, None),
        ("x", None, None),
        ("0", None, None),
    ],
)
def test_the_watchdog_is_fed_in_half_the_time_it_allows(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str | None, expected: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    assert watchdog_interval() == expected


def test_what_a_box_made_up_cannot_steer_a_terminal() -> None:
    told = note(WayClosed, uri="rtsp://x/\x1b]0;t\x07é\n", reason="Sí, vale", port=27336)
    assert told == WayClosed(uri="rtsp://x/\\x1b]0;t\\x07é\\n", reason="Sí, vale", port=27336)
