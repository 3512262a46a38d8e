"""Config to the chains that translate addresses: films to their boxes, the LAN to the IPTV side (pure)."""

from __future__ import annotations

from nftrtsp.config import Config, HelperKind
from nftrtsp.ruleset import names
from nftrtsp.ruleset.match import UNPRIVILEGED, from_iptv, from_servers, to_iptv
from nftrtsp.ruleset.model import Chain, Hook, Rule
from nftrtsp.ruleset.objects import asker_set

_CONE_TIMEOUT = "5m"  # NAT gateways keep UDP mappings for at least 5 minutes: RFC 4787, REQ-5


def prerouting(config: Config, kind: HelperKind) -> Chain | None:
    """Send what comes for an open port to its set-top box."""
    snat = config.iptv.snat_address
    ours = f"{from_iptv(config)} " + (f"ip daddr {snat}" if snat else "fib daddr type local")
    films = f"{ours} {from_servers(config, 'ip saddr')}udp dport >= {UNPRIVILEGED}"
    rules = []
    if kind is HelperKind.PINHOLE:
        rules.append(
            Rule.named(
                "pinhole",
                films,
                f"dnat ip to udp dport map @{names.PINHOLE_MAP}",
                note="The film, from whatever server, to the box that asked for that port. Only what is "
                "addressed to the router: live TV on the same port number is left alone.",
                counter=False,  # would count every new flow, also those that no element matches
            )
        )
    if config.iptv.full_cone:
        rules += [
            Rule.named(
                "cone-router",
                f"{ours} meta l4proto udp socket transparent {{ 0, 1 }}",
                "return",
                note="A port at which a program of this router listens stays the router's own.",
            ),
            Rule.named(
                "cone",
                films,
                f"dnat ip to udp dport map @{names.CONE_MAP}",
                note="Full cone: anybody on the IPTV side may answer to a port that a box sent from.",
                counter=False,
            ),
        ]
    if not rules:
        return None
    return Chain("prerouting", tuple(rules), Hook("nat", "prerouting", "dstnat"))


def postrouting(config: Config) -> Chain:
    """Have what leaves for the IPTV side come from the router."""
    snat = config.iptv.snat_address
    rule = Rule.named(
        "nat",
        f"{to_iptv(config)} ip saddr @{names.LAN_NETWORKS_SET}",
        f"snat ip to {snat}" if snat else "masquerade",
        note="The IPTV side knows only the router's address there.",
    )
    return Chain("postrouting", (rule,), Hook("nat", "postrouting", "srcnat"))


def cone_fill(config: Config) -> list[Chain]:
    """Remember the ports that boxes send from, for full cone: a filter chain that feeds ``prerouting``."""
    if not config.iptv.full_cone:
        return []
    rule = Rule.named(
        "cone-fill",
        f"iifname @{names.LAN_SET} {to_iptv(config)} ct direction original "
        f"ct original ip saddr @{asker_set(config)} udp sport >= {UNPRIVILEGED}",
        f"update @{names.CONE_MAP} "
        f"{{ udp sport timeout {_CONE_TIMEOUT} : ct original ip saddr . ct original proto-src }}",
        note="By what comes from the LAN alone. After source NAT, so that the port is the one the IPTV side "
        "sees, also where NAT had to change it. A filter chain sees every packet, so a port in use never "
        "times out; a nat chain would see only a flow's first.",
    )
    return [Chain("cone-fill", (rule,), Hook("filter", "postrouting", "srcnat + 1"))]
