"""SYNs on a connection that is followed already: is it another connection with the same addresses? Pure.

Anybody on the LAN can send a SYN in a set-top box's name, so one changes nothing before the server has
answered it. A server whose connection lives answers with an acknowledgement of what lives (RFC 9293 section
3.10.7.4): SYN and ACK with that SYN's number comes only from one that has forgotten the old connection.
"""

from __future__ import annotations

from nftrtsp.rtsp.packet import ACK, SYN, Packet

_MOST = 4  # SYNs that wait for their answer


class PortReuse:
    """The SYNs of one connection that may begin another one."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers: tuple[int, ...] = ()

    def wait(self, packet: Packet) -> None:
        """Remember a SYN until the server answers it."""
        if packet.seq not in self._numbers:
            self._numbers = (*self._numbers, packet.seq)[-_MOST:]

    def answered(self, packet: Packet) -> int | None:
        """Return the number of the SYN that ``packet`` of the server answers; None: it answers none."""
        if not self._numbers or not is_answer(packet):
            return None
        number = packet.ack - 1 & 0xFFFFFFFF
        return number if number in self._numbers else None


def is_first(packet: Packet) -> bool:
    """Whether ``packet`` asks for a connection."""
    return packet.flags & (SYN | ACK) == SYN


def is_answer(packet: Packet) -> bool:
    """Whether ``packet`` answers one that asked for a connection."""
    return packet.flags & (SYN | ACK) == SYN | ACK
