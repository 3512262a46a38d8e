"""TOML's values to ours, and msgspec's complaints to sentences with a place and a remedy (pure)."""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

import msgspec

from nftrtsp.config.values import UNIT_SECONDS, HelperKind, IptvService, MarkBits, Policy, Seconds
from nftrtsp.errors import ConfigError

_DURATION = re.compile(r"([0-9]{1,9})\s*([smhd])")
_EXPECTED = re.compile(r"Expected `(?P<wanted>[^`]+)`(?:, got `(?P<got>[^`]+)`)?")
_MISSING = re.compile(r"Object missing required field `(\w+)`")

_WORDS = {
    "array": "a list",
    "bool": "true or false",
    "date": "a date",
    "datetime": "a time",
    "float": "a number with a fraction",
    "int": "a whole number",
    "object": "a table",
    "str": "a text",
}

#: Last part of a key -> how its value is written.
_EXAMPLES = {
    "address": '"192.168.1.200"',
    "full_cone": "true",
    "helper": '"auto"',
    "interface": '"vlan2"',
    "interfaces": '["br0"]',
    "iptv": "[iptv] and its keys below it",
    "lan": "[lan] and its keys below it",
    "log_group": "554",
    "mark": '"0x100000/0x100000"',
    "max_per_stb": "8",
    "max_total": "4096",
    "multicast": '["239.0.0.0/16"]',
    "name": '"Living room"',
    "nat": '"masquerade"',
    "networks": '["192.168.1.0/24"]',
    "pause": '"1h"',
    "policy": '"drop"',
    "ports": "[554]",
    "queue": "554",
    "rewrite_destination": "true",
    "rtsp": "[rtsp] and its keys below it",
    "servers": '["172.26.80.0/21"]',
    "services": '["igmp", "icmp"]',
    "stb": "[[stb]] and its keys below it",
    "strict_sources": "true",
}

_CHOICES: dict[str, type[StrEnum]] = {"helper": HelperKind, "policy": Policy, "services": IptvService}


def decode(kind: type, value: object) -> object:
    """Return ``value`` as ``kind``, for msgspec; raise ValueError with ``SENTENCE; REMEDY``."""
    if kind is Seconds:
        return _seconds(value)
    if kind is MarkBits:
        return _mark(value)
    if kind is IPv4Network:
        return _network(value)
    try:
        return IPv4Address(_text(value))
    except ValueError:
        raise ValueError(f"{value!r} is no IPv4 address; write it as '192.168.1.200'") from None


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("not a text")


def _network(value: object) -> IPv4Network:
    try:
        text = _text(value)
        loose = IPv4Network(text, strict=False)
    except ValueError:
        raise ValueError(f"{value!r} is no IPv4 network; write it as '192.168.1.0/24'") from None
    try:
        return IPv4Network(text)
    except ValueError:
        raise ValueError(f"{text} is an address within a network; the network is {loose}") from None


def _seconds(value: object) -> Seconds:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"{value!r} is not a time; write it as '30s', '5m' or '1h'")
    return Seconds(int(match[1]) * UNIT_SECONDS[match[2]])


def _mark(value: object) -> MarkBits:
    text = f"{value:#x}" if type(value) is int else str(value)
    number, _, mask = text.partition("/")
    try:
        bits = MarkBits(int(number, 0), int(mask or number, 0))
    except ValueError:
        raise ValueError(f"{value!r} is not a mark; write it as '0x100000/0x100000'") from None
    if not 0 < bits.value <= 0xFFFFFFFF or not 0 < bits.mask <= 0xFFFFFFFF or bits.value & ~bits.mask:
        raise ValueError(f"{value!r} is not a mark of 32 bits; neither 0 nor outside its own mask")
    return bits


def explain(error: msgspec.ValidationError, place: str) -> ConfigError:
    """Turn msgspec's ``… - at `$.iptv.nat``` into our place, sentence and remedy."""
    text, _, where = str(error).partition(" - at `$")
    key = where.rstrip("`").lstrip(".")
    message, remedy = text[:1].lower() + text[1:], ""
    if missing := _MISSING.match(text):
        key = f"{key}.{missing[1]}".lstrip(".")
        message = "is missing"
    elif wrong := _EXPECTED.match(text):
        message = "must be " + " or ".join(_word(kind) for kind in wrong["wanted"].split(" | "))
        message += f", not {_word(wrong['got'])}" if wrong["got"] else ""
    elif "; " in text:
        message, _, remedy = text.partition("; ")
    last = re.sub(r"\[.*?\]", "", key).rpartition(".")[2]
    if text.startswith("Invalid enum value") and last in _CHOICES:
        message = f"{text.removeprefix('Invalid enum value ')} is not known"
        remedy = f"choose one of {', '.join(_CHOICES[last])}"
    return ConfigError(message, place=f"{place}: {key}", remedy=remedy or _example(last))


def _word(kind: str) -> str:
    return _WORDS.get(kind, kind)


def _example(key: str) -> str:
    example = _EXAMPLES.get(key, "see `nftrtsp init`")
    return (
        f"write {example}" if example.startswith("[") and " and " in example else f"write {key} = {example}"
    )
