"""What is foreseen of a SETUP whose end is still to come is what is decided when it is whole."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from nftrtsp.helper.action import Rewrite
from nftrtsp.rtsp.unfinished import has_transport
from tests.unit.talk import SERVER, Talk, World, lines, stb

ROUTER = b"\x0a\xd6\0\x02"
PORTS = st.sampled_from((0, 80, 27334, 27336, 27337, 27338, 27340, 27342, 65534))
DESTINATIONS = st.sampled_from(("", "192.168.1.200", "192.168.1.7", "192.168.1.200:27338"))


@st.composite
def transports(draw: st.DrawFn) -> str:
    """Draw one transport of a SETUP, such as boxes send and such as none should."""
    protocol = draw(st.sampled_from(("MP2T/H2221/UDP", "RTP/AVP", "RTP/AVP/TCP")))
    cast = draw(st.sampled_from(("unicast", "unicast", "unicast", "multicast")))
    first, second = draw(PORTS), draw(PORTS)
    ports = draw(st.sampled_from((f"{first}", f"{first}-{second}", f"{first}/{second}", "none", None)))
    host = draw(DESTINATIONS)
    named = "" if ports is None else f";client_port={ports}"
    return f"{protocol};{cast}{named}" + (f";destination={host}" if host else "")


FIELDS = st.lists(
    st.sampled_from(("CSeq: 9", "Session: 7", "User-Agent: box", "x-mayNotify:", "Range: npt=0-")),
    max_size=4,
    unique=True,
)
#: Ports that another box holds, and ports that the box itself holds, perhaps by another connection.
OTHERS = st.lists(st.sampled_from((27336, 27338, 27340, 27342)), max_size=3, unique=True)
OWN = st.lists(st.tuples(st.sampled_from((27336, 27337, 27338, 50000)), st.booleans()), max_size=3)


def edits(rewrites: Sequence[Rewrite]) -> list[tuple[int, bytes, bytes]]:
    return [(one.sequence, one.old, one.new) for one in rewrites]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(transports(), min_size=1, max_size=4),
    FIELDS,
    FIELDS,
    OTHERS,
    OWN,
    st.booleans(),
    st.sampled_from((2, 3, 8)),
    st.sampled_from((3, 5, 4096)),
    st.data(),
)
def test_what_is_foreseen_is_what_is_decided(
    asked: list[str],
    before: list[str],
    after: list[str],
    others: list[int],
    own: list[tuple[int, bool]],
    substitutes: bool,
    max_per_stb: int,
    max_total: int,
    data: st.DataObject,
) -> None:
    world = World(
        substitutes=substitutes,
        max_per_stb=max_per_stb,
        max_total=max_total,
        own=frozenset({ROUTER}),
        router_ports=lambda: frozenset({27334}),
    )
    for port in others:
        Talk(world, box=1, port=port).setup(port)
    talk = Talk(world)
    for number, (port, is_elsewhere) in enumerate(own):
        one = Talk(world, port=41000 + number) if is_elsewhere else talk
        one.setup(port, uri=f"rtsp://s/{number}")
        one.answer("Session: 5;timeout=10")
    world.now += data.draw(st.sampled_from((0.0, 100.0, 5000.0)))
    talk.dialogue.rewrite_destination = ROUTER
    talk.dialogue._payload_nat.router = ROUTER
    field = "Transport: " + ",".join(asked)
    text = lines("SETUP rtsp://s/f RTSP/1.0", *before, field, *after)
    at = data.draw(st.integers(text.index(b"Transport") + len(field) + 2, len(text) - 1))

    talk.send(True, text[:at])
    conversation = talk.dialogue.conversation
    assert has_transport(conversation.unfinished(from_client=True)[1])
    begun = conversation.begun(from_client=True)
    assert begun is not None
    open_before = dict(world.open)
    foreseen = talk.dialogue.foresee(begun, world.now, from_client=True)
    assert {way.port: (way.stb, way.stb_port) for way in world.ways} == open_before, "nothing is opened yet"

    world.rewrites.clear()
    talk.send(True, text[at:])
    assert edits(world.rewrites) == edits(foreseen)
    mine = {port: one for port, one in world.open.items() if one[0] == stb()}
    assert len(mine) == len({stb_port for _, stb_port in mine.values()}), "one public port for each asked for"


def test_a_request_that_is_none_of_the_boxes_setups_is_foreseen_to_change_nothing() -> None:
    talk = Talk(World(substitutes=True))
    Talk(talk.world, box=1, port=50000).setup(27336)
    for text in (b"PLAY", b"OPTIONS"):
        talk.send(True, text + b" * RTSP/1.0\r\nTransport: X/UDP;client_port=27336\r\n")
        begun = talk.dialogue.conversation.begun(from_client=True)
        assert begun is not None
        assert talk.dialogue.foresee(begun, talk.world.now, from_client=True) == []
        talk.send(True, b"\r\n")
    assert talk.connection.server == SERVER
