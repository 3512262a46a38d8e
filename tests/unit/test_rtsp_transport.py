"""The Transport field in the forms that providers send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nftrtsp.rtsp.transport import Transport, parse_transports


def parse(text: str) -> list[Transport]:
    raw = text.encode()
    return parse_transports(raw, 0, len(raw))


def ports(transport: Transport) -> list[int]:
    return [number.value for number in transport.client_ports]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MP2T/H2221/UDP;unicast;client_port=27336", [27336]),  # Movistar
        ("RTP/AVP;unicast;client_port=31330-31331", [31330, 31331]),  # Free
        ("RAW/RAW/UDP;unicast;client_port=54020-54021;mode=play", [54020, 54021]),  # Telia
        ("MP2T/H2221/UDP;client_port=2012;destination=10.11.180.86;unicast", [2012]),  # Myrio, Entone
        ("MP2T/UDP;unicast;destination=192.168.1.200:4000", [4000]),  # Coship
        ("MP2T/UDP;unicast;client_port=5001/5003", [5001, 5003]),
        (" RTP/AVP ; unicast ; Client_Port = 6000 - 6001 ", [6000, 6001]),
        ('RTP/AVP/UDP;unicast;dest_addr=":3456"/":3457"', [3456, 3457]),  # RFC 7826
        ('RTP/AVP/UDP;unicast;dest_addr="192.0.2.5:3456"/"192.0.2.5:3457"', [3456, 3457]),
        ("MP2T/UDP;unicast;client_port=65536", [65536]),
        ("MP2T/UDP;unicast;client_port=abc", []),
        ("MP2T/UDP;unicast;client_port=", []),
        ("MP2T/UDP;unicast;client_port=-5", []),
        ("MP2T/UDP;unicast;client_port", []),
        ("MP2T/UDP;unicast;client_port=123456", []),
    ],
)
def test_client_ports(text: str, expected: list[int]) -> None:
    (transport,) = parse(text)
    assert ports(transport) == expected


def test_several_transports_of_one_field_keep_their_order() -> None:
    found = parse(
        "MP2T/RTP/TCP;unicast;interleaved=0-1,MP2T/RTP/UDP;unicast;client_port=10000-10001,"
        'MP2T/UDP;unicast;client_port=10000;mode="PLAY,RECORD",RTP/AVP;client_port=10000-10001'
    )
    assert [one.protocol for one in found] == ["MP2T/RTP/TCP", "MP2T/RTP/UDP", "MP2T/UDP", "RTP/AVP"]
    assert [one.is_udp for one in found] == [False, True, True, True]
    mode = found[2].parameter("mode")
    assert mode is not None
    assert mode.value == "PLAY,RECORD"


def test_what_is_not_udp_of_its_own_is_told_apart() -> None:
    assert not parse("RTP/AVP/TCP;unicast")[0].is_udp
    assert not parse("RTP/AVP;unicast;interleaved=0-1")[0].is_udp
    assert parse("RTP/AVP;multicast;port=5000-5001")[0].is_multicast


def test_destinations_are_found_with_and_without_a_port() -> None:
    text = "MP2T/UDP;destination=10.11.180.86:2012;source=172.26.83.137;server_port=5000-5001"
    (transport,) = parse(text)
    (host,) = transport.destinations
    assert text[host.start : host.end] == host.text == "10.11.180.86"
    assert transport.sources[0].text == "172.26.83.137"
    assert [number.value for number in transport.server_ports] == [5000, 5001]
    assert parse("MP2T/UDP;destination=;client_port=4000")[0].destinations[0].text == ""


def test_what_cannot_be_read_is_named() -> None:
    assert parse("MP2T/UDP;client_port=x;destination=a b")[0].malformed == ("client_port", "destination")


@given(st.text(alphabet='RTP/AVP;,="- :client_port=destination0123456789.\t', max_size=120))
def test_spans_always_lead_to_what_was_read(text: str) -> None:
    raw = text.encode()
    for transport in parse_transports(raw, 0, len(raw)):
        for number in (*transport.client_ports, *transport.server_ports, *transport.interleaved):
            assert int(raw[number.start : number.end]) == number.value
        for host in (*transport.destinations, *transport.sources):
            assert raw[host.start : host.end].decode() == host.text


@given(st.binary(max_size=300))
def test_any_bytes_may_come(raw: bytes) -> None:
    assert len(parse_transports(raw, 0, len(raw))) <= 256
