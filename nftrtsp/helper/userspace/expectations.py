"""The ways of the userspace helper in the kernel: any-source expectations and the flows that come of them.

An expectation is PERMANENT, so that pause, resume, seek and another media server find it again. The kernel
does not prolong it when it is used; it ends with its timeout or with its master, the control connection. So
each is refreshed while its session lives, and moved to the connection that spoke last.

Which address the film shows to the set-top box depends on the kernel's function for the expected flow. That
of SIP's NAT translates the destination and leaves the source alone, which is what we want. The general one,
``nat-follow-master``, also writes the RTSP server's address in place of the media server's, so that of two
media servers that send from one port number the second is dropped while conntrack remembers the first.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable
from pathlib import Path

import msgspec

from nftrtsp.config import Config
from nftrtsp.conntrack.expectation import Expectation, ExpectationNat, create_expectation, delete_expectation
from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.conntrack.tuple import AF_INET, IPPROTO_UDP, Tuple
from nftrtsp.errors import KernelError
from nftrtsp.helper.conntrack_entries import ConntrackEntries, has_ended
from nftrtsp.helper.stale_flows import StaleFlows
from nftrtsp.helper.ways import MAX_LIFETIME, Connection, Way
from nftrtsp.netlink.socket import RequestSocket
from nftrtsp.ruleset.names import CT_HELPER_TYPE

NF_CT_EXPECT_PERMANENT = 0x1

#: CTA_EXPECT_FN, best first. Source: nf_nat_sip_expected(), nf_nat_follow_master().
FUNCTIONS = ("sip", "nat-follow-master")
FUNCTION_MODULE = "nf_nat_sip"
_FORGOTTEN = 60.0  # seconds; boxes say something every 20 to 30
_REPEATS = 1.0  # seconds after which a repeated SETUP makes us look again whether its expectation is there
_PROLONGED = 64  # expectations at most that are prolonged in one go: 5 ms in which packets wait
_REPLY = 1  # IP_CT_DIR_REPLY: the media comes against the direction of its master
_ANY_SOURCE = Tuple(b"\0" * 4, b"\xff" * 4, IPPROTO_UDP, 0, 0xFFFF)


class _Kept(msgspec.Struct, gc=False):
    """An expectation of ours, until when (monotonic) the kernel keeps it, and when it was last seen to."""

    expectation: Expectation
    until: float
    seen: float


class Expectations:
    """The expectations of all ways, by public port. ``pause`` is their timeout in seconds.

    ``policy_timeout``: what the registered helper gives a new expectation; where that is ``pause`` too, one
    request does. Not to be shared between threads.
    """

    def __init__(self, config: Config, *, policy_timeout: int) -> None:
        self.pause = int(config.rtsp.pause)
        self.policy_timeout = policy_timeout
        self._requests = RequestSocket("conntrack")
        self._conntrack = Conntrack()
        self._entries = ConntrackEntries(self._conntrack)
        self._function = FUNCTIONS[0]
        self._kept: dict[int, _Kept] = {}
        #: Ends media flows, in a thread of its own.
        self.stale_flows = StaleFlows(config)

    def close_sockets(self) -> None:
        """Let go of the kernel, when the flows are gone that were to end; what is open stays open."""
        self.stale_flows.close()
        self._requests.close()
        self._conntrack.close()

    def open(self, way: Way, master: Tuple, router: bytes, now: float) -> None:
        """See that the kernel expects UDP to ``way``'s port at the packed address ``router``.

        ``master`` is the control connection's tuple in the original direction. Raises :class:`KernelError`.
        """
        way.router = router
        wanted = expect(way, master, self._function)
        kept = self._kept.get(way.port)
        if kept is not None:
            if kept.expectation == wanted and self._refresh(kept, now + self.lifetime(way), now):
                self.stale_flows.opened(way)
                return
            self._delete(kept.expectation)
        try:
            wanted = self._create(wanted)
        except KernelError as error:
            if error.errno not in (errno.EBUSY, errno.EEXIST):
                raise
            # What is there is none of the ways that we know: left by an earlier helper, or by hand.
            self._delete(wanted)
            wanted = self._create(wanted)
        self._kept[way.port] = _Kept(wanted, now + self.pause, now)
        self.stale_flows.opened(way)

    def close(self, way: Way, *, cut: bool) -> None:
        """Expect nothing for ``way`` any more; with ``cut`` its media flows end in a second or two."""
        kept = self._kept.pop(way.port, None)
        if cut:
            self.stale_flows.cut(way)
        if kept is not None:
            self._delete(kept.expectation)

    def refresh(self, ways: Iterable[Way], now: float) -> tuple[list[Way], bool]:
        """Prolong what is used, some of it; return the ways whose expectation has gone with its master.

        Also return whether more is to be prolonged, by another call. A session that announced a timeout lives
        by its signs of life, another one by its connection.
        """
        gone: list[Way] = []
        asked = 0
        # Some of its time may pass first, so that one request serves many keep-alives.
        slack = min(60.0, self.pause / 4)
        for way in ways:
            kept = self._kept.get(way.port)
            if kept is None:
                continue
            until = min(way.ends(self.pause), now + way.lifetime(self.pause))
            if until - kept.until > slack:
                if asked == _PROLONGED:
                    return gone, True
                asked += 1
                if not self._refresh(kept, until, now):
                    gone.append(way)
        return gone, False

    def lifetime(self, way: Way) -> float:
        """Return for how many seconds a silent way is kept."""
        return way.lifetime(self.pause)

    def left(self, way: Way, now: float) -> float:
        """Return for how many seconds the kernel will still expect what comes for ``way``."""
        kept = self._kept.get(way.port)
        return max(0.0, kept.until - now) if kept else 0.0

    def is_mastered_by(self, way: Way, master: Tuple) -> bool:
        """Whether the expectation of ``way`` ends with that connection."""
        kept = self._kept.get(way.port)
        return kept is not None and kept.expectation.master == master

    def is_fresh(self, way: Way, master: Tuple, now: float) -> bool:
        """Whether :meth:`open` would change nothing: it was done a moment ago, and repeats cost nothing."""
        kept = self._kept.get(way.port)
        return kept is not None and now - kept.seen < _REPEATS and kept.expectation.master == master

    def listed(self) -> list[Expectation]:
        """Return the any-source expectations of helper ``rtsp`` in the kernel, earlier ones too."""
        return [
            one
            for one in self._conntrack.dump_expectations()
            if one.helper == CT_HELPER_TYPE
            and one.any_source
            and one.nat is not None
            and one.tuple.proto == IPPROTO_UDP
            and len(one.tuple.dst) == 4
        ]

    def has_ended(self, connection: Connection, silent: float) -> bool:
        """Whether conntrack says that a control connection has ended; it was ``silent`` for so many seconds.

        One that conntrack has forgotten may live on: it is picked up again with its next packet.
        """
        flow = self._entries.flow(connection)
        return silent > _FORGOTTEN if flow is None else has_ended(flow)

    def is_established(self, connection: Connection) -> bool:
        """Whether conntrack knows a control connection as one that both ends take part in."""
        return self._entries.established(connection) is not None

    def adopt(self, expectation: Expectation, now: float) -> None:
        """Keep an expectation that an earlier helper left as one of ours."""
        port = expectation.tuple.dport or 0
        plain = msgspec.structs.replace(expectation, timeout=0, id=0, helper=None)
        kept = self._kept[port] = _Kept(plain, now + expectation.timeout, now)
        if expectation.timeout > MAX_LIFETIME:
            self._refresh(kept, now + MAX_LIFETIME, now)

    def drop(self, expectation: Expectation) -> None:
        """Delete an expectation that is none of ours."""
        self._delete(expectation)

    def _create(self, wanted: Expectation) -> Expectation:
        """Create ``wanted``; return it as it was created, with a function that this kernel has."""
        what = "expecting a film"
        try:
            self._ask(create_expectation(wanted, sequence=self._requests.number()), what)
        except KernelError as error:
            if error.errno != errno.EINVAL or wanted.function == FUNCTIONS[-1]:
                raise
            wanted = msgspec.structs.replace(wanted, function=FUNCTIONS[-1])
            self._ask(create_expectation(wanted, sequence=self._requests.number()), what)
            self._function = FUNCTIONS[-1]
        if self.policy_timeout != self.pause:
            self._set_timeout(wanted, self.pause)
        return wanted

    def _refresh(self, kept: _Kept, until: float, now: float) -> bool:
        try:
            self._set_timeout(kept.expectation, max(1, int(until - now)))
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.ETIME):
                raise
            return False
        kept.until, kept.seen = until, now
        return True

    def _set_timeout(self, expectation: Expectation, timeout: int) -> None:
        timed = msgspec.structs.replace(expectation, timeout=timeout)
        ask = create_expectation(timed, sequence=self._requests.number(), replace=True)
        self._ask(ask, "prolonging an expectation")

    def _delete(self, expectation: Expectation) -> None:
        ask = delete_expectation(expectation, sequence=self._requests.number())
        try:
            self._ask(ask, "ending an expectation")
        except KernelError as error:
            if error.errno != errno.ENOENT:  # it went with its master, or its time was up
                raise

    def _ask(self, ask: bytes, what: str) -> None:
        for _ in self._requests.ask(ask, what):
            pass


def expect(way: Way, master: Tuple, function: str) -> Expectation:
    """Return the expectation that is ``way`` in the kernel (pure).

    From any source to the router's address and port; ``function`` then sends it to the set-top box.
    """
    return Expectation(
        AF_INET,
        Tuple(b"\0" * 4, way.router, IPPROTO_UDP, 0, way.port),
        _ANY_SOURCE,
        master,
        flags=NF_CT_EXPECT_PERMANENT,
        nat=ExpectationNat(_REPLY, Tuple(way.stb, b"\0" * 4, IPPROTO_UDP, way.stb_port, 0)),
        function=function,
    )


def load_function() -> None:
    """Load the kernel's module with the better function, where it is one and may be loaded."""
    if not Path("/sys/module", FUNCTION_MODULE).is_dir():
        import subprocess  # which takes a twentieth of a helper's start

        with contextlib.suppress(OSError):
            subprocess.run(["modprobe", "-q", FUNCTION_MODULE], check=False, capture_output=True)
