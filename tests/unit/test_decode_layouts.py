"""The fast way and the plain walk give the same, whatever the bytes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nftrtsp.conntrack.decoder import MOST_CANDIDATES, Decoder
from nftrtsp.conntrack.event import Event, decode_events
from nftrtsp.conntrack.flow import Flow, decode_flow
from nftrtsp.conntrack.layout import UnlearnableError, learn
from nftrtsp.errors import MalformedError
from nftrtsp.netlink import wire
from tests.unit.captured import FLOWS, MESSAGES

NAMES = sorted(FLOWS)


def plain(data: bytes) -> Flow | None:
    try:
        return decode_flow(data, data[16], wire.HEADER_SIZE, len(data))
    except MalformedError:
        return None


def fast(decoder: Decoder, data: bytes) -> Flow | None:
    try:
        return decoder.flow(data)
    except MalformedError:
        return None


@pytest.mark.parametrize("name", NAMES)
def test_a_layout_that_is_met_again_gives_the_same_flow(name: str) -> None:
    decoder = Decoder()
    data = FLOWS[name]
    assert decoder.flow(data) == decoder.flow(data) == plain(data)


@pytest.mark.parametrize("name", NAMES)
def test_every_message_of_the_kernel_has_a_layout_that_can_be_learned(name: str) -> None:
    _, layout = learn(FLOWS[name])
    assert layout is not None
    assert layout.matches(FLOWS[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_layout_does_not_match_when_a_byte_of_its_skeleton_changes(name: str) -> None:
    data = FLOWS[name]
    _, layout = learn(data)
    assert layout is not None
    for at, mask in enumerate(layout.mask.to_bytes(len(data), "little")):
        if mask:
            assert not layout.matches(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@given(
    st.sampled_from(NAMES),
    st.lists(st.tuples(st.integers(8, 300), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_changed_bytes_give_the_same_in_both_ways(name: str, changes: list[tuple[int, int]]) -> None:
    decoder = Decoder()
    for data in FLOWS.values():
        decoder.flow(data)
    changed = bytearray(FLOWS[name])
    for at, value in changes:
        changed[at % len(changed)] = value
    changed[0:8] = FLOWS[name][0:8]
    data = bytes(changed)
    assert fast(decoder, data) == plain(data)
    assert fast(decoder, data) == plain(data)


@given(st.binary(max_size=300))
@example(MESSAGES["udp-0"][20:])
def test_any_bytes_give_the_same_in_both_ways_or_are_malformed_in_both(payload: bytes) -> None:
    decoder = Decoder()
    data = wire.message(1, 0, wire.NLM_F_CREATE, payload, family=2)
    assert fast(decoder, data) == plain(data)
    assert fast(decoder, data) == plain(data)


def test_a_repeated_attribute_cannot_be_learned_for_the_last_one_counts() -> None:
    data = FLOWS["udp-0"] + wire.be32(8, 1) + wire.be32(8, 2)
    data = len(data).to_bytes(4, "little") + data[4:]
    flow, layout = learn(data)
    assert layout is None
    assert flow.mark == 2
    assert issubclass(UnlearnableError, Exception)


def test_the_number_of_layouts_is_bounded_and_the_rest_takes_the_plain_walk() -> None:
    decoder = Decoder()
    base = bytearray(FLOWS["igmp-0"])
    at = [index for index in range(len(base)) if base[index : index + 5] == b"\x05\x00\x01\x00\x02"]
    for number in range(140, 140 + 2 * MOST_CANDIDATES):
        for where in at:
            base[where + 4] = number
        assert decoder.flow(bytes(base)) == plain(bytes(base))
    assert decoder.layouts == MOST_CANDIDATES


def test_a_datagram_of_one_layout_and_a_mixed_one_are_decoded_alike() -> None:
    decoder = Decoder()
    same = [name for name in NAMES if name.startswith("dump") and len(FLOWS[name]) == 236]
    assert len(same) >= 3
    for names in (same, sorted(name for name in NAMES if name.startswith("dump"))):
        data = b"".join(FLOWS[name][:8] + (7).to_bytes(4, "little") + FLOWS[name][12:] for name in names)
        for _ in range(2):
            flows, other = decoder.flows(data, 7)
            assert not other
            assert flows == [plain(FLOWS[name]) for name in names]


def test_an_end_within_a_datagram_is_left_to_the_caller() -> None:
    done = (20).to_bytes(4, "little") + wire.NLMSG_DONE.to_bytes(2, "little") + bytes(14)
    assert Decoder().flows(FLOWS["dump-0"] + done, 7) == ([], True)


def test_events_of_all_kinds_come_out_as_the_plain_walk_tells_them() -> None:
    decoder = Decoder()
    for _ in range(2):
        told: list[Event] = []
        decoder.events(list(MESSAGES.values()), 3.0, told)
        assert told == [event for data in MESSAGES.values() for event in decode_events(data, 3.0)]


def test_an_event_that_cannot_be_decoded_is_counted_and_the_others_come() -> None:
    decoder = Decoder()
    told: list[Event] = []
    decoder.events([b"\xff" * 40, MESSAGES["udp-0"]], 3.0, told)
    assert (len(told), decoder.malformed) == (1, 1)
