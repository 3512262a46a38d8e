"""Deletes conntrack entries in the way of films, and those of films that ended, beside the helper's loop.

Finding them takes a walk through the whole conntrack table of the machine: 40 ms for 262,144 empty buckets,
during which that processor handles no packets (ctnetlink_dump_table() holds softirqs off). So walks are few:
a thread walks, with a socket of its own, once for all that has gathered, and rests for much longer after it.
"""

from __future__ import annotations

import threading
import time
from ipaddress import IPv4Address

import msgspec

from nftrtsp.config import Config, Policy
from nftrtsp.conntrack.dump_filter import DumpFilter, Match
from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.conntrack.tuple import AF_INET, IPPROTO_UDP
from nftrtsp.errors import NftrtspError
from nftrtsp.helper.ways import Way

_NEVER = float("inf")
_URGENT = 0.02  # seconds that a film which cannot arrive may wait for more of its kind
_LAZY = 1.0  # seconds that a flow which nobody uses any more may wait
_REST_URGENT = 10  # after a walk the thread rests for so many times as long
_REST_LAZY = 50


class _Place(msgspec.Struct, frozen=True, gc=False):
    """Where media for a port goes: the router's address (packed) and the box's, as one moment knew them."""

    router: bytes
    stb: bytes
    stb_port: int

    def is_wrong(self, flow: Flow) -> bool:
        """Whether ``flow`` takes media elsewhere. A LAN host's own flow is not addressed to the router."""
        return flow.orig.dst == self.router and (flow.reply.src, flow.reply.sport) != (
            self.stb,
            self.stb_port,
        )

    def is_media(self, flow: Flow) -> bool:
        """Whether ``flow`` is a film's that goes to this box."""
        return flow.orig.src != self.stb and (flow.reply.src, flow.reply.sport) == (self.stb, self.stb_port)


class StaleFlows:
    """One thread that walks when asked. Make it in the network namespace that it shall look at.

    Only the helper's own thread may call it.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._owners: dict[int, tuple[bytes, int] | None] = {}  # who had a port last; None: nobody
        self.walks = 0
        self.deleted = 0
        #: What went wrong in the last walk, for the helper to say.
        self.error: NftrtspError | None = None
        self._conntrack = Conntrack()
        self._clear: dict[int, _Place] = {}
        self._cut: dict[int, _Place] = {}
        self._clear_due = self._cut_due = _NEVER
        self._rested = self._well_rested = 0.0  # when the thread may walk again, for either
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="stale-flows", daemon=True)
        self._thread.start()

    def learn(self) -> None:
        """Learn where media went before this helper ran: one walk, in this thread. Raises what it does."""
        with Conntrack() as conntrack:
            for flow in conntrack.dump_flows(DumpFilter(orig=Match(proto=IPPROTO_UDP), family=AF_INET)):
                if not self._config.may_ask(IPv4Address(flow.orig.src)):
                    translated = flow.reply.src != flow.orig.dst
                    owner = (flow.reply.src, flow.reply.sport or 0) if translated else None
                    self._owners[flow.orig.dport or 0] = owner

    def opened(self, way: Way) -> None:
        """Delete the entries that would take elsewhere what now comes for ``way``, if there may be any.

        A media packet that came before the way was open made an entry without translation, or there is one to
        the box that had the port before; later packets would follow it. The way's own flows stay, also where
        they were to be cut.
        """
        with self._changed:
            self._cut.pop(way.port, None)
            if self._may_lead_elsewhere(way):
                self._clear[way.port] = _Place(way.router, way.stb, way.stb_port)
                self._clear_due = min(self._clear_due, time.monotonic() + _URGENT)
                self._changed.notify()

    def _may_lead_elsewhere(self, way: Way) -> bool:
        """Whether conntrack may hold entries that take what comes for ``way`` to another place.

        What the input policy drops leaves no entry: mostly only an earlier owner of the port can have some.
        """
        owner = (way.stb, way.stb_port)
        before = self._owners.get(way.port, owner)
        self._owners[way.port] = owner
        iptv = self._config.iptv
        return before != owner or iptv.full_cone or iptv.policy is not Policy.DROP

    def cut(self, way: Way) -> None:
        """End the media flows of ``way``, whose film has ended, in a second or two."""
        with self._changed:
            self._clear.pop(way.port, None)
            self._cut[way.port] = _Place(way.router, way.stb, way.stb_port)
            self._cut_due = min(self._cut_due, time.monotonic() + _LAZY)
            self._changed.notify()

    def close(self) -> None:
        """Do what was asked for so far, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(5)
        self._conntrack.close()

    def _run(self) -> None:
        while work := self._next():
            clear, cut = work
            began = time.monotonic()
            self._walk(clear, cut)
            took = time.monotonic() - began
            self._rested = began + took + _REST_URGENT * took
            self._well_rested = began + took + _REST_LAZY * took

    def _next(self) -> tuple[dict[int, _Place], dict[int, _Place]] | None:
        """Wait until it is time to walk; return what for, or None at the end."""
        with self._changed:
            while True:
                if self._closed and not self._clear and not self._cut:
                    return None
                due = min(max(self._clear_due, self._rested), max(self._cut_due, self._well_rested))
                now = time.monotonic()
                if self._closed or due <= now:
                    break
                self._changed.wait(None if due == _NEVER else due - now)
            work = self._clear, self._cut
            self._clear, self._cut = {}, {}
            self._clear_due = self._cut_due = _NEVER
            return work

    def _walk(self, clear: dict[int, _Place], cut: dict[int, _Place]) -> None:
        ports = clear.keys() | cut.keys()
        if not ports:
            return
        one = next(iter(ports)) if len(ports) == 1 else None
        self.walks += 1
        try:
            wanted = DumpFilter(orig=Match(proto=IPPROTO_UDP, dport=one), family=AF_INET)
            for flow in list(self._conntrack.dump_flows(wanted)):
                port = flow.orig.dport or 0
                if (port in clear and clear[port].is_wrong(flow)) or (
                    port in cut and cut[port].is_media(flow)
                ):
                    self.deleted += self._conntrack.delete_flow(flow)
            self.error = None
        except NftrtspError as error:
            self.error = error
