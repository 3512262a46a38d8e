"""Config to table (pure): what the router should do, rule by rule, and why.

The chains in the order that a packet meets them: ``sources`` (forged addresses), ``prerouting`` (dnat of
pinholes and full cone), ``attach`` (the RTSP helper), ``forward`` or ``input`` (the policy), ``postrouting``
(masquerade), ``cone-fill``.

Films flow one way, so conntrack calls each of their packets *new* or *related* until the box sends something
back; the rules for media therefore see more than a film's first packet.
"""

from __future__ import annotations

from nftrtsp.config import Config, HelperKind, Policy
from nftrtsp.ruleset import names
from nftrtsp.ruleset.attach import attach
from nftrtsp.ruleset.filter import forward, local_input, sources
from nftrtsp.ruleset.model import Table
from nftrtsp.ruleset.nat import cone_fill, postrouting, prerouting
from nftrtsp.ruleset.objects import objects


def build(config: Config, kind: HelperKind) -> Table:
    """Return the table for ``config`` with the helper ``kind``, which must be a settled one, not ``auto``.

    ``kernel`` and ``userspace`` give one and the same table. Raises ValueError for ``auto``: what it stands
    for is a question to a machine (``nftrtsp.helper.choice``).
    """
    if kind is HelperKind.AUTO:
        raise ValueError("settle the helper kind before building a ruleset")
    chains = [sources(config), prerouting(config, kind), attach(config, kind), *forward(config, kind)]
    if config.iptv.policy is Policy.DROP:
        chains.append(local_input(config))
    chains += [postrouting(config), *cone_fill(config)]
    return Table(
        family=names.TABLE_FAMILY,
        name=names.TABLE_NAME,
        objects=tuple(objects(config, kind)),
        chains=tuple(chain for chain in chains if chain is not None),
        note=_headline(config, kind),
    )


def _headline(config: Config, kind: HelperKind) -> str:
    how = "the pinhole helper"
    if kind.uses_ct_helper:
        how = "a conntrack helper (the kernel module, or `nftrtsp helper`)"
    return (
        f"Video on demand through this router: profile {config.profile}, "
        f"IPTV interface {config.iptv.interface}, ports opened by {how}.\n"
        "Written by `nftrtsp generate`; the three lines that follow replace our table, and no other, in one "
        "transaction."
    )
