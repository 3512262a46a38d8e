"""Config to the chain that gives RTSP connections their helper (pure)."""

from __future__ import annotations

from nftrtsp.config import Config, HelperKind
from nftrtsp.ruleset import names
from nftrtsp.ruleset.match import from_iptv, to_iptv
from nftrtsp.ruleset.model import Chain, Hook, Rule
from nftrtsp.ruleset.objects import asker_set


def attach(config: Config, kind: HelperKind) -> Chain:
    """Give the control connections their helper, or the pinhole helper copies of them."""
    askers = asker_set(config)
    request = (
        f"iifname @{names.LAN_SET} {to_iptv(config)} ip saddr @{askers} tcp dport @{names.RTSP_PORTS_SET}"
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
        f"{from_iptv(config)} oifname @{names.LAN_SET} ip daddr @{askers} tcp sport @{names.RTSP_PORTS_SET}"
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
