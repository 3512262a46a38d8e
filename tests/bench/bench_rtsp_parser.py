"""The RTSP parser: messages a second, in segments as they come, and the standard library's header parser."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from email.parser import BytesHeaderParser

from nftrtsp.rtsp.message import Parser
from tests.bench.harness import Row, paired, report

MESSAGES = 40_000
SEGMENT = 1448
BAR = 50_000
SETUP = (
    b"SETUP rtsp://172.26.83.10:554/film?service=vod RTSP/1.0\r\nCSeq: 3\r\nUser-Agent: MDS 1.0\r\n"
    b"Transport: MP2T/H2221/UDP;unicast;client_port=27336\r\nx-mayNotify:\r\n\r\n"
)
ANSWER = (
    b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession: 8712;timeout=60\r\nServer: lab\r\n"
    b"Transport: MP2T/H2221/UDP;unicast;client_port=27336;source=172.26.83.137;server_port=5000\r\n\r\n"
)
PLAY = b"PLAY rtsp://172.26.83.10:554/film RTSP/1.0\r\nCSeq: 4\r\nSession: 8712\r\nRange: npt=0-\r\n\r\n"
ALIVE = b"GET_PARAMETER rtsp://172.26.83.10:554/film RTSP/1.0\r\nCSeq: 5\r\nSession: 8712\r\n\r\n"
DIALOGUE = (SETUP, ANSWER, PLAY, ALIVE)
STREAM = b"".join(DIALOGUE) * (MESSAGES // len(DIALOGUE))
SEGMENTS = [STREAM[i : i + SEGMENT] for i in range(0, len(STREAM), SEGMENT)]


def per_second(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return MESSAGES / (time.process_time() - started)


def ours() -> None:
    parser = Parser(keep_body=0)
    count = 0
    for segment in SEGMENTS:
        for message in parser.feed(segment):
            message.transports()  # what a helper asks of a message
            assert message.cseq is not None
            count += 1
    assert count == MESSAGES


def ours_of_bytes() -> None:
    """The worst case: each byte a segment of its own."""
    parser = Parser(keep_body=0)
    part = STREAM[: len(STREAM) // 40]
    count = sum(len(parser.feed(part[i : i + 1])) for i in range(len(part)))
    assert count == MESSAGES // 40


def library() -> None:
    """What a parser of the standard library's takes, which is given each head whole."""
    parser = BytesHeaderParser()
    for _ in range(MESSAGES // len(DIALOGUE)):
        for head in DIALOGUE:
            fields = parser.parsebytes(head.partition(b"\r\n")[2])
            assert fields["CSeq"]


def main() -> int:
    """Measure and report; 1 if the bar was not met."""
    pair = paired(lambda: per_second(ours), lambda: per_second(library))
    bytewise = per_second(ours_of_bytes) / 40
    met = report(
        "RTSP parser",
        [
            Row(
                "messages a second, with their Transport read",
                f"{pair.ours:,.0f}",
                f"{pair.theirs:,.0f} (email.parser, whole heads)",
                f"{pair.ours / pair.theirs:.1f}",
                f">= {BAR:,}",
                pair.ours >= BAR,
            )
        ],
        [f"One byte a call: {bytewise:,.0f} messages a second. *Ratio* is ours to theirs."],
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
