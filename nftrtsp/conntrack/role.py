"""What a flow is to us: an STB's control connection, a film, or something else."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address

import msgspec

from nftrtsp.config import Config
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import IPS_DST_NAT, IPS_EXPECTED, Flow
from nftrtsp.conntrack.tuple import IPPROTO_TCP, IPPROTO_UDP, Tuple


class Role(StrEnum):
    """The part a flow plays in video on demand, by its name in JSON."""

    CONTROL = "control"
    MEDIA = "media"
    OTHER = "other"


class Part(msgspec.Struct, frozen=True, gc=False):
    """A flow's role, and the set-top box it belongs to (packed address; None for other flows)."""

    role: Role
    stb: bytes | None = None


OTHER = Part(Role.OTHER)


class Roles:
    """Tells roles under one configuration.

    A *control* connection goes by TCP from a host that may ask to an RTSP port. A *media* flow is UDP and
    carries the media mark, or was expected by a control connection, or is sent on (DNAT) to a host that may
    ask.     The mark alone is enough: our ruleset sets it on nothing else.
    """

    def __init__(self, config: Config) -> None:
        self._ports = frozenset(config.rtsp.ports)
        self._mark, self._mask = config.rtsp.mark.value, config.rtsp.mark.mask
        self._boxes = frozenset(box.address.packed for box in config.stb)
        self._networks = tuple(
            (int(network.network_address), int(network.netmask)) for network in config.lan.networks
        )
        self._names = {box.address.packed: box.name for box in config.stb if box.name}

    def name(self, stb: bytes | None) -> str:
        """Return the configured name of a set-top box, else its address, else an empty text."""
        if not stb:
            return ""
        return self._names.get(stb) or (str(IPv4Address(stb)) if len(stb) == 4 else "")

    def may_ask(self, address: bytes) -> bool:
        """Whether this packed address is one for which ways are opened."""
        if self._boxes:
            return address in self._boxes
        if len(address) != 4:
            return False
        number = int.from_bytes(address, "big")
        return any(number & mask == network for network, mask in self._networks)

    def controls(self, orig: Tuple) -> bool:
        """Whether ``orig`` is the original direction of an RTSP control connection."""
        return orig.proto == IPPROTO_TCP and orig.dport in self._ports and self.may_ask(orig.src)

    def of(self, flow: Flow) -> Part:
        """Return the role of ``flow``. Events say less than dumps: give what is remembered of the flow."""
        orig = flow.orig
        if orig.proto == IPPROTO_UDP:
            # After DNAT the one who answers is the host inside, whoever was addressed outside.
            host = flow.reply.src
            if flow.mark & self._mask == self._mark:
                return Part(Role.MEDIA, host if self.may_ask(host) else self._asker(flow))
            status = flow.status or 0
            if flow.master is not None and status & IPS_EXPECTED and self.controls(flow.master):
                return Part(Role.MEDIA, flow.master.src)
            translated = status & IPS_DST_NAT or orig.dst != host
            return Part(Role.MEDIA, host) if translated and self.may_ask(host) else OTHER
        return Part(Role.CONTROL, orig.src) if self.controls(orig) else OTHER

    def _asker(self, flow: Flow) -> bytes | None:
        return flow.master.src if flow.master is not None else None

    def concerns(self, expectation: Expectation) -> bool:
        """Whether ``expectation`` comes from an RTSP control connection."""
        return self.controls(expectation.master)

    def asker(self, expectation: Expectation) -> bytes:
        """Return the packed address of the host for which ``expectation`` was made."""
        return expectation.nat.tuple.src if expectation.nat is not None else expectation.master.src
