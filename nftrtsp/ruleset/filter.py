"""Config to the chains that judge what passes and what the router takes (pure)."""

from __future__ import annotations

from nftrtsp.config import Config, HelperKind, IptvService, MarkBits, Policy
from nftrtsp.ruleset import names
from nftrtsp.ruleset.match import from_iptv, from_servers, to_iptv
from nftrtsp.ruleset.model import Chain, Hook, Rule
from nftrtsp.ruleset.objects import asker_set

_ALL_BITS = 0xFFFFFFFF
#: What the router itself takes, and why.
_SERVICES = {
    IptvService.IGMP: ("ip protocol igmp", "Questions of the multicast router: who watches what."),
    IptvService.ICMP: (
        "meta l4proto { icmp, icmpv6 }",
        "Ping and errors; for IPv6 also neighbour discovery.",
    ),
    IptvService.DHCP: ("udp sport 67 udp dport 68", "The interface's address, where it comes by DHCP."),
    IptvService.RIP: ("udp sport 520 udp dport 520", "Routes to the servers, announced by RIPv2."),
}


def sources(config: Config) -> Chain:
    """Turn away what comes with a source that cannot be there: before conntrack, NAT and every accept.

    Behind ``iptv.policy`` neither: a port open for a film would else let such a packet into the LAN.
    """
    rules = (
        Rule.named(
            "from-iptv-spoofed",
            f"{from_iptv(config)} ip saddr @{names.LAN_NETWORKS_SET}",
            "drop",
            note="Addresses of the LAN are not on the IPTV side: forged.",
        ),
        Rule.named(
            "from-iptv-own",
            f"{from_iptv(config)} fib saddr type local fib daddr type != {{ multicast, broadcast }}",
            "drop",
            note="Nor are the router's own. What the router itself sends to many comes back to it this way.",
        ),
    )
    hook = Hook("filter", "prerouting", "raw")
    return Chain("sources", rules, hook, note="Who can be on the IPTV side at all, whatever else is open.")


def forward(config: Config, kind: HelperKind) -> list[Chain]:
    """Judge what goes to or comes from the IPTV interface, and nothing else."""
    base = Chain(
        "forward",
        (
            Rule.named("forward-to-iptv", to_iptv(config), "jump to-iptv", counter=False),
            Rule.named("forward-from-iptv", from_iptv(config), "jump from-iptv", counter=False),
        ),
        Hook("filter", "forward", "filter"),
        note="Only what goes to or comes from the IPTV interface is judged; other traffic passes. A drop "
        "of ours is final; an accept is not, if another table drops.",
    )
    return [_to_iptv_chain(config), _from_iptv_chain(config, kind), base]


def _to_iptv_chain(config: Config) -> Chain:
    rules = [
        Rule.named(
            "to-iptv-invalid",
            f"ip saddr @{names.LAN_NETWORKS_SET} ct state invalid,untracked",
            "drop",
            note="What conntrack does not follow is not translated: it would leave with the LAN's addresses.",
        ),
        Rule.named(
            "to-iptv-lan",
            f"iifname @{names.LAN_SET} ip saddr @{names.LAN_NETWORKS_SET}",
            "accept",
            note="The LAN may start what it likes.",
        ),
    ]
    if config.iptv.policy is Policy.DROP:
        rules.append(
            Rule.named(
                "to-iptv-drop",
                "",
                "drop",
                note="Others, and addresses that would not be masqueraded, have no business there.",
            )
        )
    return Chain("to-iptv", tuple(rules))


def _mark(bits: MarkBits) -> str:
    """Return the statement that sets our bits and leaves those of others."""
    kept = ~bits.mask & _ALL_BITS
    if bits.value == bits.mask:
        return f"ct mark set ct mark | {bits.value:#010x}"
    return f"ct mark set ct mark & {kept:#010x} | {bits.value:#010x}"


def _from_iptv_chain(config: Config, kind: HelperKind) -> Chain:
    # Of the tuple, not of the packet: the kernel's and the userspace helper translate a film's source too.
    strict = from_servers(config, "ct original ip saddr")
    media = f'{_mark(config.rtsp.mark)} ct timeout set "{names.PAUSE_TIMEOUT}" accept'
    rules = [
        Rule.named(
            "from-iptv-established", "ct state established", "accept", note="Answers, and films that play."
        ),
        Rule.named(
            "from-iptv-errors",
            "ct state related meta l4proto { icmp, icmpv6 }",
            "accept",
            note="ICMP errors of such flows: path MTU discovery needs them.",
        ),
    ]
    if kind.uses_ct_helper:
        rules.append(
            Rule.named(
                "from-iptv-media",
                f'ct state related ct helper "{names.CT_HELPER_TYPE}" {strict}meta l4proto udp',
                media,
                note="A film that the helper expected: marked as media, kept through a pause.",
            )
        )
    if kind is HelperKind.PINHOLE or config.iptv.full_cone:
        rules.append(
            Rule.named(
                "from-iptv-dnat",
                f"oifname @{names.LAN_SET} ip daddr @{asker_set(config)} "
                f"ct status dnat {strict}meta l4proto udp",
                media,
                note="A film that came through an open port: marked as media, kept through a pause.",
            )
        )
    if config.iptv.multicast:
        rules.append(
            Rule.named(
                "from-iptv-multicast",
                f"oifname @{names.LAN_SET} ip daddr @{names.MULTICAST_SET} meta l4proto udp",
                "accept",
                note="Live TV.",
            )
        )
    if config.iptv.policy is Policy.DROP:
        rules.append(Rule.named("from-iptv-drop", "", "drop", note="Nobody asked for the rest."))
    return Chain("from-iptv", tuple(rules))


def local_input(config: Config) -> Chain:
    """Say what the router itself takes from the IPTV side."""
    rules = [
        Rule.named("input-other", f'iifname != "{config.iptv.interface}"', "accept", counter=False),
        Rule.named(
            "input-established", "ct state established", "accept", note="Answers to the router itself."
        ),
        Rule.named("input-errors", "ct state related meta l4proto { icmp, icmpv6 }", "accept"),
    ]
    for service in IptvService:
        if service in config.iptv.services:
            match, note = _SERVICES[service]
            rules.append(Rule.named(f"input-{service}", match, "accept", note=note))
    if config.iptv.multicast:
        rules.append(
            Rule.named(
                "input-multicast",
                f"ip daddr @{names.MULTICAST_SET} meta l4proto udp",
                "accept",
                note="Live TV that an IGMP proxy or udpxy on this router has joined.",
            )
        )
    rules.append(
        Rule.named(
            "input-drop",
            "",
            "drop",
            note="The rest. A film for which no port is open ends here: this counter rises.",
        )
    )
    note = "What the router itself takes from the IPTV side. What comes from elsewhere is not judged."
    return Chain("input", tuple(rules), Hook("filter", "input", "filter"), note=note)
