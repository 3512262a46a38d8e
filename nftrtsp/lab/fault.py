"""What goes wrong in real houses, made in the lab, to see what doctor and the dashboard say of it.

Each fault is made and fixed in a lab whose provider runs. They are real: a route that is not there, a filter
that drops, an expectation in conntrack that is pinned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nftrtsp.errors import LabError
from nftrtsp.lab import links
from nftrtsp.lab.network import (
    IPTV_GATEWAY,
    IPTV_LINK,
    LAN_LINK,
    RTSP_PORT,
    UNROUTED_MEDIA_SERVER,
    VOD_NETWORK,
    Lab,
)

#: The port that the first set-top box is expected to ask for under ``pinned``; each other one asks 2 higher.
PINNED_PORT = 27336


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what it is in a few words, how it is made and how it is fixed."""

    summary: str
    make: Callable[[Lab], None]
    fix: Callable[[Lab], None]


def _drop_route(lab: Lab) -> None:
    lab.router.call(lambda: links.remove_route(VOD_NETWORK, IPTV_GATEWAY.ip))


def _add_route(lab: Lab) -> None:
    lab.router.call(lambda: links.add_route(VOD_NETWORK, IPTV_GATEWAY.ip))


def _forwarding(value: int) -> Callable[[Lab], None]:
    return lambda lab: _set(lab, "net/ipv4/ip_forward", value)


def _set(lab: Lab, key: str, value: int) -> None:
    lab.router.set_sysctl(key, value)


def _filter_paths(lab: Lab) -> None:
    for name in ("all", IPTV_LINK):
        _set(lab, f"net/ipv4/conf/{name}/rp_filter", 1)
    lab.standing_provider().behave(servers=UNROUTED_MEDIA_SERVER)


def _trust_paths(lab: Lab) -> None:
    for name in ("all", IPTV_LINK):
        _set(lab, f"net/ipv4/conf/{name}/rp_filter", 0)
    lab.standing_provider().behave()


_FIREWALL = f"""
table inet firewall {{
  chain forward {{
    type filter hook forward priority filter + 10; policy accept;
    iifname "{IPTV_LINK}" meta l4proto udp counter drop comment "all UDP from the IPTV side"
  }}
}}
"""


def _add_firewall(lab: Lab) -> None:
    lab.router.load_rules(_FIREWALL)


def _pinned(lab: Lab) -> str:
    """Return rules that expect the film from the RTSP server only, as the stock kernel module does.

    ``ct expectation`` copies the server's address into the expectation, like nf_conntrack_rtsp.c does. The
    kernel takes its timeout as seconds where nft sends milliseconds: 300ms are five minutes. After srcnat, as
    the expectation's destination is the reply direction's, and before the flow is confirmed.
    """
    ports = {stb.address: PINNED_PORT + 2 * index for index, stb in enumerate(lab.stbs)}
    objects = "".join(
        f"  ct expectation port{port} {{ protocol udp; dport {port}; timeout 300ms; size 8; l3proto ip; }}\n"
        for port in ports.values()
    )
    rules = "".join(
        f'    oifname "{IPTV_LINK}" tcp dport {RTSP_PORT} ct state new ct original saddr {address}'
        f' ct expectation set "port{port}"\n'
        for address, port in ports.items()
    )
    return (
        f"table ip pinned {{\n{objects}"
        "  chain expect {\n    type filter hook postrouting priority srcnat + 20; policy accept;\n"
        f"{rules}  }}\n"
        "  chain forward {\n    type filter hook forward priority filter - 5; policy accept;\n"
        f'    iifname "{IPTV_LINK}" oifname "{LAN_LINK}" meta l4proto udp'
        f" ip saddr != {lab.rtsp_server} drop\n"
        "  }\n}\n"
    )


def _pin(lab: Lab) -> None:
    lab.router.load_rules(_pinned(lab))


def _remove_table(family: str, name: str) -> Callable[[Lab], None]:
    def fix(lab: Lab) -> None:
        lab.router.load_rules(f"delete table {family} {name}")

    return fix


def _mute(lab: Lab) -> None:
    provider = lab.standing_provider()
    provider.behave(mute=1)
    provider.silence()


def _unmute(lab: Lab) -> None:
    lab.standing_provider().behave()


def _switch_off(lab: Lab) -> None:
    lab.stbs[0].switch_off()


def _switch_on(lab: Lab) -> None:
    lab.stbs[0].switch_on()


FAULTS: dict[str, Fault] = {
    "no-route": Fault("the router has no route to the RTSP servers", _drop_route, _add_route),
    "no-forwarding": Fault("the router forwards nothing", _forwarding(0), _forwarding(1)),
    "rp-filter": Fault("rp_filter drops films from servers without a route", _filter_paths, _trust_paths),
    "firewall": Fault(
        "another table drops all UDP from the IPTV side", _add_firewall, _remove_table("inet", "firewall")
    ),
    "pinned": Fault(
        "films are expected from the RTSP server only, as by the stock kernel module",
        _pin,
        _remove_table("ip", "pinned"),
    ),
    "no-film": Fault("the media servers have broken down; RTSP answers as ever", _mute, _unmute),
    "box-off": Fault("the first set-top box has lost its power", _switch_off, _switch_on),
}


def find(name: str) -> Fault:
    """Return the fault ``name``; raises :class:`LabError`."""
    if name not in FAULTS:
        raise LabError(
            f"there is no fault {name!r}", place="lab", remedy=f"choose one of {', '.join(FAULTS)}"
        )
    return FAULTS[name]
