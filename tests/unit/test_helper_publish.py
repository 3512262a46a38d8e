"""What a helper publishes: who gets it, and that nobody can hold it up."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nftrtsp.errors import BusyError, StateError
from nftrtsp.helper.lock import Lock
from nftrtsp.helper.note import Note, note
from nftrtsp.helper.notify import notify, watchdog_interval
from nftrtsp.helper.publish import Publisher, Subscription, ask, subscribe


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    made = Publisher(lambda: {"event": "hello", "ways": []}, path=tmp_path / "helper.sock")
    yield made
    made.close()


def join(publisher: Publisher) -> Subscription:
    subscription = Subscription(publisher.path)
    publisher.accept()
    return subscription


def test_a_reader_is_greeted_and_gets_each_event(publisher: Publisher) -> None:
    reader = join(publisher)
    publisher.publish(Note(event="way-open", stb="192.168.1.200", port=27336))
    first, second = reader.receive(1)
    assert first == {"event": "hello", "ways": []}
    assert {key: second[key] for key in ("event", "stb", "port")} == {
        "event": "way-open",
        "stb": "192.168.1.200",
        "port": 27336,
    }
    assert abs(second["time"] - time.time()) < 60
    assert set(second) == {"event", "stb", "port", "time"}, "absent parts are absent"


def test_the_socket_is_for_root_and_its_group_only(publisher: Publisher) -> None:
    assert stat.S_IMODE(publisher.path.stat().st_mode) == 0o660


def test_a_reader_that_does_not_read_is_dropped_and_the_others_are_served(publisher: Publisher) -> None:
    slow, quick = join(publisher), join(publisher)
    got = len(quick.receive(1))
    for _ in range(20000):
        publisher.publish(Note(event="setup", uri="rtsp://s/" + "x" * 400))
        got += len(quick.receive(0))
    assert publisher.readers == 1
    assert publisher.dropped == 1
    assert got == 20001
    with pytest.raises(ConnectionResetError):
        _read_to_the_end(slow)


def _read_to_the_end(reader: Subscription) -> None:
    while True:
        reader.receive(1)


def test_a_socket_that_a_dead_helper_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "helper.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    assert ask(path) is None
    publisher = Publisher(lambda: {"event": "hello"}, path=path)
    reader = join(publisher)
    assert reader.receive(1) == [{"event": "hello"}]
    publisher.close()
    assert not path.exists()


def test_readers_come_back_to_a_helper_that_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "helper.sock"
    publisher = Publisher(lambda: {"event": "hello", "pid": 1}, path=path)
    events = subscribe(path, retry=0.01)

    def following() -> dict[str, Any]:
        import threading

        found: list[dict[str, Any]] = []
        thread = threading.Thread(target=lambda: found.append(next(events)))
        thread.start()
        while thread.is_alive():
            publisher.accept()
            thread.join(0.01)
        return found[0]

    assert following() == {"event": "hello", "pid": 1}
    publisher.close()
    assert next(events)["event"] == "bye"
    publisher = Publisher(lambda: {"event": "hello", "pid": 2}, path=path)
    assert following() == {"event": "hello", "pid": 2}
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
    ways = [{"stb": "192.168.1.200", "port": port, "text": "x" * 300} for port in range(1 << 14)]
    publisher = Publisher(lambda: {"event": "hello", "ways": ways}, path=tmp_path / "helper.sock")
    silent = [join(publisher) for _ in range(3)]
    assert publisher.readers == 3
    events: list[dict[str, Any]] = []
    while not events:
        events = silent[2].receive(1)
    assert len(events[0]["ways"]) == 1 << 14
    publisher.close()


def test_a_path_too_long_for_a_socket_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="NFTRTSP_RUN_DIR"):
        Publisher(dict, path=tmp_path / ("x" * 120) / "helper.sock")


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
    told = note("setup", uri="rtsp://x/\x1b]0;t\x07é\n", reason="Sí, vale", port=27336)
    assert (told.uri, told.reason, told.port) == ("rtsp://x/\\x1b]0;t\\x07é\\n", "Sí, vale", 27336)
