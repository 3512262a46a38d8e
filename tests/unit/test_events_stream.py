"""What kernel and helper say, joined once and in order; a helper comes, goes and comes again."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.events import stream as streaming
from nftrtsp.events.news import Heard, HelperLeft, Told
from nftrtsp.events.stream import EventStream, HelperStream, Said, in_order
from nftrtsp.helper.note import Hello, Setup
from nftrtsp.helper.publish import Publisher


def heard(at: float) -> Heard:
    return Heard(Event(EventType.NEW, at))


def told(at: float) -> Told:
    return Told(at, Setup(time=at))


def times(said: list[Said]) -> list[tuple[str, float]]:
    return [(type(one).__name__, one.time) for one in said]


def test_two_parties_are_one_stream_in_the_order_of_their_times() -> None:
    said = in_order([heard(1).event, heard(3).event, heard(5).event], [told(2), told(3), told(9)])
    assert times(said) == [
        ("Heard", 1),
        ("Told", 2),
        ("Told", 3),  # the helper opens a port before the kernel can see the film
        ("Heard", 3),
        ("Heard", 5),
        ("Told", 9),
    ]


@pytest.mark.parametrize("clocks", itertools.product((1.0, 2.0, 3.0), repeat=4))
def test_each_party_s_own_order_is_kept_whatever_its_clock_says(clocks: tuple[float, ...]) -> None:
    """The wall clock may be set back between two events."""
    events, lines = [heard(at).event for at in clocks[:2]], [told(at) for at in clocks[2:]]
    said = in_order(events, lines)
    assert [one.event for one in said if isinstance(one, Heard)] == events
    assert [one for one in said if isinstance(one, Told)] == lines
    assert len(said) == 4


class Kernel:
    """A source whose events are handed in; its descriptor is a pipe's."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.end, self._other = os.pipe()

    def fileno(self) -> int:
        return self.end

    def poll(self, timeout: float | None = None) -> list[Event]:
        del timeout
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        os.close(self.end)
        os.close(self._other)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    monkeypatch.setattr(streaming, "RETRY", 0.0)
    made = Kernel()
    yield made
    made.close()


def test_a_helper_is_joined_when_it_comes_and_done_without_when_it_goes(
    kernel: Kernel, tmp_path: Path
) -> None:
    path = tmp_path / "helper.sock"
    stream = EventStream(kernel, HelperStream(path))
    (left,) = stream.take()
    assert isinstance(left, HelperLeft)
    kernel.events.append(heard(1).event)
    assert stream.take() == [heard(1)], "that no helper is there is said once"
    for turn in (1, 2):
        publisher = Publisher(partial(Hello, pid=turn), path=path)
        stream.take()
        publisher.accept()
        stream.wait(1)
        (hello,) = stream.take()
        assert isinstance(hello, Told)
        assert hello.line == Hello(pid=turn)
        assert len(stream.filenos()) == 2
        publisher.close()
        stream.wait(1)
        (left,) = stream.take()
        assert isinstance(left, HelperLeft)
        assert left.why == "the helper has ended"
        assert stream.take() == []
    stream.close()


def test_what_could_not_be_read_is_counted_over_all_helpers(kernel: Kernel, tmp_path: Path) -> None:
    import socket

    helper = HelperStream(tmp_path / "helper.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "helper.sock"))
        listener.listen()
        for turn in (2, 4):
            helper.receive()
            end, _ = listener.accept()
            end.sendall(b'nonsense\n{"event":"of-tomorrow"}\n')
            stream = EventStream(kernel, helper)
            stream.wait(1)
            stream.take()
            assert helper.passed_over == turn
            end.close()
            stream.wait(1)
            assert [type(one) for one in stream.take()] == [HelperLeft]
    helper.close()
