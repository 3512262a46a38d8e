"""What the checks look at: plain data, as it was at one moment. Pure.

Who asks for less fills in less: what was not looked at is None or missing, and the checks say nothing of it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import msgspec

from nftrtsp.config import Config, HelperKind
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import Flow
from nftrtsp.helper.note import Hello
from nftrtsp.netlink.link import Link


class Route(msgspec.Struct, frozen=True):
    """Where packets for a network of servers go: ``interface`` None means nowhere."""

    network: IPv4Network
    interface: str | None


class Drop(msgspec.Struct, frozen=True):
    """A chain of another table that surely drops what we accept; ``rule`` does it, or the policy."""

    family: str
    table: str
    chain: str
    hook: str
    rule: str
    packets: tuple[str, ...]


class Surroundings(msgspec.Struct, frozen=True):
    """What stands around our ruleset and what it cannot fix; `diff` and `apply` look at no more than this.

    ``links`` are the interfaces, None for one of the config that is absent. ``rp_filter`` is the reverse path
    filter in force on the IPTV interface: the higher of its own and of ``all``. ``default_routes`` are the
    interfaces by which default routes leave. ``drops`` and ``uncounted_flowtables`` are other tables'.
    """

    links: dict[str, Link | None] = {}
    ip_forward: int | None = None
    rp_filter: int | None = None
    default_routes: frozenset[str] | None = None
    drops: tuple[Drop, ...] | None = None
    uncounted_flowtables: tuple[str, ...] = ()


class Ruleset(msgspec.Struct, frozen=True):
    """Our table as it is in the kernel.

    ``form`` is ``ct helper`` or ``pinhole``; ``changes`` how many ``apply`` would make; ``counters`` are
    packets by rule id; ``pause`` is the timeout of films in seconds, None where there is no such object.
    """

    form: str
    changes: int
    counters: dict[str, int] = {}
    pause: int | None = None


class Facts(msgspec.Struct, frozen=True):
    """All that is known.

    ``kind`` is the settled helper and ``why`` the reason for it; ``conntrack`` are the sysctls
    ``nf_conntrack_…`` by the rest of their names, those that this kernel
    lacks left out. ``ruleset`` is None where the table is absent, ``may_list`` False where it could not be
    looked for, and ``refused`` says why it, or what we want,
    could not be loaded or listed, with its ``remedy``. ``pinned`` is what is known of the
    loaded module. ``greeting`` is the running helper's, ``silent`` one that is there and does not answer;
    ``heard`` are the boxes that the router has a neighbour entry for.
    """

    config: Config
    kind: HelperKind
    why: str = ""
    surroundings: Surroundings = Surroundings()
    routes: tuple[Route, ...] = ()
    conntrack: dict[str, int] = {}
    may_list: bool = True
    ruleset: Ruleset | None = None
    refused: str = ""
    remedy: str = ""
    module: bool = False
    nat_module: bool = False
    pinned: bool | None = None
    greeting: Hello | None = None
    may_greet: bool = True
    silent: bool = False
    flows: tuple[Flow, ...] | None = None
    expectations: tuple[Expectation, ...] | None = None
    heard: frozenset[IPv4Address] = frozenset()
