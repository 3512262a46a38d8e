"""Config to table (pure): what the router should do, rule by rule, and why.

The chains in the order that a packet meets them: ``sources`` (forged addresses), ``prerouting`` (dnat of
pinholes and full cone), ``attach`` (the RTSP helper), ``forward`` or ``input`` (the policy), ``postrouting``
(masquerade), ``cone-fill``.

Films flow one way, so conntrack calls each of their packets *new* or *related* until the box sends something
back; the rules for media therefore see more than a film's first packet.
"""

from __future__ import annotations

from nftrtsp.config import Config, HelperKind, MarkBits, Policy, Service
from nftrtsp.ruleset import names
from nftrtsp.ruleset.model import Chain, Hook, Rule, Table
from nftrtsp.ruleset.objects import asker_set, objects

_ALL_BITS = 0xFFFFFFFF
_UNPRIVILEGED = 1024  # no film goes to a port below: those are for services of the router
_CONE_TIMEOUT = "5m"  # NAT gateways keep UDP mappings for at least 5 minutes: RFC 4787, REQ-5


def build(config: Config, kind: HelperKind) -> Table:
    """Return the table for ``config`` with the helper ``kind``, which must be a settled one, not ``auto``.

    ``kernel`` and ``userspace`` give one and the same table. Raises ValueError for ``auto``: what it stands
    for is a question to a machine (``nftrtsp.helper.choice``).
    """
    if kind is HelperKind.AUTO:
        raise ValueError("settle the helper kind before building a ruleset")
    chains = [_sources(config), _prerouting(config, kind), _attach(config, kind), *_forward(config, kind)]
    if config.iptv.policy is Policy.DROP:
        chains.append(_input(config))
    chains += [_postrouting(config), *_cone_fill(config)]
    return Table(
        family=names.TABLE_FAMILY,
        name=names.TABLE_NAME,
        objects=tuple(objects(config, kind)),
        chains=tuple(chain for chain in chains if chain is not None),
        note=_headline(config, kind),
    )


def _headline(config: Config, kind: HelperKind) -> str:
    how = {
        HelperKind.KERNEL: "the kernel's conntrack helper",
        HelperKind.USERSPACE: "the userspace conntrack helper",
        HelperKind.PINHOLE: "the pinhole helper",
    }[kind]
    if kind.uses_ct_helper:
        how = "a conntrack helper (the kernel module, or `nftrtsp helper`)"
    return (
        f"Video on demand through this router: profile {config.profile}, "
        f"IPTV interface {config.iptv.interface}, ways opened by {how}.\n"
        "Written by `nftrtsp generate`; the three lines that follow replace our table, and no other, in one "
        "transaction."
    )


def _from_iptv(config: Config) -> str:
    return f'iifname "{config.iptv.interface}"'


def _to_iptv(config: Config) -> str:
    return f'oifname "{config.iptv.interface}"'


def _sources(config: Config) -> Chain:
    """Turn away what comes with a source that cannot be there: before conntrack, NAT and every accept.

    Behind ``iptv.policy`` neither: a way open for a film would else let such a packet into the LAN.
    """
    rules = (
        Rule.named(
            "from-iptv-spoofed",
            f"{_from_iptv(config)} ip saddr @{names.LAN_NETWORKS_SET}",
            "drop",
            note="Addresses of the LAN are not on the IPTV side: forged.",
        ),
        Rule.named(
            "from-iptv-own",
            f"{_from_iptv(config)} fib saddr type local fib daddr type != {{ multicast, broadcast }}",
            "drop",
            note="Nor are the router's own. What the router itself sends to many comes back to it this way.",
        ),
    )
    hook = Hook("filter", "prerouting", "raw")
    return Chain("sources", rules, hook, note="Who can be on the IPTV side at all, whatever else is open.")


def _strict(config: Config, source: str) -> str:
    """Return the match that limits films to servers of the config, where it asks for that."""
    return f"{source} @{names.SERVERS_SET} " if config.iptv.strict_sources else ""


def _prerouting(config: Config, kind: HelperKind) -> Chain | None:
    """Send what comes for an open port to its set-top box."""
    snat = config.iptv.snat_address
    ours = f"{_from_iptv(config)} " + (f"ip daddr {snat}" if snat else "fib daddr type local")
    films = f"{ours} {_strict(config, 'ip saddr')}udp dport >= {_UNPRIVILEGED}"
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


def _attach(config: Config, kind: HelperKind) -> Chain:
    """Give the control connections their helper, or the pinhole helper copies of them."""
    askers = asker_set(config)
    request = (
        f"iifname @{names.LAN_SET} {_to_iptv(config)} ip saddr @{askers} tcp dport @{names.RTSP_PORTS_SET}"
    )
    hook = Hook("filter", "forward", "filter - 1")
    if kind.uses_ct_helper:
        rule = Rule.named(
            "attach",
            request,
            f'ct helper set "{names.CT_HELPER}"',
            note="A connection gets the helper with its first packet, or never.",
        )
        note = (
            "RTSP from the boxes to the IPTV side. In forward, because there the outgoing interface is "
            "known: nothing else that talks to these ports gets the helper. Just before the policy below."
        )
        return Chain("attach", (rule,), hook, note=note)
    answer = (
        f"{_from_iptv(config)} oifname @{names.LAN_SET} ip daddr @{askers} tcp sport @{names.RTSP_PORTS_SET}"
    )
    copy = f'log prefix "{names.LOG_PREFIX}" group {config.rtsp.log_group} snaplen 2048 queue-threshold 1'
    rules = (
        Rule.named(
            "copy-starts",
            f"{request} ct direction original ct state new tcp flags & (fin | syn | rst | ack) == syn",
            copy,
            note="A box connects.",
        ),
        Rule.named(
            "copy-requests",
            f"{request} ct direction original ct state established",
            copy,
            note="What the boxes ask. Only what conntrack knows as a connection with traffic both ways: one "
            "forged packet is none, nor is one beyond the window of sequence numbers (the helper judges the "
            "rest). A connection older than conntrack's memory is followed again from its first answer on.",
        ),
        Rule.named(
            "copy-answers",
            f"{answer} ct direction reply ct state established",
            copy,
            note="What the servers answer, and the end of the connection.",
        ),
    )
    note = (
        "Copies of the RTSP connections for `nftrtsp helper`, before the policy below, so that it sees every "
        "packet of theirs, the last ones too. The packets themselves go on untouched."
    )
    return Chain("attach", rules, hook, note=note)


def _forward(config: Config, kind: HelperKind) -> list[Chain]:
    """Judge what goes to or comes from the IPTV interface, and nothing else."""
    base = Chain(
        "forward",
        (
            Rule.named("forward-to-iptv", _to_iptv(config), "jump to-iptv", counter=False),
            Rule.named("forward-from-iptv", _from_iptv(config), "jump from-iptv", counter=False),
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
    strict = _strict(config, "ct original ip saddr")
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


_SERVICES = {
    Service.IGMP: ("ip protocol igmp", "Questions of the multicast router: who watches what."),
    Service.ICMP: ("meta l4proto { icmp, icmpv6 }", "Ping and errors; for IPv6 also neighbour discovery."),
    Service.DHCP: ("udp sport 67 udp dport 68", "The interface's address, where it comes by DHCP."),
    Service.RIP: ("udp sport 520 udp dport 520", "Routes to the servers, announced by RIPv2."),
}


def _input(config: Config) -> Chain:
    """Say what the router itself takes from the IPTV side."""
    rules = [
        Rule.named("input-other", f'iifname != "{config.iptv.interface}"', "accept", counter=False),
        Rule.named(
            "input-established", "ct state established", "accept", note="Answers to the router itself."
        ),
        Rule.named("input-errors", "ct state related meta l4proto { icmp, icmpv6 }", "accept"),
    ]
    for service in Service:
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
            note="The rest. A film that nobody has a way open for ends here: this counter rises.",
        )
    )
    note = "What the router itself takes from the IPTV side. What comes from elsewhere is not judged."
    return Chain("input", tuple(rules), Hook("filter", "input", "filter"), note=note)


def _postrouting(config: Config) -> Chain:
    snat = config.iptv.snat_address
    rule = Rule.named(
        "nat",
        f"{_to_iptv(config)} ip saddr @{names.LAN_NETWORKS_SET}",
        f"snat ip to {snat}" if snat else "masquerade",
        note="The IPTV side knows only the router's address there.",
    )
    return Chain("postrouting", (rule,), Hook("nat", "postrouting", "srcnat"))


def _cone_fill(config: Config) -> list[Chain]:
    if not config.iptv.full_cone:
        return []
    rule = Rule.named(
        "cone-fill",
        f"iifname @{names.LAN_SET} {_to_iptv(config)} ct direction original "
        f"ct original ip saddr @{asker_set(config)} udp sport >= {_UNPRIVILEGED}",
        f"update @{names.CONE_MAP} "
        f"{{ udp sport timeout {_CONE_TIMEOUT} : ct original ip saddr . ct original proto-src }}",
        note="By what comes from the LAN alone. After source NAT, so that the port is the one the IPTV side "
        "sees, also where NAT had to change it. A filter chain sees every packet, so a port in use never "
        "times out; a nat chain would see only a flow's first.",
    )
    return [Chain("cone-fill", (rule,), Hook("filter", "postrouting", "srcnat + 1"))]
