"""What the checks look at: plain data, as it was at one moment. None: it could not be asked."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import msgspec

from nftrtsp.config import Config, HelperKind
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import Flow
from nftrtsp.health.environment import Facts as Environment


class Link(msgspec.Struct, frozen=True):
    """One interface: ``up`` as its owner set it, ``carrier`` as the cable has it."""

    up: bool
    carrier: bool
    addresses: tuple[IPv4Interface, ...] = ()


class Route(msgspec.Struct, frozen=True):
    """Where packets for a network of servers go: ``interface`` None means nowhere."""

    network: IPv4Network
    interface: str | None


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

    ``kind`` is the settled helper and ``why`` the reason for it; ``environment`` is what the diff warns of
    too; ``conntrack`` are the sysctls ``nf_conntrack_…`` by the rest of their names, those that this kernel
    lacks left out. ``ruleset`` is None where the table is absent, ``may_list`` False where it could not be
    looked for, and ``refused`` says why it, or what we want,
    could not be loaded or listed, with its ``remedy``. ``pinned`` is what is known of the
    loaded module. ``greeting`` is the running helper's, ``silent`` one that is there and does not answer;
    ``heard`` are the boxes that the router has a neighbour entry for.
    """

    config: Config
    kind: HelperKind
    why: str = ""
    environment: Environment = Environment()
    links: dict[str, Link] = {}
    routes: tuple[Route, ...] = ()
    conntrack: dict[str, int] = {}
    may_list: bool = True
    ruleset: Ruleset | None = None
    refused: str = ""
    remedy: str = ""
    module: bool = False
    nat_module: bool = False
    pinned: bool | None = None
    greeting: dict[str, Any] | None = None
    may_greet: bool = True
    silent: bool = False
    flows: tuple[Flow, ...] | None = None
    expectations: tuple[Expectation, ...] | None = None
    heard: frozenset[IPv4Address] = frozenset()
