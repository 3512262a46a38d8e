"""Deletes conntrack entries in the way of films, and those of films that ended, beside the helper's loop.

Finding them takes a walk through the whole conntrack table of the machine: 40 ms for 262,144 empty buckets,
and longer on a full table. No set-top box waits for that: a thread walks, with a socket of its own (the walk
is a system call, so the loop goes on meanwhile), once for all that has gathered, and never more than a tenth
of the time.
"""

from __future__ import annotations

import threading
import time

import msgspec

from nftrtsp.conntrack.flow import AF_INET, IPPROTO_UDP, Flow
from nftrtsp.conntrack.request import DumpFilter, Match
from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.errors import NftrtspError
from nftrtsp.rtsp.ways import Way

_GATHER = 0.02  # seconds between the first request and the walk
_SHARE = 10  # after a walk the thread rests for so many times as long


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


class Tidier:
    """One thread that walks when asked. Make it in the network namespace that it shall look at."""

    def __init__(self) -> None:
        self.walks = 0
        self.deleted = 0
        #: What went wrong in the last walk, for the helper to say.
        self.error: NftrtspError | None = None
        self._conntrack = Conntrack()
        self._clear: dict[int, _Place] = {}
        self._cut: dict[int, _Place] = {}
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tidier", daemon=True)
        self._thread.start()

    def clear(self, way: Way) -> None:
        """Delete the entries that would take elsewhere what now comes for ``way``, which has just opened.

        A media packet that came before the way was open made an entry without translation, or there is one to
        the box that had the port before; later packets would follow it.
        """
        with self._lock:
            self._cut.pop(way.port, None)
            self._clear[way.port] = _Place(way.router, way.stb, way.stb_port)
        self._asked.set()

    def cut(self, way: Way) -> None:
        """End the media flows of ``way``, whose film has ended."""
        with self._lock:
            self._clear.pop(way.port, None)
            self._cut[way.port] = _Place(way.router, way.stb, way.stb_port)
        self._asked.set()

    def close(self) -> None:
        """Do what was asked for so far, then end the thread."""
        self._closed.set()
        self._asked.set()
        self._thread.join(5)
        self._conntrack.close()

    def _run(self) -> None:
        while self._asked.wait():
            self._closed.wait(_GATHER)
            with self._lock:
                self._asked.clear()
                clear, cut, self._clear, self._cut = self._clear, self._cut, {}, {}
            began = time.monotonic()
            if clear or cut:
                self._walk(clear, cut)
            if self._closed.wait(_SHARE * (time.monotonic() - began)) and not (self._clear or self._cut):
                return

    def _walk(self, clear: dict[int, _Place], cut: dict[int, _Place]) -> None:
        ports = clear.keys() | cut.keys()
        one = next(iter(ports)) if len(ports) == 1 else None
        self.walks += 1
        try:
            wanted = DumpFilter(orig=Match(proto=IPPROTO_UDP, dport=one), family=AF_INET)
            for flow in list(self._conntrack.dump_flows(wanted)):
                port = flow.orig.dport or 0
                if (port in clear and clear[port].is_wrong(flow)) or (
                    port in cut and port not in self._clear and cut[port].is_media(flow)
                ):
                    self.deleted += self._conntrack.delete_flow(flow)
            self.error = None
        except NftrtspError as error:
            self.error = error
