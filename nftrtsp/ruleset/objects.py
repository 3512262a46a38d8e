"""Config to the sets, maps and conntrack objects that the rules refer to (pure)."""

from __future__ import annotations

from ipaddress import collapse_addresses

from nftrtsp.config import Config, HelperKind
from nftrtsp.ruleset import names
from nftrtsp.ruleset.model import CtHelper, CtTimeout, Map, Object, Set

_CONE_SIZE = 65535  # one element a port, at most


def asker_set(config: Config) -> str:
    """Return the name of the set of those who may ask: the boxes, or where none is named, the whole LAN."""
    return names.STBS_SET if config.stb else names.LAN_NETWORKS_SET


def objects(config: Config, kind: HelperKind) -> list[Object]:
    """Return what the rules refer to."""
    made: list[Object] = [
        Set(
            names.LAN_SET,
            "ifname",
            tuple(f'"{name}"' for name in sorted(config.lan.interfaces)),
            note="Where the set-top boxes are: interfaces and networks.",
        ),
        Set(
            names.LAN_NETWORKS_SET,
            "ipv4_addr",
            tuple(str(network) for network in sorted(config.lan.networks)),
            flags=("interval",),
        ),
    ]
    if config.stb:
        boxes = tuple(str(box.address) for box in sorted(config.stb, key=lambda box: box.address))
        called = ", ".join(f"{box.address} is {box.name}" for box in config.stb if box.name)
        note = "Only these may have ports opened" + (f": {called}." if called else ".")
        made.append(Set(names.STBS_SET, "ipv4_addr", boxes, note=note))
    ports = tuple(str(port) for port in sorted(config.rtsp.ports))
    made.append(
        Set(names.RTSP_PORTS_SET, "inet_service", ports, note="TCP ports on which films are asked for.")
    )
    if config.iptv.strict_sources:
        networks = tuple(str(network) for network in collapse_addresses(config.iptv.servers))
        note = "Films may come from here only, as iptv.strict_sources has it."
        made.append(Set(names.SERVERS_SET, "ipv4_addr", networks, flags=("interval",), note=note))
    if config.iptv.multicast:
        groups = tuple(str(network) for network in sorted(config.iptv.multicast))
        made.append(
            Set(names.MULTICAST_SET, "ipv4_addr", groups, flags=("interval",), note="Groups of live TV.")
        )
    made.append(
        CtTimeout(
            names.PAUSE_TIMEOUT,
            "udp",
            (("unreplied", int(config.rtsp.pause)), ("replied", int(config.rtsp.pause))),
            note=f"A film that is paused keeps its port open for {config.rtsp.pause}; conntrack's own 30s "
            "would close it.",
        )
    )
    if kind.uses_ct_helper:
        made.append(
            CtHelper(
                names.CT_HELPER,
                names.CT_HELPER_TYPE,
                note="Reads SETUP and expects the film. The type must be registered before this file loads: "
                "by `modprobe nf_nat_rtsp` or by `nftrtsp helper`.",
            )
        )
    else:
        made.append(
            Map(
                names.PINHOLE_MAP,
                "inet_service",
                "ipv4_addr . inet_service",
                flags=("timeout",),
                note="Ways open now: UDP port at the router : set-top box and its port. "
                "`nftrtsp helper` fills it.",
            )
        )
    if config.iptv.full_cone:
        made.append(
            Map(
                names.CONE_MAP,
                "inet_service",
                "ipv4_addr . inet_service",
                flags=("dynamic", "timeout"),
                size=_CONE_SIZE,
                note="Full cone: UDP ports that set-top boxes send from, filled by the chain cone-fill.",
            )
        )
    return made
