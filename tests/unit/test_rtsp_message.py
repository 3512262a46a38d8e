"""The RTSP parser: the same messages however the bytes are cut, and nothing that breaks it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nftrtsp.rtsp.message import Message, Parser, Request, Response

SETUP = (
    b"SETUP rtsp://172.26.83.10:554/film RTSP/1.0\r\n"
    b"CSeq: 3\r\nUser-Agent: box\r\n"
    b"Transport: MP2T/H2221/UDP;unicast;client_port=27336\r\nx-mayNotify:\r\n\r\n"
)
ANSWER = (
    b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession: 8712;timeout=60\r\n"
    b"Transport: MP2T/H2221/UDP;unicast;client_port=27336;source=172.26.83.137;server_port=5000\r\n\r\n"
)
DESCRIBED = b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: 11\r\n\r\nv=0\r\no=film"
FRAME = b"$\x00\x00\x06SETUP "


def parse(data: bytes, **options: Any) -> tuple[list[Message], Parser]:
    parser = Parser(**options)
    return parser.feed(data), parser


def one(data: bytes) -> Message:
    messages, parser = parse(data)
    assert parser.garbage is None, parser.garbage
    (message,) = messages
    return message


def request(*lines: str) -> Message:
    return one("".join(f"{line}\r\n" for line in ("SETUP rtsp://s/f RTSP/1.0", *lines, "")).encode())


def test_a_request_says_what_is_asked() -> None:
    message = one(SETUP)
    assert isinstance(message, Request)
    assert (message.method, message.uri, message.version) == ("SETUP", "rtsp://172.26.83.10:554/film", "1.0")
    assert message.cseq == 3
    assert message.field("x-maynotify") == ""
    assert message.field("absent") is None


def test_a_response_says_what_was_answered() -> None:
    message = one(ANSWER)
    assert isinstance(message, Response)
    assert (message.status, message.reason, message.session, message.session_timeout) == (
        200,
        "OK",
        "8712",
        60,
    )
    (transport,) = message.transports()
    assert [number.value for number in transport.server_ports] == [5000]
    assert [host.text for host in transport.sources] == ["172.26.83.137"]


def test_field_names_are_of_any_case_and_values_may_be_folded() -> None:
    message = request("cSEQ :  7", "TRANSPORT: RTP/AVP;unicast;", "\tclient_port=5000-5001")
    assert message.cseq == 7
    assert [number.value for number in message.transports()[0].client_ports] == [5000, 5001]
    assert message.field("Transport") == "RTP/AVP;unicast; client_port=5000-5001"


def test_bare_line_feeds_are_taken_for_line_ends() -> None:
    message = one(SETUP.replace(b"\r\n", b"\n"))
    assert message.cseq == 3


def test_pipelined_messages_come_out_one_by_one() -> None:
    messages, _ = parse(SETUP + b"\r\n\r\n" + SETUP + FRAME + ANSWER)
    assert [type(message) for message in messages] == [Request, Request, Response]


def test_a_body_is_no_message() -> None:
    trap = b"GET_PARAMETER rtsp://s/f RTSP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(SETUP), SETUP)
    messages, _ = parse(trap + ANSWER)
    assert isinstance(messages[0], Request)
    assert messages[0].body == SETUP
    assert len(messages) == 2


def test_a_long_body_is_passed_over_without_being_held() -> None:
    parser = Parser(keep_body=10)
    head = b"RTSP/1.0 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    (message,) = parser.feed(head)
    assert (message.body, message.body_length) == (b"", 1_000_000)
    for _ in range(1000):
        assert parser.feed(bytes(1000)) == []
        assert parser.buffered == 0
    assert parser.feed(SETUP)[0].offset == len(head) + 1_000_000


def test_an_interleaved_frame_is_passed_over_without_being_held() -> None:
    parser = Parser()
    assert parser.feed(b"$\x01\xff\xff" + bytes(60000)) == []
    assert (parser.buffered, parser.frames) == (0, 1)
    assert len(parser.feed(bytes(5535) + SETUP)) == 1


def test_spans_lead_to_the_bytes_on_the_wire() -> None:
    stream = ANSWER + FRAME + SETUP
    message = parse(stream)[0][1]
    (number,) = message.transports()[0].client_ports
    start = message.offset + number.start
    assert stream[start : start + number.end - number.start] == b"27336"


def test_garbage_is_noticed_and_nothing_is_parsed_after_it() -> None:
    for data in (
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"SETUP rtsp://s/f\r\n\r\n",
        SETUP.replace(b"CSeq: 3", b"CSeq 3"),
        b"A" * 5000,
        SETUP[:-2] + b"X: y\r\n" * 5000,
        b"RTSP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(101)) + b"\r\n",
        b"RTSP/1.0 200 OK\r\nX: " + b"y" * 5000 + b"\r\n\r\n",
    ):
        messages, parser = parse(SETUP + data)
        assert len(messages) == 1
        assert parser.garbage
        assert parser.feed(SETUP) == []
        assert parser.buffered == 0


def test_limits_are_arguments() -> None:
    assert parse(SETUP, max_line=40)[1].garbage == "the first line is longer than 40 bytes"
    assert parse(SETUP, max_head=100)[1].garbage == "the head is longer than 100 bytes"
    assert parse(SETUP, max_fields=3)[1].garbage == "more than 3 header fields"
    assert parse(DESCRIBED, max_body=10)[1].garbage == "the body is longer than 10 bytes"


def test_after_missing_bytes_the_next_message_is_found() -> None:
    parser = Parser()
    parser.feed(SETUP[:50])
    parser.lose(30)
    (message,) = parser.feed(b"client_port=1\r\n\r\n" + SETUP)
    assert message.offset == 50 + 30 + 17
    assert parser.feed(ANSWER)[0].field("session") == "8712;timeout=60"


def test_bytes_missing_from_what_is_passed_over_do_no_harm() -> None:
    parser = Parser(keep_body=0)
    parser.feed(b"RTSP/1.0 200 OK\r\nContent-Length: 5000\r\n\r\n" + bytes(1000))
    parser.lose(4000)
    assert not parser.lost
    assert len(parser.feed(SETUP)) == 1


def test_a_parser_that_begins_in_the_middle_finds_a_start_line_cut_anywhere() -> None:
    for cut in range(len(SETUP) + 1):
        parser = Parser(lost=True)
        messages = parser.feed(b"e\r\nCSeq: 9\r\n\r\n" + SETUP[:cut]) + parser.feed(SETUP[cut:])
        assert [message.cseq for message in messages] == [3], cut


def test_a_parser_that_begins_in_the_middle_of_media_holds_little() -> None:
    parser = Parser(lost=True)
    for _ in range(100):
        assert parser.feed(b"\x47\x11" * 10000) == []
        assert parser.buffered <= parser.max_line + 1
    assert len(parser.feed(b"\n" + ANSWER)) == 1


def test_a_line_too_long_to_begin_a_message_does_not_hide_the_one_in_it() -> None:
    data = (
        b"OPTIONS * "
        + b"x" * 300
        + b"SETUP rtsp://s/f RTSP/1.0\r\n"
        + SETUP
        + b"PLAY * RTSP/1.0 200 RTSP/1.0\r\n"
    )
    outcomes = []
    for step in (1, 7, 4000):
        parser = Parser(lost=True, max_line=200)
        parts = [data[i : i + step] for i in range(0, len(data), step)]
        outcomes.append([message for part in parts for message in parser.feed(part)])
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert [message.cseq for message in outcomes[0]] == [3]


STREAMS = st.lists(
    st.one_of(
        st.sampled_from([SETUP, ANSWER, DESCRIBED, FRAME, b"\r\n", SETUP.replace(b"\r\n", b"\n")]),
        st.binary(max_size=40),
        st.sampled_from([SETUP, ANSWER, DESCRIBED]).flatmap(
            lambda data: st.tuples(st.just(data), st.integers(0, len(data) - 1), st.integers(0, 255)).map(
                lambda t: t[0][: t[1]] + bytes([t[2]]) + t[0][t[1] + 1 :]
            )
        ),
    ),
    max_size=6,
).map(b"".join)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(places)]


@settings(max_examples=400, deadline=None)
@given(STREAMS, st.lists(st.integers(0, 4000), max_size=12), st.booleans(), st.sampled_from([0, 8, 65536]))
def test_the_cut_does_not_matter(data: bytes, cuts: list[int], lost: bool, keep_body: int) -> None:
    def outcome(parts: list[bytes]) -> tuple[list[Message], bool, int]:
        parser = Parser(keep_body=keep_body, lost=lost)
        messages = [message for part in parts for message in parser.feed(part)]
        return messages, parser.garbage is not None, parser.frames

    whole = outcome([data])
    assert outcome(pieces(data, cuts)) == whole
    assert outcome([data[i : i + 1] for i in range(len(data))]) == whole


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=300), st.integers(1, 5000), STREAMS), max_size=20))
def test_nothing_breaks_the_parser_or_fills_its_memory(parts: list[bytes | int]) -> None:
    parser = Parser()
    fed = 0
    for part in parts:
        if isinstance(part, int):
            parser.lose(part)
            fed += part
        else:
            for message in parser.feed(part):
                message.transports()
                assert isinstance(message.cseq, int | None)
                assert message.session_timeout is None or message.session_timeout >= 0
            fed += len(part)
        assert parser.buffered <= parser.max_head + parser.keep_body
        assert parser.offset == fed
