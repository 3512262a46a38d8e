from __future__ import annotations

from ipaddress import ip_address

import pytest

from nftrtsp.conntrack.event import Event, EventType, decode_events
from nftrtsp.conntrack.flow import Counters, Flow, status_names
from nftrtsp.conntrack.tuple import Tuple, encode_tuple
from nftrtsp.errors import MalformedError
from nftrtsp.netlink import wire
from tests.unit.captured import EXPECTATIONS, FLOWS, MESSAGES

ROUTER = ip_address("10.214.0.2").packed
SERVER = ip_address("172.26.83.137").packed
RTSP = ip_address("172.26.83.10").packed
BOX = ip_address("192.168.1.200").packed
LOCAL = ip_address("127.0.0.1").packed


def event(name: str) -> Event:
    (only,) = decode_events(MESSAGES[name], 1.5)
    return only


def flow(name: str) -> Flow:
    told = event(name).flow
    assert told is not None
    return told


def test_a_film_that_is_sent_on_shows_the_box_as_the_one_who_answers() -> None:
    told = flow("film-0")
    assert told.orig == Tuple(SERVER, ROUTER, 17, 4001, 27336)
    assert told.reply == Tuple(BOX, SERVER, 17, 27336, 4001)
    assert "dst-nat" in status_names(told.status or 0)


def test_new_update_and_destroy_are_told_apart() -> None:
    kinds = [event(name).type for name in ("tcp-0", "tcp-1", "flush-0", "ftp-port-0", "ftp-port-1")]
    assert kinds == [
        EventType.NEW,
        EventType.UPDATE,
        EventType.DESTROY,
        EventType.EXPECT_NEW,
        EventType.EXPECT_DESTROY,
    ]


def test_an_event_keeps_the_time_of_its_reception() -> None:
    assert event("udp-0").time == 1.5


def test_ipv6_addresses_have_sixteen_bytes() -> None:
    told = flow("udp6-0")
    assert told.family == 10
    assert str(told.orig.source) == "::1"
    assert told.orig.dport == 5001


@pytest.mark.parametrize(("name", "kinds"), [("icmp-0", (8, 0)), ("icmp6-0", (128, 129))])
def test_icmp_has_id_type_and_code_in_place_of_ports(name: str, kinds: tuple[int, int]) -> None:
    told = flow(name)
    assert (told.orig.icmp_type, told.reply.icmp_type) == kinds
    assert told.orig.icmp_code == 0
    assert told.orig.icmp_id is not None
    assert told.orig.sport is None


def test_gre_and_sctp_have_ports_or_keys() -> None:
    assert (flow("gre-0").orig.proto, flow("gre-0").orig.dport) == (47, 1)
    assert flow("sctp-0").orig == Tuple(LOCAL, LOCAL, 132, 1000, 2000)
    assert flow("sctp-0").protoinfo


def test_an_unknown_protocol_keeps_its_attributes_raw() -> None:
    told = flow("igmp-0").orig
    assert (told.proto, told.sport) == (2, None)
    assert list(wire.attributes(told.raw, 0, len(told.raw))) == [(1, 4, 5)]


def test_mark_zone_tuple_zone_and_labels_are_told() -> None:
    assert flow("udp-mark-0").mark == 0x100000
    assert flow("udp-zone-0").zone == 7
    assert flow("udp-tuple-zone-0").orig.zone == 9
    assert flow("udp-label-0").labels[0] == 1 << 3


def test_a_related_flow_names_its_master_and_the_control_connection_its_helper() -> None:
    control, data = flow("tcp-0"), flow("ftp-data-1")
    assert control.helper == "ftp"
    assert data.master == control.orig
    assert "expected" in status_names(data.status or 0)


def test_tcp_states_are_told_by_name() -> None:
    assert [flow(f"tcp-{index}").state_name for index in range(3)] == ["SYN_SENT", "SYN_RECV", "ESTABLISHED"]


def test_only_the_end_carries_counters_and_times() -> None:
    assert flow("film-0").counters_orig is None
    ended = next(
        told for name in FLOWS if name.startswith("flush") and (told := flow(name)).orig.dport == 27336
    )
    assert ended.counters_orig == Counters(1, 29)
    assert ended.counters_reply == Counters(0, 0)
    assert ended.start is not None
    assert ended.stop is not None
    assert 0 < ended.stop - ended.start < 60e9


def test_an_expectation_tells_tuple_mask_master_nat_and_flags() -> None:
    told = event("expect-0").expectation
    assert told is not None
    assert told.any_source
    assert (told.tuple.dst, told.tuple.dport) == (ROUTER, 27336)
    assert told.mask.dport == 0xFFFF
    assert told.master == Tuple(BOX, RTSP, 6, 40000, 21)
    assert told.nat is not None
    assert (told.nat.direction, told.nat.tuple.src, told.nat.tuple.sport) == (1, BOX, 27336)
    assert told.flags == 1
    assert told.helper == "ftp"
    assert told.function == "nat-follow-master"


def test_a_pinned_expectation_is_not_any_source() -> None:
    told = event("ftp-port-0").expectation
    assert told is not None
    assert not told.any_source


def test_an_attribute_of_tomorrow_is_skipped() -> None:
    data = MESSAGES["udp-0"]
    longer = data + wire.attribute(999, b"whatever") + wire.attribute(77, b"")
    longer = len(longer).to_bytes(4, "little") + longer[4:]
    (told,) = decode_events(longer, 0)
    assert told.flow == flow("udp-0")


def test_messages_of_other_subsystems_are_no_events() -> None:
    assert list(decode_events(wire.message(4, 0, 0, b"\0" * 40), 0)) == []


@pytest.mark.parametrize("name", [*FLOWS, *EXPECTATIONS])
def test_every_truncation_is_malformed_or_decoded_and_nothing_else(name: str) -> None:
    data = MESSAGES[name]
    for length in range(16, len(data)):
        cut = length.to_bytes(4, "little") + data[4:length]
        try:
            list(decode_events(cut, 0))
        except MalformedError:
            continue


def test_a_flow_without_its_tuples_is_malformed() -> None:
    data = wire.message(1, 0, 0, encode_tuple(1, Tuple(SERVER, ROUTER, 17, 1, 2)), family=2)
    with pytest.raises(MalformedError, match="without attribute 2"):
        list(decode_events(data, 0))


def test_a_number_that_is_too_short_is_malformed() -> None:
    data = MESSAGES["udp-0"] + wire.attribute(8, b"\0\0")
    data = len(data).to_bytes(4, "little") + data[4:]
    with pytest.raises(MalformedError, match="2 bytes, not 4"):
        list(decode_events(data, 0))


def test_a_message_that_claims_more_than_there_is_is_malformed() -> None:
    data = (4096).to_bytes(4, "little") + MESSAGES["udp-0"][4:]
    with pytest.raises(MalformedError):
        list(decode_events(data, 0))
