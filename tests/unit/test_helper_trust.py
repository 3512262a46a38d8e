"""What strangers, spoofed boxes and hostile servers try on the core of the helpers, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest

from nftrtsp.helper.action import CloseWay
from nftrtsp.helper.ways import MAX_LIFETIME, Connection
from nftrtsp.rtsp.packet import ACK, FIN, RST, SYN
from tests.unit.talk import PORT, SERVER, Talk, World, lines, stb

OTHER_SERVER = bytes((172, 26, 83, 66))


@dataclass
class Table:
    """A conntrack that knows what it is told, and counts how often it is asked."""

    known: set[Connection] = field(default_factory=set)
    asked: int = 0

    def confirm(self, connection: Connection) -> bool:
        self.asked += 1
        return connection in self.known


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def table() -> Table:
    return Table()


def guarded(table: Table, **policy: object) -> World:
    return World({"confirm": table.confirm}, **policy)


# --- who is believed ---


def test_an_answer_without_a_connection_opens_nothing_and_leaves_nothing(table: Table) -> None:
    world = guarded(table)
    talk = Talk(world, seen_from_start=False)
    talk.answer("Session: 1", "Transport: MP2T/UDP;unicast;client_port=5353-5354", cseq=1)
    assert world.open == {}
    assert len(world.dialogues) == 0
    assert world.notes == []


def test_a_setup_in_the_middle_of_a_connection_that_conntrack_does_not_know_opens_nothing(
    table: Table,
) -> None:
    world = guarded(table)
    Talk(world, seen_from_start=False).setup()
    assert world.open == {}
    assert len(world.dialogues) == 0


def test_a_connection_that_conntrack_knows_is_picked_up_and_asked_about_once(table: Table) -> None:
    world = guarded(table)
    talk = Talk(world, seen_from_start=False)
    table.known.add(talk.connection)
    talk.ask("OPTIONS")
    talk.answer()
    for port in (PORT, PORT + 2):
        talk.setup(port)
    assert sorted(world.open) == [PORT, PORT + 2]
    assert table.asked == 1


def test_a_spoofed_syn_and_setup_open_nothing(table: Table) -> None:
    world = guarded(table)
    talk = Talk(world, seen_from_start=False)
    talk.send(True, flags=SYN)
    talk.setup()
    assert world.open == {}


def test_a_setup_whose_numbers_nobody_acknowledged_opens_by_its_answer(table: Table) -> None:
    world = guarded(table)
    talk = Talk(world, seen_from_start=False)
    table.known.add(talk.connection)
    talk.setup()
    assert world.open == {}
    talk.answer("Session: 7")
    assert list(world.open) == [PORT]


@pytest.mark.parametrize("flags", [ACK, SYN])
def test_a_forged_setup_on_a_connection_that_lives_unseen_opens_nothing(table: Table, flags: int) -> None:
    world = guarded(table)
    talk, forger = Talk(world, seen_from_start=False), Talk(world, seen_from_start=False)
    table.known.add(talk.connection)
    forger.skip(True, 1 << 24)
    forger.skip(False, 1 << 24)
    forger.send(True, flags=flags)
    forger.setup(5353)
    talk.ask("OPTIONS")
    talk.answer()
    assert world.open == {}


def test_an_answer_that_is_told_of_no_connection_says_so(table: Table) -> None:
    world = guarded(table)
    talk = Talk(world)
    talk.setup()
    talk.answer("Session: 7")
    assert world.reasons("way-refused") == ["conntrack does not know this connection as an established one"]


def test_a_whole_handshake_is_asked_about_before_its_first_way_only(table: Table) -> None:
    world = guarded(table)
    talk = Talk(world)
    talk.ask("OPTIONS")
    assert table.asked == 0
    table.known.add(talk.connection)
    for port in (PORT, PORT + 2):
        talk.setup(port)
    assert sorted(world.open) == [PORT, PORT + 2]
    assert table.asked == 1


def test_a_setup_that_was_not_believed_opens_once_it_is_acknowledged_and_conntrack_knows(
    table: Table,
) -> None:
    world = guarded(table)
    talk = Talk(world)
    talk.setup()
    assert world.open == {}
    table.known.add(talk.connection)
    talk.answer("Session: 7", f"Transport: MP2T/UDP;unicast;client_port={PORT}")
    assert list(world.open) == [PORT]
    talk.ask("TEARDOWN", "Session: 7")
    assert world.open == {}


@pytest.mark.parametrize("named", ["5353-1900", "6000-6001", "53"])
def test_such_an_answer_opens_no_more_than_was_asked(table: Table, named: str) -> None:
    world = guarded(table)
    talk = Talk(world)
    talk.setup()
    table.known.add(talk.connection)
    talk.answer("Session: 7", f"Transport: MP2T/UDP;unicast;client_port={named}")
    assert list(world.open) == [PORT]


def test_an_answer_about_tcp_does_not_open_udp_on_a_connection_that_was_not_vouched_for(
    table: Table,
) -> None:
    world = guarded(table)
    talk = Talk(world)
    talk.setup("RTP/AVP/TCP;interleaved=0-1")
    table.known.add(talk.connection)
    talk.answer("Session: 7", f"Transport: MP2T/UDP;unicast;client_port={PORT}")
    assert world.open == {}


def test_strangers_are_not_asked_about_without_end(table: Table) -> None:
    world = guarded(table)
    for port in range(1024, 2024):
        Talk(world, port=port, seen_from_start=False).setup()
    assert table.asked <= 32
    honest = Talk(world, box=1, seen_from_start=False)
    table.known.add(honest.connection)
    honest.setup()
    honest.answer("Session: 1")
    assert list(world.open) == [PORT], "another box does not pay for it"


def test_a_connection_that_conntrack_does_not_know_ends_no_session_and_keeps_none_alive(table: Table) -> None:
    world = guarded(table)
    talk = Talk(world)
    table.known.add(talk.connection)
    talk.setup()
    talk.answer("Session: 7;timeout=60")
    spoofed = Talk(world, port=40001, seen_from_start=False)
    spoofed.send(True, flags=SYN)
    spoofed.ask("TEARDOWN", "Session: 7")
    assert list(world.open) == [PORT]
    world.now += 3600
    spoofed.ask("GET_PARAMETER", "Session: 7")
    world.sweep()
    assert world.open == {}


def test_a_syn_of_the_server_begins_nothing(world: World) -> None:
    Talk(world, seen_from_start=False).send(False, flags=SYN)
    assert len(world.dialogues) == 0


# --- who may end it ---


@pytest.mark.parametrize("flags", [RST, RST | ACK, FIN | ACK])
@pytest.mark.parametrize("from_client", [True, False])
def test_an_end_out_of_the_window_closes_nothing(world: World, flags: int, from_client: bool) -> None:
    talk = Talk(world)
    talk.setup()
    talk.answer("Session: 7")
    forged = talk.packet(from_client, flags=flags)
    forged = msgspec.structs.replace(forged, seq=(forged.seq + (1 << 28)) % (1 << 32))
    world.take(world.dialogues.receive(forged, world.now)[1])
    assert list(world.open) == [PORT]
    talk.send(from_client, flags=flags)
    assert world.open == {}


def test_a_spoofed_syn_closes_nothing_and_makes_nobody_deaf(world: World) -> None:
    talk = Talk(world)
    talk.setup()
    for number in range(20):
        forged = msgspec.structs.replace(talk.packet(True, flags=SYN), seq=number << 20, ack=0)
        world.take(world.dialogues.receive(forged, world.now)[1])
    assert list(world.open) == [PORT]
    talk.answer("Session: 7")
    talk.setup(PORT + 2, uri="rtsp://s/other")
    assert sorted(world.open) == [PORT, PORT + 2]


def test_a_server_ends_no_session_of_another_server(world: World) -> None:
    talk = Talk(world)
    talk.setup()
    talk.answer("Session: 7")
    hostile = Talk(world, port=40001, server=OTHER_SERVER)
    hostile.send(False, lines("TEARDOWN rtsp://s/film RTSP/1.0", "CSeq: 1", "Session: 7"))
    assert list(world.open) == [PORT]
    talk.send(False, lines("TEARDOWN rtsp://s/film RTSP/1.0", "CSeq: 1", "Session: 7"))
    assert world.open == {}


# --- what an answer may change ---


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (f"{PORT}", "5353-1900"),
        (f"{PORT}", "6000-6001"),
        ("5000-5001", "5353-1900"),
        ("5000-5001", "6000-6003"),
        ("5000-5001", "6000"),
        (f"{PORT}", "80"),
    ],
)
def test_an_answer_never_widens_what_was_asked(world: World, asked: str, named: str) -> None:
    talk = Talk(world)
    talk.setup(f"RTP/AVP;unicast;client_port={asked}")
    before = dict(world.open)
    talk.answer("Session: 7", f"Transport: RTP/AVP;unicast;client_port={named}")
    assert world.open == before
    assert len(world.reasons("way-refused")) == 1


def test_an_answer_that_widens_is_told(world: World) -> None:
    talk = Talk(world)
    talk.setup()
    talk.answer("Session: 7", "Transport: MP2T/UDP;unicast;client_port=5353-1900")
    assert world.reasons("way-refused") == [
        f"the server named ports 5353-1900 where port {PORT} was asked for"
    ]


def test_a_pair_is_exchanged_for_a_pair_and_nothing_of_the_old_one_stays(world: World) -> None:
    talk = Talk(world)
    talk.setup("RTP/AVP;unicast;client_port=5000-5001")
    talk.answer("Session: 7", "Transport: RTP/AVP;unicast;client_port=5001-5002")
    assert sorted(world.open) == [5001, 5002]


def test_an_answer_after_the_teardown_opens_nothing_and_leaves_nothing(world: World) -> None:
    talk = Talk(world)
    talk.setup()
    talk.ask("TEARDOWN")
    talk.answer("Session: 7", "Transport: MP2T/UDP;unicast;client_port=6000", cseq=1)
    assert world.open == {}
    assert not world.ways._by_session


@pytest.mark.parametrize("named", ["5353-1900", "5000-5004", "5000-5000-5001"])
def test_an_answer_to_a_setup_that_was_not_seen_names_a_port_or_a_pair(world: World, named: str) -> None:
    talk = Talk(world, seen_from_start=False)
    talk.answer("Session: 7", f"Transport: MP2T/UDP;unicast;client_port={named}", cseq=4)
    assert world.open == {}


def test_a_server_gains_no_port_by_answering_again_and_again(world: World) -> None:
    talk = Talk(world, seen_from_start=False)
    for number in range(10):
        port = 6000 + number
        talk.answer("Session: 7", f"Transport: MP2T/UDP;unicast;client_port={port}", cseq=number + 1)
        talk.send(True)
    assert sorted(world.open) == [6000, 6001]


def test_what_was_asked_before_a_request_that_has_its_answer_has_its_own(world: World) -> None:
    talk = Talk(world, seen_from_start=False)
    talk.ask("OPTIONS")
    talk.answer()
    talk.answer("Session: 7", "Transport: MP2T/UDP;unicast;client_port=6000", cseq=9)
    assert world.open == {}


def test_an_opening_by_the_answer_is_told(world: World) -> None:
    talk = Talk(world, seen_from_start=False)
    talk.answer("Session: 7", f"Transport: MP2T/UDP;unicast;client_port={PORT}", cseq=4)
    talk.send(True)
    assert world.reasons("way-open") == ["opened by the answer: the SETUP was not seen"]


def test_a_timeout_of_30_years_is_a_day(world: World) -> None:
    talk = Talk(world)
    talk.setup()
    talk.answer("Session: 7;timeout=999999999")
    world.now += MAX_LIFETIME - 1
    world.sweep()
    assert list(world.open) == [PORT]
    (way,) = world.ways
    assert way.lifetime(3600) == MAX_LIFETIME
    world.now += 1
    world.sweep()
    assert world.open == {}


# --- ports of the router itself ---


def test_a_port_that_the_router_uses_is_refused_with_that_reason() -> None:
    world = World(router_ports=lambda: frozenset({51820}))
    Talk(world).setup(51820)
    assert world.open == {}
    assert world.reasons("way-refused") == ["port 51820 is in use by the router itself"]


def test_the_server_may_not_name_a_port_of_the_router() -> None:
    world = World(router_ports=lambda: frozenset({51820}))
    talk = Talk(world)
    talk.setup()
    talk.answer("Session: 7", "Transport: MP2T/UDP;unicast;client_port=51820")
    assert list(world.open) == [PORT]


def test_a_port_of_the_router_is_substituted_and_no_substitute_is_one() -> None:
    world = World(router_ports=lambda: frozenset({51820, 51822}), substitutes=True)
    Talk(world).setup(51820)
    assert list(world.open) == [51818]


def test_a_service_that_starts_later_gets_its_port_back() -> None:
    used: set[int] = set()
    world = World(router_ports=lambda: frozenset(used))
    Talk(world).setup()
    used.add(PORT)
    world.sweep()
    world.sweep()
    assert world.open == {}
    assert world.cut == [PORT]
    assert world.reasons("way-closed") == [f"port {PORT} is in use by the router itself"]


def test_a_socket_that_was_there_for_a_moment_takes_no_way() -> None:
    used: set[int] = set()
    world = World(router_ports=lambda: frozenset(used))
    Talk(world).setup()
    for _ in range(4):
        used.add(PORT)
        world.sweep()
        used.clear()
        world.sweep()
    assert list(world.open) == [PORT]


# --- memory ---


def half(world: World, box: int, port: int, size: int = 60_000) -> Talk:
    """A connection that leaves a gap, and behind it a message without its end."""
    talk = Talk(world, box=box, port=port)
    talk.skip(True, 1)
    for _ in range(size // 1400):
        talk.send(True, b"x" * 1400)
    return talk


def test_what_waits_is_bounded_over_all_connections_and_the_biggest_pays() -> None:
    world = World({"budget": 1 << 20})
    honest = half(world, 1, 40000, 20_000)
    before = honest.dialogue.held
    assert before > 20_000
    for port in range(100):
        half(world, 0, 41000 + port)
        assert world.dialogues.held <= 1 << 20
        assert world.dialogues.held == sum(one.held for one in world.dialogues)
    assert honest.dialogue.held == before
    told = [note for note in world.notes if note.event == "overrun"]
    assert {note.stb for note in told} == {"192.168.1.200"}
    assert len(told) < 100


def test_requests_that_wait_for_their_answer_count_as_memory() -> None:
    world = World({"budget": 200_000})
    for port in range(20):
        talk = Talk(world, port=41000 + port)
        for _ in range(64):
            talk.ask("OPTIONS", uri="rtsp://s/" + "x" * 3000)
        assert world.dialogues.held <= 200_000
    assert talk.dialogue.held < 64 * 1000


def test_who_was_trimmed_is_heard_again() -> None:
    world = World({"budget": 100_000})
    first = half(world, 0, 40000)
    half(world, 0, 40001)
    assert first.dialogue.held == 0 or first.dialogue.held < 60_000
    first.send(False)
    first.setup()
    assert list(world.open) == [PORT]


def test_one_box_with_many_connections_evicts_its_own() -> None:
    world = World({"capacity": 64})
    quiet = [Talk(world, box=box, port=40000) for box in range(1, 11)]
    for port in range(1000):
        Talk(world, box=0, port=10_000 + port)
        assert len(world.dialogues) <= 64
    assert all(world.dialogues.find(talk.connection) for talk in quiet)


def test_many_boxes_with_a_connection_each_are_bounded_as_well() -> None:
    world = World({"capacity": 64}, may_ask=lambda _: True)
    for box in range(500):
        Talk(world, box=box)
        assert len(world.dialogues) <= 64


def test_a_dialogue_that_holds_a_way_is_not_evicted() -> None:
    world = World({"capacity": 64})
    talk = Talk(world, port=9999)
    talk.setup()
    for port in range(1000):
        Talk(world, port=10_000 + port)
    assert world.dialogues.find(talk.connection) is talk.dialogue
    talk.ask("TEARDOWN")
    assert world.open == {}


def test_half_connections_and_unfinished_messages_are_forgotten_in_silence() -> None:
    world = World()
    Talk(world, port=1, seen_from_start=False).send(True, flags=SYN)
    half(world, 0, 2)
    whole, holder = Talk(world, port=3), Talk(world, port=4)
    holder.setup()
    holder.skip(True, 1)
    holder.send(True, b"x")
    world.now += 61
    world.sweep()
    assert {one.connection for one in world.dialogues} == {whole.connection, holder.connection}
    assert world.dialogues.held == sum(one.held for one in world.dialogues)


def test_what_ended_is_forgotten_some_at_a_time_and_all_in_one_round() -> None:
    world = World()
    for port in range(10):
        half(world, 0, port)
    before = world.dialogues.lost
    world.now += 61
    left = []
    for _ in range(4):
        world.dialogues.forget(world.now, 3)
        left.append(len(world.dialogues))
    assert left == [7, 4, 1, 0]
    assert world.dialogues.held == 0
    assert world.dialogues.lost >= before


def test_a_long_uri_and_session_are_kept_short_and_still_tell_streams_apart() -> None:
    world = World()
    talk = Talk(world)
    long = "rtsp://s/" + "x" * 2000
    for track in (1, 2):
        talk.setup(PORT + 2 * track, uri=f"{long}{track}")
        talk.answer("Session: " + "7" * 1000)
    assert sorted(world.open) == [PORT + 2, PORT + 4]
    assert all(len(claim.uri) < 300 and len(claim.session or "") < 300 for claim in talk.dialogue.claims)
    talk.ask("TEARDOWN", "Session: " + "7" * 1000, uri=f"{long}1")
    assert list(world.open) == [PORT + 4]


def test_a_port_in_hand_of_another_box_is_not_adopted(world: World) -> None:
    Talk(world).setup()
    late = Talk(world, box=1, seen_from_start=False)
    dialogue, _ = world.dialogues.begin(late.connection, world.now)
    assert [way.port for way in dialogue.adopt({PORT: PORT, PORT + 2: PORT + 2}, world.now)] == [PORT + 2]


def test_an_expired_way_says_so_once(world: World) -> None:
    talk = Talk(world)
    talk.setup()
    world.now += MAX_LIFETIME
    actions = world.dialogues.sweep(world.now)
    assert [type(action) for action in actions] == [CloseWay]
    assert world.dialogues.sweep(world.now) == []
    assert talk.connection.server == SERVER
    assert talk.connection.client == stb()
