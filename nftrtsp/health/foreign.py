"""What other programs' chains do with our packets. Pure: chains as nft prints them in, a verdict out.

An accept in our table is not final: a chain of another table on the same hook can still drop. Each such chain
is walked with the packets that matter here, rule by rule, with three answers to *does this rule match*: yes,
no, and unknown. Only what is certain is reported: a rule that surely matches and drops, or a policy that is
surely reached. An unknown rule that might accept ends the certainty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network

import msgspec

Rules = Callable[[str], Sequence[str]]

_WORD = re.compile(r'"[^"]*"|[{}:]|[^\s{}:,"]+(?:,[^\s{}:,"]+)*')
_DEPTH = 16  # the kernel's own limit of nested jumps
_ENDS = {"reject": "drop", "tproxy": "accept", "queue": "accept"}
_VERDICTS = {"accept", "drop", "return", "jump", "goto", *_ENDS}
_L4 = {"1": "icmp", "2": "igmp", "6": "tcp", "17": "udp", "58": "ipv6-icmp"}


class Probe(msgspec.Struct, frozen=True):
    """A packet that matters to us. None is: may be anything."""

    title: str
    iifname: str
    oifname: str | None = None
    l4proto: str = "udp"
    state: str = "new"
    status: str = ""
    saddr: IPv4Network | None = None
    daddr: IPv4Network | None = None
    sport: int | None = None
    dport: int | None = None


class Ruling(msgspec.Struct, frozen=True):
    """Where a packet's way through a chain ends: ``accept``, ``drop`` or, at its end, nothing."""

    word: str = ""
    rule: str = ""
    certain: bool = True


def walk(chain: str, policy: str, packet: Probe, rules: Rules) -> Ruling:
    """Return what the base chain does with ``packet``; ``rules`` lists the rules of a chain by its name."""
    end = _walk(chain, packet, rules, 0)
    if end.word in ("", "return"):
        return Ruling(policy, f"policy {policy}", end.certain)
    return end


def _walk(chain: str, packet: Probe, rules: Rules, depth: int) -> Ruling:
    certain = True
    for rule in rules(chain) if depth < _DEPTH else ():
        matches, word, target = read(rule, packet)
        if matches is False or not word:
            continue
        end = Ruling(word, rule)
        if word in ("jump", "goto"):
            end = _walk(target, packet, rules, depth + 1)
            if end.word in ("", "return"):
                certain &= end.certain
                if word == "goto":
                    return Ruling("", "", certain and matches is True)
                continue
        if matches is True:
            return Ruling(end.word, end.rule, certain and end.certain)
        if end.word != "drop":
            certain = False  # it may have been accepted here
    return Ruling("", "", certain)


def read(rule: str, packet: Probe) -> tuple[bool | None, str, str]:
    """Return whether ``rule`` matches ``packet`` (None: unknown), its verdict, and where it jumps to."""
    rule = re.sub(r' comment "[^"]*"', "", rule)
    words = _WORD.findall(rule)
    matches: bool | None = True
    while words:
        word = words.pop(0)
        if word in ("accept", "drop", "return"):
            return matches, word, ""
        if word in _ENDS:
            return matches, _ENDS[word], ""
        if word in ("jump", "goto"):
            return matches, word, words[0] if words else ""
        if word == "counter":
            _skip_counter(words)
        elif word == "log":
            return _after_log(rule, matches, packet)
        else:
            answer, verdict = _condition(word, words, packet)
            if verdict:
                return _and(matches, answer), *verdict
            matches = _and(matches, answer)
            if matches is False:
                return False, "", ""
    return matches, "", ""


def _and(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def _skip_counter(words: list[str]) -> None:
    if words[:1] == ["packets"]:
        del words[:4]


def _after_log(rule: str, matches: bool | None, packet: Probe) -> tuple[bool | None, str, str]:
    """Go on behind a log statement, whose options end with the verdict or the rule."""
    match = re.search(r"\b(accept|drop|return|reject|jump|goto)\b(?=[^\"]*$).*", rule)
    if match is None:
        return matches, "", ""
    _, word, target = read(match[0], packet)
    return matches, word, target


def _condition(word: str, words: list[str], packet: Probe) -> tuple[bool | None, tuple[str, str] | None]:
    """Read one match expression; return its answer, and the verdict if it is a verdict map."""
    name = word
    if word in ("ct", "meta", "ip", "tcp", "udp", "th", "ip6", "icmp", "icmpv6", "fib") and words:
        name = f"{word} {words.pop(0)}"
    if words[:1] == ["vmap"]:
        return _verdict_map(name, words, packet)
    negated = words[:1] == ["!="]
    if words[:1] in (["!="], ["=="]):
        words.pop(0)
    values = _values(words)
    if word in ("ip6", "icmpv6"):
        return False, None  # our packets are IPv4
    answer = _any(name, values, packet)
    return (None if answer is None else answer is not negated), None


def _values(words: list[str]) -> list[str]:
    if words[:1] != ["{"]:
        # What is not understood must not swallow the verdict behind it.
        return [] if not words or words[0] in _VERDICTS else words.pop(0).split(",")
    words.pop(0)
    values: list[str] = []
    while words and words[0] != "}":
        values += words.pop(0).split(",")
    del words[:1]
    return values


def _verdict_map(name: str, words: list[str], packet: Probe) -> tuple[bool | None, tuple[str, str] | None]:
    del words[:1]
    if words[:1] != ["{"]:
        return None, ("accept", "")  # a named map: it may do anything
    words.pop(0)
    certain = True
    while words and words[0] != "}":
        key = words.pop(0)
        if words[:1] == [":"]:
            words.pop(0)
        verdict = words.pop(0)
        target = words.pop(0) if verdict in ("jump", "goto") and words else ""
        answer = _any(name, key.split(","), packet)
        if answer is True:
            return (True if certain else None), (verdict, target)
        certain &= answer is False
    return (False if certain else None), ("accept", "")


def _any(name: str, values: Sequence[str], packet: Probe) -> bool | None:
    answers = [_one(name, value, packet) for value in values]
    if True in answers:
        return True
    return None if None in answers or not answers else False


def _one(name: str, value: str, packet: Probe) -> bool | None:
    value = value.strip('"')
    if value.startswith("@"):
        return None
    match name:
        case "iifname" | "iif":
            return _interface(packet.iifname, value)
        case "oifname" | "oif":
            return None if packet.oifname is None else _interface(packet.oifname, value)
        case "ct state":
            return packet.state == value
        case "ct status":
            return value in packet.status.split(",")
        case "meta l4proto" | "ip protocol":
            return _L4.get(value, value) == packet.l4proto
        case "meta nfproto":
            return value == "ipv4"
        case "ip saddr":
            return _address(packet.saddr, value)
        case "ip daddr":
            return _address(packet.daddr, value)
        case "icmp type":
            return None if packet.l4proto == "icmp" else False
        case _:
            return _port(name, value, packet)


def _interface(name: str, value: str) -> bool:
    return name.startswith(value[:-1]) if value.endswith("*") else name == value


def _address(network: IPv4Network | None, value: str) -> bool | None:
    try:
        wanted = IPv4Network(value)
    except ValueError:
        return None
    if network is None:
        return None
    if network.subnet_of(wanted):
        return True
    return None if network.overlaps(wanted) else False


def _port(name: str, value: str, packet: Probe) -> bool | None:
    proto, _, field = name.partition(" ")
    if proto in ("tcp", "udp") and proto != packet.l4proto:
        return False
    if field not in ("sport", "dport") or proto not in ("tcp", "udp", "th"):
        return None
    port = packet.sport if field == "sport" else packet.dport
    low, _, high = value.partition("-")
    if port is None or not low.isdigit():
        return None
    return int(low) <= port <= int(high or low)
