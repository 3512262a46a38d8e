"""What conntrack(8) says in XML and what we say in JSON, brought into one form."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

from nftrtsp.conntrack.flow import SCTP_STATES, TCP_STATES

Said = dict[str, Any]


def flows(text: str) -> list[Said]:
    """Return what `conntrack -E -o xml` or `conntrack -L -o xml` says of flows."""
    return [_flow(element) for element in _elements(text)]


def expectations(text: str) -> list[Said]:
    """Return what `conntrack -E expect -o xml` says."""
    return [_expectation(element) for element in _elements(text)]


def _elements(text: str) -> list[ET.Element]:
    return [ET.fromstring(found) for found in re.findall(r"<flow\b.*?</flow>", text, re.DOTALL)]


def _number(element: ET.Element | None, path: str) -> int | None:
    told = element.findtext(path) if element is not None else None
    return None if told is None else int(told)


def _flow(element: ET.Element) -> Said:
    sides = {side.get("direction", ""): side for side in element.findall("meta")}
    own = sides["independent"]
    said: Said = {"event": element.get("type")}
    for name, direction in (("orig", "original"), ("reply", "reply")):
        side = sides[direction]
        layer4 = side.find("layer4")
        assert layer4 is not None
        said[name] = {
            "src": side.findtext("layer3/src"),
            "dst": side.findtext("layer3/dst"),
            "proto": int(layer4.get("protonum", "0")),
            "sport": _number(side, "layer4/sport"),
            "dport": _number(side, "layer4/dport"),
            "zone": _number(side, "zone"),
        }
        said[f"packets_{name}"] = _number(side, "counters/packets")
        said[f"bytes_{name}"] = _number(side, "counters/bytes")
    said["state"] = own.findtext("state")
    if said["orig"]["proto"] == 132 and said["state"] is not None:
        # conntrack-tools 1.4.7 writes SCTP's states by TCP's names in XML (its text has the right ones).
        said["state"] = SCTP_STATES[TCP_STATES.index(said["state"])]
    for name in ("timeout", "zone", "id"):
        said[name] = _number(own, name)
    said["mark"] = _number(own, "mark") or 0
    said["unreplied"] = own.find("unreplied") is not None
    said["assured"] = own.find("assured") is not None
    said["helper"] = element.findtext("helper")
    return said


PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "icmpv6": 58, "sctp": 132, "udplite": 136}


def our_flow(record: Said, event: str | None = None) -> Said:
    """Return our JSON object of a flow in the same form."""
    proto = PROTOCOLS.get(record["proto"]) or int(record["proto"])
    said: Said = {"event": event}
    for name in ("orig", "reply"):
        told = record[name]
        # conntrack(8) says nothing of GRE's keys nor of ICMP's fields.
        ports = proto not in (1, 58, 47)
        said[name] = {
            "src": told["src"],
            "dst": told["dst"],
            "proto": proto,
            "sport": told["sport"] if ports else None,
            "dport": told["dport"] if ports else None,
            "zone": told.get("zone"),
        }
        said[f"packets_{name}"] = record["packets"][name] if record["packets"] else None
        said[f"bytes_{name}"] = record["bytes"][name] if record["bytes"] else None
    said["state"] = record["state"]
    said["timeout"], said["id"] = record["timeout"], record["id"]
    said["zone"] = record["zone"] or None
    said["mark"] = record["mark"]
    said["unreplied"] = "seen-reply" not in record["status"]
    said["assured"] = "assured" in record["status"]
    said["helper"] = record["helper"]
    return said


def _expectation(element: ET.Element) -> Said:
    said: Said = {"event": element.get("type")}
    layer4 = element.find("layer4")
    assert layer4 is not None
    said["proto"] = int(layer4.get("protonum", "0"))
    for ours, theirs in (("tuple", "expected"), ("mask", "mask"), ("master", "master")):
        said[ours] = {
            "src": element.findtext(f"layer3/{theirs}/src"),
            "dst": element.findtext(f"layer3/{theirs}/dst"),
            "sport": _number(element, f"layer4/{theirs}/sport"),
            "dport": _number(element, f"layer4/{theirs}/dport"),
        }
    said["helper"] = element.findtext("meta/helper-name")
    said["timeout"] = _number(element, "meta/timeout")
    said["class"] = _number(element, "meta/class")
    return said


def our_expectation(record: Said, event: str | None = None) -> Said:
    """Return our JSON object of an expectation in the same form."""
    said: Said = {"event": event, "proto": PROTOCOLS[record["proto"]]}
    for name in ("tuple", "mask", "master"):
        said[name] = {key: record[name][key] for key in ("src", "dst", "sport", "dport")}
    said["helper"], said["timeout"], said["class"] = record["helper"], record["timeout"], record["class"]
    return said
