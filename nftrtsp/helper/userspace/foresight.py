"""What will have to be rewritten in a message that is not complete yet, once its Transport field is. Pure.

A sender may pause in the midst of a message: one with Nagle's algorithm sends nothing more before what it
sent was acknowledged. So a packet must not wait for the end of its message when what it names is clear.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from nftrtsp.helper.dialogue import Dialogue
from nftrtsp.helper.policy import Refusal
from nftrtsp.rtsp.message import Message, Parser, Request
from nftrtsp.rtsp.rewriting import Edit
from nftrtsp.rtsp.transport import Transport


def has_transport(unfinished: bytes) -> bool:
    """Whether the Transport field of an unfinished message has come to the end of its line."""
    lines = unfinished.lower().split(b"\n")[:-1]
    return any(b":" in line and line.partition(b":")[0].rstrip(b" \t") == b"transport" for line in lines)


def foresee(dialogue: Dialogue, unfinished: bytes, now: float) -> list[Edit]:
    """Return the edits that ``dialogue`` will ask for when the message that begins so is complete.

    Their places are counted from the beginning of ``unfinished``. The same state gives the same answer later.
    """
    lines = unfinished[: unfinished.rindex(b"\n") + 1]
    messages = Parser(keep_body=0).feed(lines + b"\r\n")
    if not messages:
        return []
    message, edits = messages[0], []
    for transport in message.transports():
        edits += _ports(dialogue, message, transport, now) + _hosts(dialogue, message, transport)
    return edits


def _ports(dialogue: Dialogue, message: Message, transport: Transport, now: float) -> list[Edit]:
    numbers = transport.client_ports
    stb = dialogue.connection.client
    if not isinstance(message, Request):
        ways = [dialogue.ways.at(number.value) for number in numbers]
        return [
            Edit(number.start, number.end, str(way.stb_port).encode())
            for number, way in zip(numbers, ways, strict=True)
            if way is not None and way.stb == stb and way.stb_port != way.port
        ]
    policy = dialogue.policy
    if not transport.is_udp or transport.is_multicast or not numbers:
        return []
    if policy.refuse_host(stb) or policy.refuse_destination(stb, transport):
        return []
    grant = policy.grant(dialogue.ways, stb, [number.value for number in numbers], now)
    if isinstance(grant, Refusal):
        return []
    return [
        Edit(number.start, number.end, str(port).encode())
        for number, port in zip(numbers, grant.ports, strict=True)
        if port != number.value
    ]


def _hosts(dialogue: Dialogue, message: Message, transport: Transport) -> list[Edit]:
    if dialogue.rewrite_destination is None:
        return []
    box, router = (
        str(IPv4Address(one)) for one in (dialogue.connection.client, dialogue.rewrite_destination)
    )
    old, new = (box, router) if isinstance(message, Request) else (router, box)
    return [Edit(host.start, host.end, new.encode()) for host in transport.destinations if host.text == old]
