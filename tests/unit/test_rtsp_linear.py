"""Whatever strangers send, twice as much of it takes about twice as long, never four or eight times.

An expression that backtracks turned 2,000 blanks into 15 seconds. Families of hostile texts are made here, a
beginning, something repeated and an end, and given to everything in ``rtsp/`` that reads what peers say. The
limits on lines and heads are lifted for it: they hide what is not linear, and do not make it so.
"""

from __future__ import annotations

import ast
import gc
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nftrtsp.helper
import nftrtsp.rtsp
from nftrtsp.helper.answer import redirect_port
from nftrtsp.rtsp.conversation import Conversation
from nftrtsp.rtsp.message import Parser, Response, Span
from nftrtsp.rtsp.packet import ACK, Packet
from nftrtsp.rtsp.rewriting import Edit, rewrite
from nftrtsp.rtsp.stream import Stream
from nftrtsp.rtsp.transport import parse_transports
from nftrtsp.rtsp.unfinished import has_transport, read_begun
from tests.unit.talk import Talk, World

Use = Callable[[bytes], object]

MOST = 2.5  # times as long for twice as much
ENOUGH = 0.002  # seconds that can be measured: what is faster is done several times
LONGEST = 0.02  # seconds of one use: what is slower is measured with less text
LARGEST = (
    1 << 12
)  # bytes of the smaller text; the larger one is 2^4 times as long, and not mapped anew each time
DOUBLINGS = 16
BEGINNINGS = (
    b"",
    b"RTSP/1.0 200",
    b"RTSP/1.0 200 OK\r\n",
    b"SETUP ",
    b"SETUP rtsp://s/f RTSP/1.0\r\n",
    b"SETUP rtsp://s/f RTSP/1.0\r\nTransport: ",
    b"RTSP/1.0 200 OK\r\nSession: 7",
    b"RTSP/1.0 200 OK\r\nTransport: RTP/AVP;client_port=",
    b'RTSP/1.0 200 OK\r\nTransport: RTP/AVP;dest_addr="',
    b"RTP/AVP;destination=",
    b"rtsp://",
    b"X",
)
UNITS = (
    b" ",
    b"\t",
    b"x",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n ",
    b";",
    b",",
    b"=",
    b'"',
    b'""',
    b'":1"/',
    b":",
    b"5",
    b"[",
    b"SETUP ",
    b"SETUP /",
    b"PLAY / RTSP/1.0",
    b" RTSP/1.0",
    b"RTSP/1.0 200 ",
    b"\ntransport",
    b"transport:\n",
    b";timeout = ",
    b"client_port=1-2;",
    b"a: b\r\n",
    b"$\x00\x00\x01x",
    b"$\x00\x00\x00\n",
    b"OPTIONS * RTSP/1.0\n\n",
    b"OPTIONS * RTSP/1.0\r\n\r\n",
)
ENDS = (b"", b"\rX\n", b"\r\n\r\n", b"\n\n", b'"', b" RTSP/1.0\r\n", b"x:\r\n\r\n")


def cost(use: Use, text: bytes, rounds: int = 1) -> float:
    """Return the processor time that ``use`` takes for ``text``, in seconds: the shortest of three.

    Without the collector of cyclic garbage: its rounds over all that pytest holds come in steps.
    """
    taken = []
    gc.disable()
    try:
        for _ in range(3):
            started = time.process_time()
            for _ in range(rounds):
                use(text)
            taken.append((time.process_time() - started) / rounds)
    finally:
        gc.enable()
    return min(taken)


def growth(use: Use, begin: bytes, unit: bytes, end: bytes, largest: int = LARGEST) -> float:
    """Return how many times as long twice as many units take, on the average of four doublings.

    One doubling alone may go over a step: of the processor's cache, of memory that is mapped anew.
    """
    count = 2
    while count * len(unit) < largest and cost(use, begin + unit * (DOUBLINGS * count) + end) < LONGEST:
        count *= 2
    once = max(cost(use, begin + unit * count + end), 1e-6)
    rounds = min(1000, int(ENOUGH / once) + 1)
    ratios = []
    for _ in range(6):  # other programs share this processor: what is linear is seen to be so once
        small = cost(use, begin + unit * count + end, rounds)
        large = cost(use, begin + unit * (DOUBLINGS * count) + end, max(1, rounds // DOUBLINGS))
        ratios.append((large / max(small, 1e-6)) ** 0.25)
        if ratios[-1] <= MOST:
            break
    return float(min(ratios))


def open_parser(*, lost: bool = False) -> Parser:
    return Parser(lost=lost, max_line=1 << 24, max_head=1 << 24)


def read_all(parser: Parser, pieces: list[bytes]) -> None:
    for piece in pieces:
        for message in parser.feed(piece):
            assert message.session_timeout is None or message.session_timeout >= 0
            assert message.cseq is None or message.cseq >= 0
            message.transports()
            for name in message.fields:
                message.field(name.decode())


def whole(text: bytes) -> None:
    read_all(open_parser(), [text])


def whole_when_lost(text: bytes) -> None:
    read_all(open_parser(lost=True), [text])


def byte_by_byte(text: bytes) -> None:
    read_all(open_parser(), [text[i : i + 1] for i in range(len(text))])


def byte_by_byte_when_lost(text: bytes) -> None:
    read_all(open_parser(lost=True), [text[i : i + 1] for i in range(len(text))])


def values(text: bytes) -> None:
    """Read ``text`` as the value of each field that is read."""
    fields: dict[bytes, tuple[Span, ...]] = {
        name: ((0, len(text)),) for name in (b"session", b"cseq", b"location")
    }
    message = Response(version="1.0", raw=text, offset=0, fields=fields, status=200, reason="OK")
    assert message.cseq is None or message.cseq >= 0
    assert message.session_timeout is None or message.session_timeout >= 0
    redirect_port(message.field("location") or "")
    redirect_port("rtsp://" + text.decode("latin-1"))


def transports(text: bytes) -> None:
    parse_transports(text, 0, len(text))


def foreseen(text: bytes) -> None:
    has_transport(text)
    begun = read_begun(text, 0)
    if begun is not None:
        Talk(World()).dialogue.foresee(begun, 0.0, from_client=True)


def rewritten(text: bytes) -> None:
    middle = len(text) // 2
    rewrite(text, [Edit(middle, middle + 1, b"10.214.0.23"), Edit(len(text) - 1, len(text), b"")])


def segments(text: bytes) -> None:
    """Each byte is a segment; each second comes before the first, and all of it comes twice."""
    stream = Stream()
    for at in range(0, len(text) - 1, 2):
        for one in (at + 1, at, at + 1):
            stream.segment(one, text[one : one + 1])
        stream.acknowledged(at)


def heard(text: bytes) -> None:
    conversation = Conversation()
    for at in range(0, len(text), 7):
        data = text[at : at + 7]
        packet = Packet(b"box.", b"tv..", 40000, 554, at, 1, ACK, data, len(data), 40)
        if not conversation.is_idle(packet, from_client=True):
            list(conversation.take(packet, from_client=True))


WHOLE = (whole, whole_when_lost, values, transports, foreseen, rewritten)
PIECEWISE = (byte_by_byte, byte_by_byte_when_lost, segments, heard)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(BEGINNINGS), st.sampled_from(UNITS), st.sampled_from(ENDS))
@pytest.mark.parametrize("use", WHOLE)
def test_twice_the_text_takes_about_twice_as_long(use: Use, begin: bytes, unit: bytes, end: bytes) -> None:
    assert growth(use, begin, unit, end) <= MOST


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.sampled_from(BEGINNINGS), st.sampled_from(UNITS), st.sampled_from(ENDS))
@pytest.mark.parametrize("use", PIECEWISE)
def test_twice_the_segments_take_about_twice_as_long(use: Use, begin: bytes, unit: bytes, end: bytes) -> None:
    assert growth(use, begin, unit, end, 1 << 10) <= MOST


@pytest.mark.parametrize(
    ("begin", "unit", "end"),
    [
        (b"RTSP/1.0 200", b" ", b"\rX\n"),  # 2,000 blanks took 15.7 s
        (b"SETUP", b" ", b"rtsp://s/f\r\n"),
        (b"SETUP rtsp://s/f", b" RTSP/1.0", b"x\r\n"),
        (b"", b"SETUP rtsp://", b" RTSP/1.0x\r\n"),
        (b"RTSP/1.0 200 OK\r\nX:", b"\r\n ", b"\rX\r\n\r\n"),
        (b"RTSP/1.0 200 OK\r\nX", b" ", b"\r\n\r\n"),
        (b"RTSP/1.0 200 OK\r\nSession: 7", b"; timeout", b"\r\n\r\n"),
        (b"RTSP/1.0 200 OK\r\nTransport: RTP/AVP;client_port=", b" ", b"x\r\n\r\n"),
        (b"RTSP/1.0 200 OK\r\nTransport: RTP/AVP;x=", b'"', b"\r\n\r\n"),
        (b'RTSP/1.0 200 OK\r\nTransport: RTP/AVP;dest_addr="', b" ", b'x"\r\n\r\n'),
    ],
)
@pytest.mark.parametrize("use", [whole, whole_when_lost])
def test_what_once_took_seconds_takes_no_time(use: Use, begin: bytes, unit: bytes, end: bytes) -> None:
    assert growth(use, begin, unit, end) <= MOST


#: Modules of ``rtsp/`` that may use expressions, and why theirs can never be given a stranger's text.
MAY_MATCH: dict[str, str] = {}
_EXPRESSIONS = {"re", "regex", "sre_compile", "sre_parse", "fnmatch"}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def test_no_module_that_reads_peers_bytes_uses_expressions() -> None:
    folders = [folder for room in (nftrtsp.rtsp, nftrtsp.helper) for folder in room.__path__]
    modules = [path for folder in folders for path in Path(folder).rglob("*.py")]
    users = {path.name for path in modules if imported(path) & _EXPRESSIONS}
    assert users == set(MAY_MATCH)
