"""Recordings survive kills and appends, and replay shows what live did."""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec
import pytest

from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.record import OpenPortRecord
from nftrtsp.errors import StateError
from nftrtsp.events.news import Began, Gauged, Heard, HelperLeft, Kept, Listed, News, Strayed, Told
from nftrtsp.events.recording import START, Recorder, Recording, config_data
from nftrtsp.films.phase import Phase
from nftrtsp.helper.note import WayOpen
from nftrtsp.monitor.replay import Replay
from tests.unit import scenes
from tests.unit.monitor_scenes import Watched
from tests.unit.scenes import T0, expectation, make_config, media, pinhole

DEMO = Path(__file__).parents[2] / "nftrtsp/monitor/demo.nftr"


def some_news(start: float = T0, count: int = 5) -> list[News]:
    news: list[News] = [Began(start, "router", "1", config_data(make_config()))]
    for second in range(count):
        at = start + second
        news.append(Heard(Event(EventType.NEW, at, media(port=27000 + second))))
        news.append(Heard(Event(EventType.EXPECT_NEW, at, None, expectation(port=27000 + second))))
        news.append(Listed(at, (media(packets=second * 500),), (expectation(),)))
        news.append(
            Told(at, WayOpen(time=at, stb=scenes.BOX, way=msgspec.convert(pinhole(), OpenPortRecord)))
        )
        news.append(Strayed(at, scenes.MEDIA, 48440, 27336, 9))
        news.append(HelperLeft(at, "ended"))
        news.append(Gauged(at, at - T0, ("10.214.0.2",), 1, 2, 3, 4))
    return news


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def write(path: Path, news: list[News], *, clock: Clock | None = None) -> None:
    clock = clock or Clock()
    recorder = Recorder(path, clock=clock)
    begin = news[0].time
    for each in news:
        clock.now = each.time - begin
        recorder.write(each)
    recorder.close()


def plain(path: Path) -> list[News]:
    return [news for _, news in Recording(path).read() if not isinstance(news, Kept)]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    news = some_news()
    write(tmp_path / "a", news)
    assert plain(tmp_path / "a") == news


def test_an_append_goes_on_where_the_file_ends(tmp_path: Path) -> None:
    first, second = some_news(), some_news(T0 + 90_000)
    write(tmp_path / "a", first)
    write(tmp_path / "a", second)
    assert plain(tmp_path / "a") == first + second


@pytest.mark.parametrize("cut", [1, 5, 13, 40, 200])
def test_a_file_cut_short_by_a_kill_gives_what_is_whole_and_takes_an_append(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "a"
    news = some_news(count=20)
    write(file, news)
    data = file.read_bytes()
    file.write_bytes(data[:-cut])
    left = plain(file)
    assert left == news[: len(left)]
    assert len(news) - 40 < len(left) < len(news)
    more = some_news(T0 + 500)
    write(file, more)
    assert plain(file) == left + more


def test_a_second_after_it_was_said_it_is_in_the_file(tmp_path: Path) -> None:
    clock = Clock()
    recorder = Recorder(tmp_path / "a", clock=clock)
    news = some_news()
    for each in news[:-1]:
        recorder.write(each)
    clock.now = 1.1
    recorder.write(news[-1])  # no close: the process is killed here
    assert plain(tmp_path / "a") == news


def test_every_minute_a_reader_may_begin_and_knows_who_is_watched(tmp_path: Path) -> None:
    write(tmp_path / "a", some_news(count=200))
    recording = Recording(tmp_path / "a")
    assert len(recording.streams) == 4
    _, first = next(recording.read(2))
    assert isinstance(first, Kept)
    assert first.began.router == "router"
    assert recording.length == pytest.approx(199.0, abs=0.1)


def test_what_repeats_costs_next_to_nothing(tmp_path: Path) -> None:
    news = some_news(count=600)
    write(tmp_path / "a", news)
    assert (tmp_path / "a").stat().st_size < 600 * 150


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 something else", START, START + bytes(8)])
def test_what_is_no_recording_is_said_so(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "a"
    file.write_bytes(data)
    with pytest.raises(StateError):
        Recording(file)


def test_another_file_is_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("dear aunt")
    with pytest.raises(StateError, match="is no recording"):
        Recorder(file)
    assert file.read_text() == "dear aunt"


def test_damage_within_is_where_it_ends(tmp_path: Path) -> None:
    file = tmp_path / "a"
    news = some_news(count=20)
    write(file, news)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    left = plain(file)
    assert left == news[: len(left)]
    assert left


def test_a_block_of_lies_is_damage_not_a_crash(tmp_path: Path) -> None:
    import struct

    body = zlib.compress(b"\0\0\0\x05hello")
    file = tmp_path / "a"
    file.write_bytes(struct.pack("!4sII", START, len(body), zlib.crc32(body)) + body)
    with pytest.raises(StateError, match="damaged"):
        Recording(file)


def test_the_recordings_clock_goes_on_when_the_wall_clock_was_set(tmp_path: Path) -> None:
    news = [*some_news(T0, 5), *some_news(T0 - 86_400, 5)[1:], *some_news(T0 + 86_400, 5)[1:]]
    write(tmp_path / "a", news)
    times = [at for at, _ in Recording(tmp_path / "a").read()]
    assert times == sorted(times)
    assert times[-1] < 30


def test_a_config_comes_back_from_a_recording_as_it_was() -> None:
    from nftrtsp import config

    wanted = make_config(pause="2h", mark="0x40/0x40", ports=[554, 1554])
    again = config.parse(config_data(wanted))
    assert (again.iptv, again.lan, again.rtsp, again.stb) == (
        wanted.iptv,
        wanted.lan,
        wanted.rtsp,
        wanted.stb,
    )


def test_seek_back_and_forth_shows_the_same_as_playing() -> None:
    one, other = Replay(DEMO), Replay(DEMO)
    one.seek(50.0)
    other.seek(75.0)
    other.seek(-60.0)
    other.seek(35.0)
    assert one.position is not None
    assert other.position is not None
    assert one.position.now == other.position.now
    assert [film.phase for film in one.latest.films] == [film.phase for film in other.latest.films]
    assert one.latest.films[0].steps == other.latest.films[0].steps
    assert one.latest.serial != other.latest.serial


def test_the_demo_shows_a_film_that_plays_and_one_that_fails() -> None:
    replay = Replay(DEMO)
    assert replay.position is not None
    replay.go(0.9)
    phases = {film.phase for film in replay.latest.films}
    assert {Phase.PLAYING, Phase.NO_FILM} <= phases
    assert any(film.failed for film in replay.latest.films)
    assert {box.name for box in replay.latest.boxes} == {"Living room", "Bedroom", "Kitchen"}


def test_a_replay_holds_at_a_word_and_begins_again_at_its_end() -> None:
    replay = Replay(DEMO)
    replay.hold(standing=True)
    assert replay.position is not None
    assert replay.position.standing
    replay.go(1.0)
    replay.hold(standing=True)
    assert replay.position.now == 0.0
    assert not replay.position.standing


def test_speed_doubles_halves_and_has_bounds() -> None:
    replay = Replay(DEMO)
    replay.faster(1)
    assert replay.position is not None
    assert replay.position.speed == 2.0
    replay.faster(-30)
    assert replay.position.speed == 1 / 8
    replay.faster(60)
    assert replay.position.speed == 4096.0


def test_watched_scenes_and_their_recording_agree(tmp_path: Path) -> None:
    house = Watched()
    taken: list[News] = [Began(T0, "router", "1", config_data(make_config()))]
    plain_take = house.observer.take

    def take(news: News) -> None:
        taken.append(news)
        plain_take(news)

    house.observer.take = take  # type: ignore[method-assign]
    house.hello()
    house.ask(1.0)
    house.new(1.02, media())
    house.play_flow(2, 9)
    write(tmp_path / "a", taken)
    replay = Replay(tmp_path / "a")
    replay.go(1.0)
    assert replay.latest.films[0].steps == house.snapshot(9).films[0].steps
    assert replay.latest.boxes == house.snapshot(9).boxes
