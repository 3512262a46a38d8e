"""What is heard of one connection: forged, repeated and contradicting segments, and what they may change."""

from __future__ import annotations

import pytest

from nftrtsp.rtsp.conversation import Conversation
from nftrtsp.rtsp.message import Message
from nftrtsp.rtsp.packet import ACK, FIN, RST, SYN, Packet

WRAP = 1 << 32
SETUP = b"SETUP rtsp://s/f RTSP/1.0\r\nCSeq: %d\r\nTransport: MP2T/UDP;unicast;client_port=%d\r\n\r\n"
ANSWER = b"RTSP/1.0 200 OK\r\nCSeq: %d\r\nSession: 7\r\n\r\n"
FRAME = b"$\x00\x00\x64" + bytes(100)


class Call:
    """A connection with right numbers; ``numbers`` are those of the next bytes of box and server."""

    def __init__(self, *, client: int = 1000, server: int = 5000, handshake: bool = True) -> None:
        self.conversation = Conversation()
        self.numbers = {True: client, False: server}
        self.heard: list[Message] = []
        if handshake:
            self.send(True, flags=SYN)
            self.send(False, flags=SYN | ACK)
            self.send(True)

    def packet(
        self, from_client: bool, data: bytes = b"", flags: int = ACK, *, at: int = 0, ack: int = 0
    ) -> Packet:
        """Return a packet whose number and acknowledgement are so many bytes away from the right ones."""
        seq, right = self.numbers[from_client] + at, self.numbers[not from_client] + ack
        ends = (b"box.", b"tv..", 40000, 554) if from_client else (b"tv..", b"box.", 554, 40000)
        return Packet(*ends, seq % WRAP, right % WRAP if flags & ACK else 0, flags, data, len(data), 40)

    def take(self, packet: Packet, from_client: bool) -> list[Message]:
        if self.conversation.is_idle(packet, from_client=from_client):
            return []
        heard = [message for message, _ in self.conversation.take(packet, from_client=from_client)]
        self.heard += heard
        return heard

    def send(self, from_client: bool, data: bytes = b"", flags: int = ACK) -> list[Message]:
        packet = self.packet(from_client, data, flags)
        self.numbers[from_client] = (self.numbers[from_client] + len(data) + bool(flags & SYN)) % WRAP
        return self.take(packet, from_client)

    def forge(
        self, from_client: bool, data: bytes = b"", flags: int = ACK, *, at: int = 0, ack: int = 0
    ) -> list[Message]:
        return self.take(self.packet(from_client, data, flags, at=at, ack=ack), from_client)


@pytest.fixture(params=[(1000, 5000), (WRAP - 30, WRAP - 20), (WRAP - 1, 0), (WRAP - 120, WRAP - 60)])
def call(request: pytest.FixtureRequest) -> Call:
    client, server = request.param
    return Call(client=client, server=server)


@pytest.mark.parametrize("ack", [1 << 30, 1 << 21, 1 << 19, 5000, -(1 << 30)])
def test_a_forged_acknowledgement_makes_nobody_deaf(call: Call, ack: int) -> None:
    call.forge(False, ack=ack)
    call.forge(False, b"x", at=1 << 22, ack=ack)
    (message,) = call.send(True, SETUP % (1, 27336))
    assert message.cseq == 1
    (answer,) = call.send(False, ANSWER % 1)
    assert answer.cseq == 1


@pytest.mark.parametrize("at", [1 << 30, 1 << 21, -(1 << 21), -(1 << 30)])
def test_a_message_out_of_the_window_is_not_heard(call: Call, at: int) -> None:
    assert call.forge(True, SETUP % (1, 4000), at=at) == []
    assert call.forge(False, ANSWER % 1, at=at) == []
    assert call.conversation.held == 0
    assert [message.cseq for message in call.send(True, SETUP % (1, 27336))] == [1]


def test_a_message_with_an_impossible_acknowledgement_is_not_heard(call: Call) -> None:
    assert call.forge(True, SETUP % (1, 4000), ack=1 << 30) == []
    assert call.forge(True, SETUP % (1, 4000), flags=0) == []
    assert [message.cseq for message in call.send(True, SETUP % (1, 27336))] == [1]


def test_after_more_was_missed_than_a_window_both_ends_are_heard_again(call: Call) -> None:
    call.send(False, FRAME)
    call.numbers[False] = (call.numbers[False] + (50 << 20)) % WRAP  # media whose copies were lost
    call.send(False, FRAME)
    call.send(True)
    call.send(False, FRAME)
    assert [message.cseq for message in call.send(True, SETUP % (3, 27336))] == [3]
    assert [message.cseq for message in call.send(False, ANSWER % 3)] == [3]


def test_a_connection_that_begins_with_a_forged_segment_is_heard_once_both_ends_agree() -> None:
    call = Call(handshake=False)
    call.forge(False, b"x", at=1 << 29, ack=1 << 28)
    call.forge(True, b"x", at=-(1 << 29), ack=1 << 27)
    for number in range(1, 4):
        call.send(True, SETUP % (number, 27336))
        call.send(False, ANSWER % number)
    assert [message.cseq for message in call.heard][-1] == 3


def test_a_syn_in_the_midst_of_a_connection_changes_nothing(call: Call) -> None:
    call.send(True, SETUP % (1, 27336))
    for from_client in (False, True):
        call.forge(from_client, flags=SYN | ACK, at=77777)
        call.forge(from_client, flags=SYN, at=77777)
    assert len(call.send(False, ANSWER % 1)) == 1
    assert len(call.send(True, SETUP % (2, 27336))) == 1


def test_a_server_that_spoke_before_the_first_syn_was_not_this_one() -> None:
    call = Call(handshake=False)
    call.forge(False, b"\xff" * 20, at=1 << 20)
    call.send(True, flags=SYN)
    call.forge(False, flags=SYN | ACK, at=99, ack=55)
    call.send(False, flags=SYN | ACK)
    assert not call.conversation.picked_up
    call.send(True, SETUP % (1, 27336))
    assert [message.cseq for message in call.send(False, ANSWER % 1)] == [1]


@pytest.mark.parametrize(("from_client", "who"), [(True, "the set-top box"), (False, "the server")])
def test_two_copies_that_differ_end_the_reading(call: Call, from_client: bool, who: str) -> None:
    call.send(True, SETUP % (1, 27336))
    text = SETUP % (2, 27336) if from_client else ANSWER % 1
    assert len(call.send(from_client, text)) == 1
    other = text.replace(b"CSeq: ", b"CSeQ: ")
    assert call.forge(from_client, other, at=-len(text)) == []
    assert call.conversation.garbage == f"{who}: two copies of the same bytes differ"
    assert call.conversation.held == 0
    assert call.send(True, SETUP % (3, 27336)) == []


def test_a_message_completed_by_a_segment_that_contradicts_itself_is_not_heard(call: Call) -> None:
    text = SETUP % (1, 27336)
    place = text.index(b"27336")
    assert call.forge(True, text[place:], at=place) == []
    assert call.forge(True, text.replace(b"27336", b"27400")) == []
    assert call.conversation.garbage is not None


def test_a_repeated_segment_is_no_contradiction_however_it_is_cut(call: Call) -> None:
    text = SETUP % (1, 27336)
    for first, last in ((0, 40), (20, 60), (0, 50), (59, len(text)), (0, len(text)), (30, 31)):
        call.forge(True, text[first:last], at=first)
    assert [message.cseq for message in call.heard] == [1]
    assert call.conversation.garbage is None


def test_after_garbage_nothing_is_held(call: Call) -> None:
    call.send(True, SETUP[:20])
    call.send(False, b"\xff" * 300)
    assert call.conversation.garbage is not None
    for number in range(1, 40):
        call.forge(True, bytes(1000), at=number * 2000)
    assert call.conversation.held < 10_000


def test_the_end_is_believed_by_its_number_only(call: Call) -> None:
    call.send(True, SETUP % (1, 27336))
    for from_client in (True, False):
        for flags in (RST, RST | ACK, FIN | ACK):
            for at in (1, 1000, 1 << 30, -1000, -(1 << 30)):
                packet = call.packet(from_client, flags=flags, at=at)
                assert not call.conversation.is_plausible_end(packet, from_client=from_client), at
            packet = call.packet(from_client, flags=flags)
            assert call.conversation.is_plausible_end(packet, from_client=from_client)
            packet = call.packet(from_client, flags=flags, ack=1 << 30)
            assert call.conversation.is_plausible_end(packet, from_client=from_client) == (flags == RST)


def test_a_box_that_was_switched_off_may_reset_by_the_number_the_server_acknowledged(call: Call) -> None:
    text = SETUP % (1, 27336)
    call.send(True, text)  # and no acknowledgement
    assert call.conversation.is_plausible_end(call.packet(True, flags=RST, at=-len(text)), from_client=True)
    call.send(False)
    assert not call.conversation.is_plausible_end(
        call.packet(True, flags=RST, at=-len(text)), from_client=True
    )


def test_the_end_with_data_is_believed_before_and_after_the_data_was_taken(call: Call) -> None:
    packet = call.packet(True, SETUP % (1, 27336), FIN | ACK)
    assert call.conversation.is_plausible_end(packet, from_client=True)
    call.take(packet, True)
    assert call.conversation.is_plausible_end(packet, from_client=True)


def test_a_refused_connection_ends() -> None:
    call = Call(handshake=False)
    call.send(True, flags=SYN)
    assert not call.conversation.is_plausible_end(call.packet(False, flags=RST), from_client=False)
    assert not call.conversation.is_plausible_end(
        call.packet(False, flags=RST | ACK, ack=9), from_client=False
    )
    assert call.conversation.is_plausible_end(call.packet(False, flags=RST | ACK), from_client=False)


def test_before_anything_was_heard_no_end_is_believed() -> None:
    call = Call(handshake=False)
    for flags in (RST, RST | ACK, FIN | ACK):
        assert not call.conversation.is_plausible_end(call.packet(True, flags=flags), from_client=True)


def test_what_is_held_is_counted_and_can_be_given_up(call: Call) -> None:
    text = SETUP % (1, 27336)
    call.send(True, text[:30])
    call.forge(True, text[40:], at=10)
    call.send(False, ANSWER[:20])
    assert call.conversation.held >= 30 + 30 + len(text[40:]) + 20 + 20
    call.conversation.trim()
    assert call.conversation.held == 0
    assert call.conversation.garbage is None
    call.numbers[True] = (call.numbers[True] + len(text[30:])) % WRAP
    call.send(False)  # acknowledges the lost message
    assert [message.cseq for message in call.send(True, SETUP % (2, 27336))] == [2]


def test_media_inside_the_connection_is_not_held(call: Call) -> None:
    for _ in range(100):
        assert call.conversation.is_idle(call.packet(False, FRAME), from_client=False)
        call.numbers[False] = (call.numbers[False] + len(FRAME)) % WRAP
    assert call.conversation.held == 0
