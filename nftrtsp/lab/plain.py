"""The plain router that people have: masquerade and a stateful firewall, no conntrack helper."""

from __future__ import annotations

import json

from nftrtsp.lab.network import IPTV_LINK, LAN_LINK, Router

TABLE = "plain_router"

_RULES = f"""
table inet {TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname "{IPTV_LINK}" masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "{LAN_LINK}" accept
    ip daddr 239.0.0.0/16 accept comment "live TV, which is multicast"
    ct status dnat accept
    counter comment "dropped"
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname {{ "lo", "{LAN_LINK}" }} accept
    meta l4proto {{ icmp, igmp }} accept
    udp dport 520 accept comment "RIP, by which the provider tells its routes"
    counter comment "dropped"
  }}
}}
"""


def load(router: Router) -> None:
    """Load the plain router's table. It stays beside ours: we touch no table but our own."""
    router.load_rules(_RULES)


def text(router: Router) -> str:
    """Return the table as the kernel prints it, without counters."""
    return router.run(["nft", "-s", "list", "table", "inet", TABLE]).stdout


def dropped(router: Router) -> int:
    """Return how many packets the firewall has dropped."""
    listing = json.loads(router.run(["nft", "-j", "list", "table", "inet", TABLE]).stdout)
    rules = [item["rule"] for item in listing["nftables"] if "rule" in item]
    return sum(
        int(part["counter"]["packets"])
        for rule in rules
        if rule.get("comment") == "dropped"
        for part in rule["expr"]
        if "counter" in part
    )
