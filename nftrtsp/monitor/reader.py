"""The live reader: a thread that listens to kernel and helper and never touches a widget.

Everything it hears becomes news (:mod:`nftrtsp.events.news`); the observer makes snapshots of them, at most
eight a second, and the screen takes the newest when it draws. What does not concern IPTV is dropped by a
socket filter in the kernel, so a storm of other traffic costs neither this thread nor the screen.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import socket
import threading
import time
from pathlib import Path
from typing import Any

from nftrtsp import __version__
from nftrtsp import config as configuration
from nftrtsp.config import Config
from nftrtsp.conntrack.dump_filter import DumpFilter, Match
from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.flow_table import FlowTable
from nftrtsp.conntrack.role import Role
from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.conntrack.tuple import AF_INET, IPPROTO_TCP
from nftrtsp.errors import NftrtspError
from nftrtsp.events.news import Began, Checked, Listed, News
from nftrtsp.events.recording import Recorder, config_data
from nftrtsp.events.stream import EventStream
from nftrtsp.films.household import Guesses
from nftrtsp.monitor.gauge import GaugeReader
from nftrtsp.monitor.observer import MOST_FLOWS, Observer
from nftrtsp.monitor.rulesetwatch import RulesetWatch
from nftrtsp.monitor.snapshot import EMPTY, Snapshot
from nftrtsp.monitor.tap import Tap

_WAIT = 0.2  # seconds between two looks while nothing comes
_GATHER = 0.03  # seconds to let events gather: one snapshot for many
_SNAPSHOT = 1 / 8  # seconds between two snapshots
_SECOND = 1.0  # seconds between two gauges
_CONTROLS = 10.0  # seconds between two looks at the counters of control connections


class LiveFeed:
    """Watches the network namespace of the thread that makes it.

    ``config`` None shows all flows. Raises :class:`PrivilegeError` when the kernel may not be asked, so that
    it is said before the screen opens; :class:`StateError` when ``record`` cannot be written.
    """

    def __init__(
        self,
        config: Config | None,
        config_path: Path | None = None,
        *,
        record: Path | None = None,
        router: str = "",
    ) -> None:
        self._config = config
        self._table = FlowTable(config) if config else _table_of_everything()
        self._recorder = Recorder(record) if record else None
        self._router = router or socket.gethostname()
        self._observer = Observer(config, router=self._router)
        self._gauges = GaugeReader(config.iptv.interface if config else "")
        self._stop = threading.Event()
        self._inbox: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._watch = RulesetWatch(config_path, self._post) if config and config_path else None
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._stream = EventStream(self._table)
        self._tap: Tap | None = None
        self._listed: dict[Any, Flow] = {}
        self._controls: tuple[Flow, ...] = ()
        self._due = dict.fromkeys(("gauge", "controls", "snapshot"), 0.0)
        self._dirty = True
        self.latest: Snapshot = EMPTY
        self.failure: BaseException | None = None

    # -- for the app's thread ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        if self._watch is not None:
            self._watch.start()

    def stop(self) -> None:
        """End; the recording is complete afterwards."""
        self._stop.set()
        self._nudge()
        if self._watch is not None:
            self._watch.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._close()

    def delete(self, flow: Flow) -> str:
        """Delete ``flow`` from conntrack."""
        try:
            with Conntrack() as conntrack:
                gone = conntrack.delete_flow(flow)
        except NftrtspError as error:
            return str(error)
        return "the flow was deleted" if gone else "the flow was gone already"

    def check_ruleset(self) -> None:
        """Compare the ruleset again."""
        if self._watch is not None:
            self._watch.ask()

    def _post(self, news: Checked) -> None:
        self._inbox.put(news)
        self._nudge()

    def _nudge(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._waker, b"x")

    # -- the reader's thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            data = config_data(self._config) if self._config else None
            began = Began(time.time(), self._router, __version__, data)
            if self._recorder is not None:
                self._recorder.write(began)
            while not self._stop.is_set():
                self._turn()
        except Exception as error:
            self.failure = error

    def _close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None
        for part in (self._stream, self._tap, self._table):
            if part is not None:
                part.close()
        self._tap = None
        os.close(self._wake)
        os.close(self._waker)

    def _turn(self) -> None:
        """One round: wait, take what came, do what is due."""
        started = time.monotonic()
        self._wait(started)
        for said in self._stream.take():
            self._take(said)
        while not self._inbox.empty():
            self._take(self._inbox.get())
        now = time.monotonic()
        self._list(now)
        if now >= self._due["gauge"]:
            self._due["gauge"] = max(self._due["gauge"] + _SECOND, now + _SECOND / 2)
            self._take(self._gauges.read(overruns=self._table.overruns))
            self._mind_tap()
        if self._tap is not None:
            for stray in self._tap.read():
                self._take(stray)
        if self._dirty and now >= self._due["snapshot"]:
            self._due["snapshot"] = now + _SNAPSHOT
            self._dirty = False
            self.latest = self._observer.snapshot(time.time())

    def _wait(self, now: float) -> None:
        until = self._due["gauge"]
        if self._dirty:
            until = min(until, self._due["snapshot"])
        timeout = max(0.0, min(_WAIT, until - now))
        ready, _, _ = select.select([*self._stream.filenos(), self._wake], [], [], timeout)
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        if self._table.fileno() in ready:
            self._stop.wait(_GATHER)

    def _take(self, news: News) -> None:
        if self._recorder is not None:
            self._recorder.write(news)
        self._observer.take(news)
        self._dirty = True

    def _list(self, now: float) -> None:
        """List the table whenever it has counted anew, and at least once a second."""
        flows = {(flow.orig, flow.zone): flow for flow in self._flows()}
        before = self._listed
        # An event's flow is another object too; only a dump brings counters.
        counted = any(
            flow is not before.get(key) and flow.counters_orig is not None for key, flow in flows.items()
        )
        if not counted and now < self._due.get("list", 0.0):
            return
        self._due["list"] = now + _SECOND
        self._listed = flows
        if now >= self._due["controls"] and self._config is not None:
            self._count_controls(now)
        complete = len(flows) < MOST_FLOWS
        listed = (*flows.values(), *(flow for flow in self._controls if (flow.orig, flow.zone) in flows))
        self._take(Listed(time.time(), listed, tuple(self._table.expectations()), complete))
        self._controls = ()

    def _flows(self) -> list[Flow]:
        if self._config is None:
            return self._table.flows()[:MOST_FLOWS]
        return [flow for flow, _ in self._table.parts()]

    def _count_controls(self, now: float) -> None:
        """Ask for control connections with their counters: whether a box still speaks."""
        assert self._config is not None  # noqa: S101 - the caller has looked
        started = time.monotonic()
        roles = self._table.roles
        with Conntrack() as conntrack:
            asked = [Match(proto=IPPROTO_TCP, dport=port) for port in self._config.rtsp.ports]
            found = [
                flow
                for match in asked
                for flow in conntrack.dump_flows(DumpFilter(orig=match, family=AF_INET))
                if roles.of(flow).role is Role.CONTROL
            ]
        self._controls = tuple(found[:MOST_FLOWS])
        # The kernel walks all its flows for this; a large table is walked less often.
        self._due["controls"] = now + max(_CONTROLS, 100 * (time.monotonic() - started))

    # -- the wire ------------------------------------------------------------------------------------------

    def _mind_tap(self) -> None:
        """Look at the IPTV interface while a box waits, and only then."""
        sessions = self._observer.sessions
        gauge = self._observer.known.gauge
        wanted = gauge is not None and gauge.addresses and sessions.waiting_ports()
        playing = frozenset(flow.orig.dport or 0 for flow, _ in self._table.parts() if flow.orig.proto == 17)
        if self._tap is not None and (not wanted or self._tap.playing != playing):
            self._tap.close()
            self._tap = None
        if wanted and self._tap is None and self._config is not None and gauge is not None:
            with contextlib.suppress(OSError):
                self._tap = Tap(self._config.iptv.interface, gauge.addresses[0], playing)


def _table_of_everything() -> FlowTable:
    """Return a table for a machine without a configuration: every flow, up to what can be shown."""
    guess = configuration.parse(
        {
            "iptv": {"interface": "none"},
            "lan": {"interfaces": ["none-either"], "networks": ["192.168.0.0/16"]},
        }
    )
    table = FlowTable(guess, everything=True, limit=MOST_FLOWS)
    table.roles = Guesses()
    return table
