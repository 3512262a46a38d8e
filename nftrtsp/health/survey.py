"""Reads the surroundings of our ruleset: interfaces, settings of the kernel, other programs' tables."""

from __future__ import annotations

from nftrtsp.config import Config, HelperKind
from nftrtsp.health import other_tables, sysctls
from nftrtsp.health.facts import Surroundings
from nftrtsp.netlink import links
from nftrtsp.netlink.link import Link
from nftrtsp.ruleset.kernel import Nft


def survey(nft: Nft | None, config: Config, kind: HelperKind) -> Surroundings:
    """Ask the machine, in the current network namespace. ``nft`` None: other tables are not read."""
    there = links.read()
    found: dict[str, Link | None] = dict.fromkeys((config.iptv.interface, *config.lan.interfaces))
    found.update(there)
    return Surroundings(
        links=found,
        ip_forward=sysctls.ip_forward(),
        rp_filter=sysctls.rp_filter(config.iptv.interface),
        default_routes=frozenset(name for name, link in there.items() if link.default_route),
        drops=tuple(other_tables.read_drops(nft, config, kind)) if nft else None,
        uncounted_flowtables=tuple(other_tables.read_uncounted_flowtables(nft)) if nft else (),
    )
