"""One control connection after another: which way opens, stays, closes, is refused or rewritten."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nftrtsp.helper.note import WayRefused
from nftrtsp.helper.ways import MAX_LIFETIME
from nftrtsp.rtsp.packet import ACK, FIN, RST, SYN, Packet
from tests.unit.talk import PORT, Talk, World, lines, stb


@pytest.fixture
def world() -> World:
    return World()


def test_setup_opens_and_teardown_closes(world: World) -> None:
    talk = Talk(world)
    talk.setup()
    assert world.open == {PORT: (stb(), PORT)}
    talk.answer("Session: 7")
    talk.ask("TEARDOWN", "Session: 7")
    assert world.open == {}
    assert world.cut == [PORT]


def test_a_refused_setup_closes_its_way(world: World) -> None:
    talk = Talk(world)
    talk.setup()
    talk.answer(status="454 Session Not Found")
    assert world.open == {}
    assert world.reasons("way-closed") == ["the server answered 454 Session Not Found"]


def test_a_redirect_closes_its_way_and_says_where_to(world: World) -> None:
    talk = Talk(world)
    talk.setup()
    talk.answer("Location: rtsp://172.26.83.11:1554/film", status="302 Moved")
    assert world.open == {}
    assert world.reasons("response") == ["Moved to rtsp://172.26.83.11:1554/film"]


def test_a_redirect_to_a_port_that_nobody_watches_is_said_to_be_one() -> None:
    world = World(ports=frozenset({554}))
    talk = Talk(world)
    for uri in ("rtsp://172.26.83.11:1554/film", "rtsp://172.26.83.11/film"):
        talk.setup()
        talk.answer(f"Location: {uri}", status="302 Moved")
    first, second = world.reasons("response")
    unseen = "and rtsp.ports lacks 1554: what is asked there will not be seen"
    assert first == f"Moved to rtsp://172.26.83.11:1554/film, {unseen}"
    assert second == "Moved to rtsp://172.26.83.11/film"


def test_a_provisional_answer_decides_nothing(world: World) -> None:
    talk = Talk(world)
    talk.setup()
    talk.answer(status="100 Continue")
    assert PORT in world.open
    talk.answer(status="500 Internal Server Error")
    assert world.open == {}


def test_answers_are_matched_by_cseq(world: World) -> None:
    talk = Talk(world)
    talk.setup(PORT)
    talk.setup(PORT + 2)
    talk.answer(status="500 No", cseq=1)
    assert list(world.open) == [PORT + 2]


def test_the_ports_that_the_server_did_not_choose_close(world: World) -> None:
    talk = Talk(world)
    talk.setup(f"RTP/AVP;unicast;client_port=5000-5001,MP2T/UDP;unicast;client_port={PORT}")
    assert sorted(world.open) == [5000, 5001, PORT]
    talk.answer("Session: 7", f"Transport: MP2T/UDP;unicast;client_port={PORT}")
    assert list(world.open) == [PORT]


def test_a_pair_stays_when_the_answer_names_one_of_it(world: World) -> None:
    talk = Talk(world)
    talk.setup("RTP/AVP;unicast;client_port=5000-5001")
    talk.answer("Session: 7", "Transport: RTP/AVP;unicast;client_port=5000")
    assert sorted(world.open) == [5000, 5001]


def test_the_server_may_name_another_port(world: World) -> None:
    talk = Talk(world)
    talk.setup(PORT)
    talk.answer("Session: 7", "Transport: MP2T/UDP;unicast;destination=10.214.0.2;client_port=6000")
    assert list(world.open) == [6000]
    talk.ask("TEARDOWN", "Session: 7")
    assert world.open == {}


def test_the_server_may_not_name_a_low_port(world: World) -> None:
    talk = Talk(world)
    talk.setup(PORT)
    talk.answer("Session: 7", "Transport: MP2T/UDP;unicast;client_port=53")
    assert list(world.open) == [PORT]


@pytest.mark.parametrize("chosen", ["RTP/AVP/TCP;interleaved=0-1", "RTP/AVP;multicast;port=5000"])
def test_media_inside_tcp_or_multicast_needs_no_way(world: World, chosen: str) -> None:
    talk = Talk(world)
    talk.setup(f"MP2T/UDP;unicast;client_port={PORT},{chosen}")
    talk.answer("Session: 7", f"Transport: {chosen}")
    assert world.open == {}


def test_another_port_for_the_same_stream_closes_the_first(world: World) -> None:
    talk = Talk(world)
    talk.setup(PORT)
    talk.answer("Session: 7")
    talk.setup(PORT + 2, "Session: 7")
    assert sorted(world.open) == [PORT, PORT + 2]
    talk.answer("Session: 7")
    assert list(world.open) == [PORT + 2]


def test_two_streams_of_one_session_stay_both_and_one_may_be_torn_down(world: World) -> None:
    talk = Talk(world)
    for track in (0, 1):
        talk.setup(PORT + 2 * track, *(["Session: 7"] if track else []), uri=f"rtsp://s/film/{track}")
        talk.answer("Session: 7")
    assert sorted(world.open) == [PORT, PORT + 2]
    talk.ask("TEARDOWN", "Session: 7", uri="rtsp://s/film/0")
    assert list(world.open) == [PORT + 2]
    talk.ask("TEARDOWN", "Session: 7", uri="rtsp://s/film")
    assert world.open == {}


def test_teardown_of_one_session_leaves_others(world: World) -> None:
    talk = Talk(world)
    for session, port in (("a", PORT), ("b", PORT + 2)):
        talk.setup(port)
        talk.answer(f"Session: {session}")
    talk.ask("TEARDOWN", "Session: a")
    assert list(world.open) == [PORT + 2]
    talk.ask("TEARDOWN", "Session: unknown")
    assert list(world.open) == [PORT + 2]


def test_a_session_may_be_torn_down_over_another_connection_of_its_box_only(world: World) -> None:
    first = Talk(world)
    first.setup()
    first.answer("Session: 7")
    Talk(world, box=1).ask("TEARDOWN", "Session: 7")
    assert list(world.open) == [PORT]
    Talk(world, port=40001).ask("TEARDOWN", "Session: 7")
    assert world.open == {}


@pytest.mark.parametrize(("from_client", "flags"), [(True, FIN | ACK), (False, FIN | ACK), (False, RST)])
def test_the_end_of_the_connection_closes_all(world: World, from_client: bool, flags: int) -> None:
    talk = Talk(world)
    talk.setup("RTP/AVP;client_port=5000-5001")
    talk.send(from_client, flags=flags)
    assert world.open == {}
    assert world.cut == []
    talk.send(not from_client, flags=FIN | ACK)
    talk.send(from_client)
    assert [note.event for note in world.notes].count("connection-open") == 1


def test_the_same_box_on_a_new_connection_keeps_its_way_when_the_old_one_ends(world: World) -> None:
    old = Talk(world)
    old.setup()
    old.answer("Session: 1")
    new = Talk(world, port=40001)
    new.setup()
    new.answer("Session: 2")
    old.send(True, flags=RST)
    assert world.open == {PORT: (stb(), PORT)}
    new.send(True, flags=RST)
    assert world.open == {}


def test_the_addresses_and_ports_of_an_ended_connection_may_be_used_again(world: World) -> None:
    Talk(world).setup()
    talk = Talk(world)  # a SYN with the same number is the same connection
    assert list(world.open) == [PORT]
    talk.skip(True, 5000)
    talk.send(True, flags=SYN)
    talk.send(False, flags=SYN | ACK)
    assert world.open == {}
    talk.setup(PORT + 2)
    assert list(world.open) == [PORT + 2]


def test_a_segment_that_comes_late_or_twice_opens_once(world: World) -> None:
    talk = Talk(world)
    packet = talk.packet(
        True, lines("SETUP rtsp://s/f RTSP/1.0", "CSeq: 1", f"Transport: X/UDP;client_port={PORT}")
    )
    head, tail = packet.data[:40], packet.data[40:]
    early = Packet(
        packet.src,
        packet.dst,
        40000,
        554,
        (packet.seq + 40) % (1 << 32),
        packet.ack,
        ACK,
        tail,
        len(tail),
        40,
    )
    first = Packet(packet.src, packet.dst, 40000, 554, packet.seq, packet.ack, ACK, head, 40, 40)
    for one in (early, early, first, packet):
        world.take(world.dialogues.receive(one, world.now)[1])
    assert [note.event for note in world.notes].count("setup") == 1
    assert list(world.open) == [PORT]


def test_only_who_may_ask_and_only_for_itself(world: World) -> None:
    talk = Talk(world)
    talk.setup(f"MP2T/UDP;client_port={PORT};destination=192.168.1.201")
    assert world.reasons("way-refused") == ["asked for media to 192.168.1.201, which is another host"]
    talk.setup(f"MP2T/UDP;client_port={PORT};destination=192.168.1.200")
    assert list(world.open) == [PORT]
    stranger = World(may_ask=lambda _address: False)
    Talk(stranger).setup()
    assert stranger.reasons("way-refused") == ["is no configured set-top box"]
    assert stranger.open == {}


@pytest.mark.parametrize("port", [0, 1, 80, 1023, 65536, 99999])
def test_ports_that_nobody_may_have(world: World, port: int) -> None:
    Talk(world).setup(port)
    assert world.open == {}
    assert len(world.reasons("way-refused")) == 1


def test_a_pair_is_refused_whole(world: World) -> None:
    Talk(world).setup("RTP/AVP;client_port=1023-1024")
    assert world.open == {}


def test_limits_hold_per_box_and_in_all() -> None:
    world = World(max_per_stb=2, max_total=3)
    one, two = Talk(world), Talk(world, box=1)
    for port in (5000, 5002, 5004):
        one.setup(port)
    assert sorted(world.open) == [5000, 5002]
    for port in (6000, 6002):
        two.setup(port)
    assert sorted(world.open) == [5000, 5002, 6000]
    assert world.reasons("way-refused") == [
        "has 2 ports open, and 2 is the limit",
        "3 ports are open, and no more may be",
    ]


def test_a_box_that_was_switched_off_is_not_locked_out_by_its_dead_ways() -> None:
    world = World(max_per_stb=2)
    old = Talk(world)
    for port in (5000, 5002):
        old.setup(port)
        old.answer(f"Session: {port};timeout=60")
    new = Talk(world, port=40001)
    new.setup(5004)
    assert 5004 not in world.open
    world.now += 121
    new.setup(5004)
    assert 5004 in world.open
    assert len(world.open) == 2


def test_a_dead_way_that_is_asked_for_again_does_not_make_room_for_itself() -> None:
    world = World(max_per_stb=2)
    old = Talk(world)
    for port in (5000, 5004):
        old.setup(port)
        old.answer(f"Session: {port};timeout=60")
    world.now += 121
    Talk(world, port=40001).setup("RTP/AVP;client_port=5000-5001")
    assert sorted(world.open) == [5000, 5001]


def test_keep_alives_keep_a_way_and_silence_for_longer_than_pause_ends_it(world: World) -> None:
    talk = Talk(world)
    talk.setup()
    talk.answer("Session: 7;timeout=60")
    for _ in range(5):
        world.now += 3000
        world.sweep()
        assert PORT in world.open
        talk.ask("GET_PARAMETER", "Session: 7")
    world.now += 3601
    world.sweep()
    assert world.open == {}
    assert world.reasons("way-closed") == ["the session has expired"]


def test_a_long_session_timeout_is_followed(world: World) -> None:
    talk = Talk(world)
    talk.setup()
    talk.answer("Session: 7;timeout=7200")
    world.now += 7000
    world.sweep()
    assert PORT in world.open


def test_without_a_timeout_a_way_lives_as_long_as_its_connection_and_in_silence_a_day(world: World) -> None:
    talk = Talk(world)
    talk.setup()
    talk.answer("Session: 7")
    world.now += MAX_LIFETIME - 1
    world.sweep()
    assert PORT in world.open
    talk.ask("GET_PARAMETER", "Session: 7")
    world.now += MAX_LIFETIME - 1
    world.sweep()
    assert PORT in world.open
    world.now += 1
    world.sweep()
    assert world.open == {}


def test_a_port_in_use_is_refused_where_nothing_can_be_rewritten(world: World) -> None:
    Talk(world).setup()
    Talk(world, box=1).setup()
    assert world.open == {PORT: (stb(), PORT)}
    assert world.reasons("way-refused") == [f"port {PORT} is in use by 192.168.1.200, which asked first"]
    assert [note.holder for note in world.notes if isinstance(note, WayRefused)] == ["192.168.1.200"]


def test_a_dead_way_does_not_hold_its_port_for_ever(world: World) -> None:
    Talk(world).setup()
    world.now += 3601
    Talk(world, box=1).setup()
    assert world.open == {PORT: (stb(1), PORT)}


def test_a_port_in_use_is_rewritten_there_and_back() -> None:
    world = World(substitutes=True)
    Talk(world).setup()
    talk = Talk(world, box=1)
    start = talk.seq[True]
    talk.setup()
    assert world.open == {PORT: (stb(), PORT), PORT + 2: (stb(1), PORT)}
    (there,) = world.rewrites
    assert (there.old, there.new, there.from_client) == (b"27336", b"27338", True)
    sent = lines(
        "SETUP rtsp://s/film RTSP/1.0", "CSeq: 1", f"Transport: MP2T/H2221/UDP;unicast;client_port={PORT}"
    )
    assert sent[(there.sequence - start) % (1 << 32) :].startswith(b"27336")
    talk.answer("Session: 9", "Transport: MP2T/H2221/UDP;unicast;client_port=27338")
    back = world.rewrites[1]
    assert (back.old, back.new, back.from_client) == (b"27338", b"27336", False)
    talk.setup(PORT, "Session: 9")
    assert len(world.open) == 2, "asked for again, the same substitute serves"


def test_a_substitute_has_as_many_digits_and_keeps_pairs_together() -> None:
    world = World(substitutes=True)
    Talk(world).setup("RTP/AVP;client_port=9998-9999")
    Talk(world, box=1).setup("RTP/AVP;client_port=9998-9999")
    assert sorted(world.open) == [9996, 9997, 9998, 9999]


def test_an_open_connection_is_picked_up_in_the_middle(world: World) -> None:
    talk = Talk(world, seen_from_start=False)
    talk.send(True, b"rest of something\r\n\r\n")
    talk.send(False)
    talk.setup()
    assert list(world.open) == [PORT]


def test_a_setup_that_was_not_seen_opens_by_its_answer(world: World) -> None:
    talk = Talk(world, seen_from_start=False)
    talk.answer(
        "Session: 7", f"Transport: MP2T/UDP;unicast;destination=10.214.0.2;client_port={PORT}", cseq=4
    )
    talk.send(True)
    assert world.open == {PORT: (stb(), PORT)}
    talk.ask("TEARDOWN", "Session: 7")
    talk.answer()
    assert world.open == {}


def test_an_answer_to_nothing_opens_nothing_on_a_connection_that_was_seen_whole(world: World) -> None:
    Talk(world).answer("Session: 7", f"Transport: MP2T/UDP;unicast;client_port={PORT}", cseq=4)
    assert world.open == {}


def test_what_was_missed_does_not_stop_the_next_setup(world: World) -> None:
    talk = Talk(world)
    talk.skip(True, 500)  # a request whose copy was lost
    talk.send(False)  # and its acknowledgement
    talk.setup()
    assert list(world.open) == [PORT]


def test_garbage_ends_the_reading_and_leaves_what_is_open(world: World) -> None:
    talk = Talk(world)
    talk.setup()
    talk.send(True, bytes(range(128, 256)))
    assert len(world.reasons("garbage")) == 1
    talk.setup(PORT + 2)
    talk.send(False, b"\xff" * 100)
    assert list(world.open) == [PORT]
    assert len(world.reasons("garbage")) == 1
    talk.send(True, flags=FIN | ACK)
    assert world.open == {}


def test_a_way_that_the_kernel_refused_is_off_the_list(world: World) -> None:
    talk = Talk(world)
    talk.setup()
    way = world.ways.at(PORT)
    assert way is not None
    assert talk.dialogue.failed(way, "map is full").event == "way-refused"
    del world.open[PORT]
    assert len(world.ways) == 0
    talk.answer("Session: 7")
    talk.send(True, flags=RST)


def test_adopted_ways_close_with_their_session(world: World) -> None:
    talk = Talk(world, seen_from_start=False)
    dialogue, actions = world.dialogues.begin(talk.connection, world.now)
    world.take(actions)
    for way in dialogue.adopt({PORT: PORT}, world.now, session="7"):
        world.open[way.port] = (way.stb, way.stb_port)
    talk.ask("TEARDOWN", "Session: 8")
    assert PORT in world.open
    talk.ask("TEARDOWN", "Session: 7")
    assert PORT in world.open, "nobody knows yet whose TEARDOWN it is"
    talk.answer()
    assert world.open == {}


def test_a_syn_after_a_takeover_ends_the_connection_that_was_taken_over(world: World) -> None:
    talk = Talk(world, seen_from_start=False)
    dialogue, _ = world.dialogues.begin(talk.connection, world.now)
    for way in dialogue.adopt({PORT: PORT}, world.now, session="7"):
        world.open[way.port] = (way.stb, way.stb_port)
    talk.send(True, flags=SYN)
    assert list(world.open) == [PORT]
    talk.send(False, flags=SYN | ACK)
    assert world.open == {}


def test_a_box_that_asks_for_ever_fills_no_memory(world: World) -> None:
    talk = Talk(world)
    for number in range(500):
        talk.setup(PORT, uri=f"rtsp://s/{number}")
        talk.answer(f"Session: {number}")
    assert len(talk.dialogue.claims) < 50
    assert len(world.ways._by_session) < 50
    for number in range(9000):
        Talk(world, port=1000 + number)
    assert len(world.dialogues) <= world.dialogues.capacity
    assert list(world.open) == [PORT]


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),  # which connection
        st.sampled_from(
            ["setup", "pair", "ok", "error", "teardown", "fin", "rst", "syn", "sweep", "raw", "skip"]
        ),
        st.integers(0, 5),  # which port, session, answer
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.booleans(), st.binary(max_size=30))
def test_what_is_open_is_always_what_the_list_says(
    steps: list[tuple[int, str, int]], substitutes: bool, raw: bytes
) -> None:
    world = World(substitutes=substitutes, max_per_stb=4, max_total=9)
    talks = [Talk(world, box=0), Talk(world, box=0, port=40001), Talk(world, box=1)]
    for which, step, number in steps:
        talk = talks[which]
        if step == "setup":
            talk.setup(5000 + 2 * number, uri=f"rtsp://s/{number % 2}")
        elif step == "pair":
            talk.setup(f"RTP/AVP;client_port={5000 + number}-{5001 + number}")
        elif step == "ok":
            talk.answer(
                f"Session: {number % 3};timeout=60", f"Transport: X/UDP;client_port={5000 + 2 * number}"
            )
        elif step == "error":
            talk.answer(status="500 No")
        elif step == "teardown":
            talk.ask("TEARDOWN", *([f"Session: {number % 3}"] if number < 4 else []))
        elif step == "fin":
            talk.send(bool(number % 2), flags=FIN | ACK)
        elif step == "rst":
            talk.send(bool(number % 2), flags=RST)
        elif step == "syn":
            talk.skip(True, 1000)
            talk.send(True, flags=SYN)
        elif step == "sweep":
            world.now += 1000 * number
            world.sweep()
        elif step == "raw":
            talk.send(bool(number % 2), raw)
        else:
            talk.skip(bool(number % 2), number)
        assert world.open == {way.port: (way.stb, way.stb_port) for way in world.ways}
        per_box = [sum(owner == stb(box) for owner, _ in world.open.values()) for box in (0, 1)]
        assert max(per_box) <= 4
        assert all(way.claims for way in world.ways)
    for talk in talks:
        talk.send(True, flags=RST)
    world.now += 1e6
    world.sweep()
    assert world.open == {}
    assert not world.ways._by_session
