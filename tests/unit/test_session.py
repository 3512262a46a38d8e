from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.record import Ends, OpenPortRecord
from nftrtsp.films.film import MOST_STEPS
from nftrtsp.films.phase import Phase
from nftrtsp.films.sessions import Sessions
from nftrtsp.helper.note import Hello, Line, Setup, Untold, WayOpen
from tests.unit.scenes import (
    BOX,
    BOX2,
    MEDIA,
    MEDIA2,
    RATE,
    SERVER,
    T0,
    House,
    control,
    expectation,
    media,
    packed,
    pinhole,
    tcp,
)

Scene = Callable[[House], None]


def normal_pinhole(h: House) -> None:
    h.hello()
    h.ask(1.0)
    h.new(1.024, media())
    h.play_flow(2, 6, control(helper=None))


def normal_kernel(h: House) -> None:
    h.new(1.0, control())
    h.new(1.1, expectation())
    h.new(1.14, media(master=tcp(BOX, 40000)))
    h.gone(1.141, expectation())
    h.play_flow(2, 6, control())


def userspace_both_tell(h: House) -> None:
    h.hello(kind="userspace")
    h.new(1.0, control())
    h.new(1.1, expectation())
    h.say(1.099, "setup", port=27336, cseq=2)
    h.say(1.102, "way-open", port=27336, way={**pinhole(), "kind": "expectation"})
    h.say(1.11, "response", cseq=2, status=200, reason="OK")
    h.say(1.12, "play", cseq=3)
    h.new(1.15, media(master=tcp(BOX, 40000)))
    h.play_flow(2, 6, control(), expectation())


def pinned(h: House) -> None:
    h.new(1.0, control())
    h.new(1.1, expectation(pinned=SERVER))
    for at in range(2, 14):
        h.show(at, control(), expectation(pinned=SERVER))


def pinned_and_packets_come(h: House) -> None:
    h.new(1.0, control())
    h.new(1.1, expectation(pinned=SERVER))
    h.model.stray(T0 + 2, MEDIA, 48440, 27336, 14)
    h.tick(2)


def no_helper(h: House) -> None:
    h.model.wants_helper = True
    for at in range(1, 6):
        h.show(at, control(helper=None))


def clash(h: House) -> None:
    h.hello()
    h.ask(1.0)
    h.new(1.02, media())
    h.say(2.0, "connection-open", BOX2, 40001)
    h.say(2.0, "setup", BOX2, 40001, port=27336, cseq=2)
    h.say(2.0, "way-refused", BOX2, 40001, port=27336, reason="port 27336 belongs to Living room")
    h.play_flow(2, 6)


def pause(h: House) -> None:
    normal_pinhole(h)
    h.say(6.5, "pause")
    for at in range(7, 40):
        h.show(at, media(packets=2976), control(helper=None))


def pause_and_resume(h: House) -> None:
    pause(h)
    h.say(40.0, "play")
    for at in range(41, 46):
        h.show(at, media(packets=2976 + (at - 40) * 595), control(helper=None))


def pause_unseen(h: House) -> None:
    normal_kernel(h)
    for at in range(7, 14):
        h.show(at, media(packets=2976), control())


def seek(h: House) -> None:
    normal_pinhole(h)
    h.say(6.5, "play", uri="rtsp://172.26.83.10/vod/4711")
    h.new(6.6, media(source=MEDIA2))
    for at in range(7, 12):
        second = media(source=MEDIA2, packets=(at - 6) * 595)
        h.show(at, media(packets=2976), second, control(helper=None))


def second_film(h: House) -> None:
    normal_pinhole(h)
    h.say(7.0, "teardown")
    h.say(7.0, "way-closed", way=pinhole())
    h.say(8.0, "setup", port=27400, cseq=7)
    h.say(8.001, "way-open", port=27400, way=pinhole(port=27400))
    h.say(8.01, "response", cseq=7, status=200, reason="OK")
    h.say(8.02, "play")
    h.new(8.1, media(port=27400))
    h.play_flow(9, 12, control(helper=None), port=27400)


def second_film_same_port(h: House) -> None:
    normal_pinhole(h)
    h.say(7.0, "teardown")
    h.say(7.0, "way-closed", way=pinhole())
    h.show(8.0, media(packets=3000), control(helper=None))
    h.say(12.0, "setup", port=27336, cseq=7)
    h.say(12.001, "way-open", port=27336, way=pinhole())
    h.say(12.02, "play")
    for at in range(13, 17):
        h.show(at, media(packets=3000 + (at - 12) * 595), control(helper=None))


def box_off(h: House) -> None:
    normal_pinhole(h)
    h.gone(7.0, control(helper=None))
    h.say(7.0, "connection-close")
    for at in range(8, 14):
        h.show(at, media(packets=2976))


def box_silent(h: House) -> None:
    normal_pinhole(h)
    for at in range(7, 110):
        h.show(at, media(packets=2976 + (at - 6) * 595), control(helper=None))


def server_gone(h: House) -> None:
    normal_pinhole(h)
    for at in range(7, 14):
        h.show(at, media(packets=2976), control(helper=None))


def server_refuses(h: House) -> None:
    h.hello()
    h.say(1.0, "connection-open")
    h.say(1.0, "setup", port=27336, cseq=2)
    h.say(1.1, "response", cseq=2, status=454, reason="Session Not Found")
    h.tick(2)


def server_silent(h: House) -> None:
    h.hello()
    h.say(1.0, "setup", port=27336, cseq=2)
    h.tick(7)


def nothing_comes(h: House) -> None:
    h.hello()
    h.ask(1.0)
    for at in range(2, 9):
        h.show(at, control(helper=None))


def dropped_on_the_way(h: House) -> None:
    h.hello()
    h.ask(1.0)
    h.model.stray(T0 + 3.0, MEDIA, 48440, 27336, 900)
    h.tick(3.1)


def wrong_port(h: House) -> None:
    h.hello()
    h.ask(1.0)
    h.model.stray(T0 + 2.0, MEDIA, 48440, 27338, 20)
    h.tick(2.1)


def overrun_midway(h: House) -> None:
    normal_pinhole(h)
    h.model.event(Event(EventType.OVERRUN, T0 + 6.2, lost=1))
    for at in range(7, 10):
        h.show(at, media(packets=2976 + (at - 6) * 595), control(helper=None))


def overrun_swallows_the_end(h: House) -> None:
    normal_kernel(h)
    h.model.event(Event(EventType.OVERRUN, T0 + 6.2, lost=1))
    for at in range(7, 10):
        h.show(at)


def started_midway(h: House) -> None:
    for at in range(1, 5):
        h.show(at, media(packets=10_000 + at * 595), control(helper=None))


def started_midway_way_known(h: House) -> None:
    h.hello(ways=(pinhole(),))
    for at in range(1, 5):
        h.show(at, media(packets=10_000 + at * 595), control(helper=None))


def no_accounting(h: House) -> None:
    h.hello()
    h.ask(1.0)
    h.new(1.03, media())
    for at in range(2, 12):
        h.show(at, media(), control(helper=None))


def no_accounting_quiet(h: House) -> None:
    no_accounting(h)
    for at in range(12, 20):
        h.show(at, media(timeout=3600 - at), control(helper=None))


def only_asks(h: House) -> None:
    h.new(1.0, control())
    h.show(2.0, control())


def asked_long_ago(h: House) -> None:
    for at in range(1, 45):
        h.show(at, control())


def torn_down(h: House) -> None:
    normal_pinhole(h)
    h.say(7.0, "teardown")
    h.say(7.1, "connection-close")
    h.gone(7.2, media())
    h.tick(8)


def gave_up(h: House) -> None:
    h.new(1.0, control())
    h.new(1.1, expectation())
    h.gone(4.0, control())
    h.tick(4.5)


PATHS: list[tuple[Scene, str, list[str], str]] = [
    (normal_pinhole, "playing", ["SETUP", "port open", "answer", "PLAY", "first packet"], ""),
    (normal_kernel, "playing", ["port open", "first packet"], ""),
    (userspace_both_tell, "playing", ["SETUP", "port open", "answer", "PLAY", "first packet"], ""),
    (pinned, "no film", ["port open", "no film"], f"pinned to {SERVER}"),
    (pinned_and_packets_come, "no film", ["port open", "dropped"], f"14 packets from {MEDIA}:48440"),
    (no_helper, "no film", [], ""),
    (clash, "playing", ["SETUP", "port open", "answer", "PLAY", "first packet"], ""),
    (pause, "paused", ["SETUP", "port open", "answer", "PLAY", "first packet", "PAUSE"], ""),
    (
        pause_and_resume,
        "playing",
        ["SETUP", "port open", "answer", "PLAY", "first packet", "PAUSE", "PLAY", "playing"],
        "",
    ),
    (pause_unseen, "paused", ["port open", "first packet", "quiet"], ""),
    (
        seek,
        "playing",
        ["SETUP", "port open", "answer", "PLAY", "first packet", "PLAY", "new source"],
        "",
    ),
    (second_film, "playing", ["SETUP", "port open", "answer", "PLAY", "first packet"], ""),
    (second_film_same_port, "playing", ["SETUP", "port open", "PLAY", "first packet"], ""),
    (box_off, "idle", ["SETUP", "port open", "answer", "PLAY", "first packet", "closed"], ""),
    (
        box_silent,
        "playing",
        ["SETUP", "port open", "answer", "PLAY", "first packet", "quiet"],
        "",
    ),
    (
        server_gone,
        "no film",
        ["SETUP", "port open", "answer", "PLAY", "first packet", "quiet"],
        "stopped without PAUSE",
    ),
    (server_refuses, "no film", ["SETUP", "answer"], "answered SETUP with 454 Session Not Found"),
    (server_silent, "no film", ["SETUP", "answer"], "has not answered SETUP for 5 s"),
    (nothing_comes, "no film", ["SETUP", "port open", "answer", "PLAY", "no film"], "no packet of the film"),
    (
        dropped_on_the_way,
        "no film",
        ["SETUP", "port open", "answer", "PLAY", "dropped"],
        "do not get through",
    ),
    (wrong_port, "waiting for film", ["SETUP", "port open", "answer", "PLAY", "dropped"], ""),
    (
        overrun_midway,
        "playing",
        ["SETUP", "port open", "answer", "PLAY", "first packet", "events lost"],
        "",
    ),
    (overrun_swallows_the_end, "idle", ["port open", "first packet", "events lost", "closed"], ""),
    (started_midway, "playing", ["found"], ""),
    (started_midway_way_known, "playing", ["port open", "first packet"], ""),
    (no_accounting, "playing", ["SETUP", "port open", "answer", "PLAY", "first packet"], ""),
    (
        no_accounting_quiet,
        "no film",
        ["SETUP", "port open", "answer", "PLAY", "first packet", "quiet"],
        "stopped",
    ),
    (only_asks, "asking", [], ""),
    (asked_long_ago, "idle", [], ""),
    (
        torn_down,
        "idle",
        ["SETUP", "port open", "answer", "PLAY", "first packet", "TEARDOWN"],
        "",
    ),
    (gave_up, "no film", ["port open", "closed"], "gave up"),
]


@pytest.mark.parametrize(("scene", "state", "kinds", "failure"), PATHS, ids=[p[0].__name__ for p in PATHS])
def test_path(scene: Scene, state: str, kinds: list[str], failure: str) -> None:
    house = House()
    scene(house)
    assert house.state() == state
    box = house.model.boxes[packed(BOX)]
    assert (house.kinds() if box.films else []) == kinds
    broken = box.films[-1].failure if box.films else None
    assert failure in broken.text if broken else not failure


def test_a_films_rate_is_that_of_its_packets() -> None:
    house = House()
    normal_pinhole(house)
    assert house.film().rate == pytest.approx(RATE, rel=0.01)
    assert house.model.boxes[packed(BOX)].history[-1] == pytest.approx(RATE, rel=0.01)


def test_the_first_packet_says_how_late_and_from_whom() -> None:
    house = House()
    normal_pinhole(house)
    assert f"first packet: after 14 ms from {MEDIA}:48440" in house.words()


def test_the_way_says_how_long_after_setup() -> None:
    house = House()
    normal_pinhole(house)
    assert "port open: any source, port 27336, after 1.0 ms" in house.words()


def test_kernel_and_helper_telling_of_one_way_make_one_way() -> None:
    house = House()
    userspace_both_tell(house)
    assert len(house.model.ports) == 1
    assert len(house.model.boxes[packed(BOX)].films) == 1


def test_a_clash_fails_the_second_box_in_words_and_leaves_the_first_playing() -> None:
    house = House()
    clash(house)
    assert house.state(BOX) == "playing"
    assert house.state(BOX2) == "no film"
    failure = house.film(BOX2).failure
    assert failure is not None
    assert failure.text == "port 27336 belongs to Living room"


def test_a_port_shifted_by_the_module_is_named_with_the_boxs_own() -> None:
    house = House()
    house.new(1.0, control(BOX2, 40001))
    house.new(1.1, expectation(BOX2, 27336, sport=40001, outer=27338))
    house.new(1.2, media(BOX2, 27336, outer=27338))
    assert "port open: any source, port 27338 for the box's 27336" in house.words(BOX2)
    assert house.film(BOX2).phase is Phase.PLAYING


def test_rtp_and_rtcp_are_one_film() -> None:
    house = House()
    house.new(1.0, control())
    house.new(1.1, expectation(port=27336))
    house.new(1.1, expectation(port=27337))
    assert len(house.model.boxes[packed(BOX)].films) == 1
    assert len(house.model.ports) == 2


def test_a_second_film_ends_the_first() -> None:
    house = House()
    second_film(house)
    first, second = house.model.boxes[packed(BOX)].films
    assert (first.phase, second.phase) == (Phase.ENDED, Phase.PLAYING)
    assert first.ended == T0 + 7.0


def test_packets_still_under_way_after_teardown_begin_no_film() -> None:
    house = House()
    torn_down(house)
    house.show(8.0, media(packets=3100))
    house.show(9.0, media(packets=3101))
    assert house.state() == "idle"
    assert len([film for film in house.model.films() if film.live]) <= 1


def test_one_listing_that_misses_a_flow_ends_nothing() -> None:
    house = House()
    normal_kernel(house)
    house.show(7.0, control())
    assert house.film().media
    house.show(8.0, control())
    assert not house.film().media


def test_a_helper_less_connection_is_only_a_fault_where_helpers_are_wanted() -> None:
    house = House()
    house.hello(kind="pinhole")
    for at in range(1, 6):
        house.show(at, control(helper=None))
    assert house.state() == "asking"


def test_expectations_of_other_helpers_are_no_ways() -> None:
    house = House()
    sip = expectation()
    sip = msgspec.structs.replace(sip, master=tcp(BOX, 40000, dport=5060))
    house.new(1.0, sip)
    assert not house.model.ports


def test_times_move_with_the_wall_clock() -> None:
    house = House()
    normal_pinhole(house)
    before = [step.time for step in house.film().steps]
    house.model.shift(3600.0)
    assert [step.time - 3600 for step in house.film().steps] == pytest.approx(before)
    for at in range(7, 10):
        house.show(3600.0 + at, media(packets=2976 + (at - 6) * 595), control(helper=None))
    assert house.state() == "playing"
    assert house.film().rate == pytest.approx(RATE, rel=0.05)


def test_a_clock_set_back_leaves_the_film_playing() -> None:
    house = House()
    normal_pinhole(house)
    house.model.shift(-86400.0)
    for at in range(7, 10):
        house.show(at - 86400.0, media(packets=2976 + (at - 6) * 595), control(helper=None))
    assert house.state() == "playing"


def test_steps_of_a_film_are_bounded_and_keep_its_beginning() -> None:
    house = House()
    normal_pinhole(house)
    for second in range(500):
        house.say(10.0 + second, "pause")
        house.say(10.5 + second, "play")
    steps = house.film().steps
    assert len(steps) == MOST_STEPS
    assert steps[0].kind == "SETUP"


def test_films_and_boxes_are_bounded() -> None:
    model = Sessions(None)
    house = House(model)
    for number in range(600):
        box = f"192.168.{number // 200}.{number % 200 + 1}"
        house.new(number, control(box, 40000))
        house.gone(number + 0.5, control(box, 40000))
    assert len(model.boxes) <= 256
    for number in range(200):
        house.say(700.0 + number, "setup", port=20000 + number, cseq=2)
        house.say(700.5 + number, "teardown")
    assert len(model.boxes[packed(BOX)].films) == 50


def test_without_a_config_a_private_host_on_554_is_a_box() -> None:
    model = Sessions(None)
    house = House(model)
    house.new(1.0, control())
    house.new(1.1, media(master=tcp(BOX, 40000)))
    house.tick(2)
    assert house.state() == "playing"
    assert model.boxes[packed(BOX)].name == BOX


@pytest.mark.parametrize(
    "line",
    [
        Setup(),
        Setup(stb="not an address", port=1),
        WayOpen(stb=BOX),
        WayOpen(stb=BOX, way=OpenPortRecord(tuple=Ends())),
        WayOpen(stb="not an address", way=OpenPortRecord(tuple=Ends(dport=27336))),
        Hello(ways=(OpenPortRecord(tuple=Ends()),)),
        Untold(stb=BOX, count=3, kinds={"setup": 3}),
    ],
)
def test_lines_that_lack_what_makes_a_film_are_passed_over(line: Line) -> None:
    house = House()
    house.model.helper(line, T0)
    assert not list(house.model.films())
    assert not house.model.ports


def test_a_film_of_which_not_all_was_told_says_so_and_the_others_do_not() -> None:
    house = House()
    house.hello()
    house.ask(1.0)
    for box in (BOX2, BOX):
        before = len(house.film().steps)
        house.model.helper(Untold(time=T0 + 2, stb=box, count=7, kinds={"play": 7}), T0 + 2)
        told = [step.text for step in house.film().steps[before:]]
        assert bool(told) is (box == BOX)
        assert all("a step may be missing" in text for text in told)


def test_who_pauses_while_it_waits_is_not_kept_waiting() -> None:
    house = House()
    house.hello()
    house.ask(1.0)
    house.say(1.5, "pause", cseq=4)
    house.tick(30)
    assert house.film().phase.value == "paused"
    house.say(40.0, "play", cseq=5)
    house.tick(50)
    assert house.film().phase.value == "no film"
