"""Tells what happens at the lab's router, line by line, from what nftrtsp itself publishes.

Two sources, both the product's own: the helper's socket (who asked, what was opened, refused, closed) and
``nftrtsp events --json`` (which film arrived). Reading them is what makes the demo a test as well.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nftrtsp import figures
from nftrtsp.helper import note, publish
from nftrtsp.helper.note import (
    Note,
    Pause,
    Play,
    Setup,
    Teardown,
    WayClosed,
    WayOpen,
    WayRefused,
)
from nftrtsp.lab import registry
from nftrtsp.lab.network import Lab

Record = dict[str, Any]

#: What comes from one of the two sources.
Heard = Record | note.Line | publish.Bye


@dataclass(frozen=True, slots=True)
class Said:
    """One line of the story: seconds since its begin, who, what in one word, and the rest."""

    time: float
    who: str
    what: str
    text: str


class Narrator:
    """Listens at the router from :meth:`start` to :meth:`stop`; :meth:`lines` gives what was heard."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.kind = ""
        self.why = ""
        self._names = {stb.address: stb.title for stb in lab.stbs}
        self._begun: float | None = None  # the first SETUP sets the clock to 0
        self._heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._events: subprocess.Popen[str] | None = None
        self._asked: dict[str, float] = {}  # set-top box -> when its last SETUP was seen
        self._plays: dict[str, bool] = {}  # set-top box -> whether its film plays; absent: not yet
        self.first: Callable[[str], float | None] = lambda _box: None

    def start(self) -> None:
        """Begin to listen; return when both sources are open. A helper that is to run runs already."""
        path = self.lab.run_dir / "helper.sock"
        greeting = publish.ask(path, timeout=5.0 * registry.patience())
        if greeting:
            self.kind, self.why = greeting.kind, greeting.why
            threading.Thread(target=self._hear_helper, daemon=True).start()
        self._events = self.lab.router.popen(
            ["nftrtsp", "events", "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        threading.Thread(target=self._hear_conntrack, daemon=True).start()
        self._wait_for_subscription(self._events.pid)

    def has_company(self) -> bool:
        """Whether somebody else, the dashboard, reads the helper too, or no helper of ours runs."""
        greeting = publish.ask(self.lab.run_dir / "helper.sock")
        # Ourselves, this question, and one more.
        return greeting is None or greeting.counters.readers >= 3

    def stop(self) -> None:
        """Stop listening."""
        self._stopped.set()
        if self._events is not None:
            self._events.terminate()
            self._events.wait(5.0 * registry.patience())

    def lines(self, wait: float) -> Iterator[Said]:
        """Yield what is heard within ``wait`` seconds."""
        end = time.monotonic() + wait
        while (left := end - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                line = self._tell(self._heard.get(timeout=left))
                if line is not None:
                    yield line

    def _wait_for_subscription(self, pid: int) -> None:
        """Return when the process has joined conntrack's multicast groups: before, it would miss a film."""
        end = time.monotonic() + 5.0 * registry.patience()
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                # sk Eth Pid Groups …: protocol 12 is netfilter; a socket's first port id is its process id.
                rows = [line.split() for line in Path(f"/proc/{pid}/net/netlink").read_text().splitlines()]
                if any(row[1] == "12" and row[2] == str(pid) and int(row[3], 16) for row in rows[1:]):
                    return
            time.sleep(0.02)

    def _hear_helper(self) -> None:
        path = self.lab.run_dir / "helper.sock"
        for record in publish.subscribe(path, retry=0.2, stop=self._stopped.is_set):
            self._heard.put(record)

    def _hear_conntrack(self) -> None:
        assert self._events is not None  # noqa: S101 - started just before
        assert self._events.stdout is not None  # noqa: S101 - a pipe
        for text in self._events.stdout:
            with contextlib.suppress(ValueError):
                record = json.loads(text)
                if "flow" in record or "expectation" in record:  # the rest is the helper's, heard from itself
                    self._heard.put(record)

    def _tell(self, heard: Heard) -> Said | None:
        """Return the line for what was heard, None for what a newcomer need not see."""
        if isinstance(heard, Note):
            words = self._words(heard, heard.stb or "")
            by_router = isinstance(heard, WayOpen | WayRefused | WayClosed)
            who = "router" if by_router else self._name(heard.stb or "")
            return None if words is None else Said(self._clock(heard.time), who, *words)
        if not isinstance(heard, dict):
            return None
        event = str(heard.get("event"))
        return self._tell_flow(event, heard) if "flow" in heard else self._tell_expectation(event, heard)

    def _words(self, said: Note, box: str) -> tuple[str, str] | None:
        server = (said.server or "").partition(":")[0]
        match said:
            case Setup():
                self._asked[box] = said.time or 0.0
                return "asks", f"{server} for a film to UDP {said.port}"
            case WayOpen():
                took = (said.time or 0.0) - self._asked.get(box, said.time or 0.0)
                source = "any source" if said.way and said.way.any_source else f"{server} only"
                return "opens", f"UDP {said.port} to {box}, {source}, in {figures.latency(took)}"
            case WayRefused():
                return "refuses", f"UDP {said.port} to {box}: {said.reason}"
            case WayClosed():
                why = "" if said.reason in (None, "TEARDOWN") else f": {said.reason}"
                return "closes", f"UDP {said.port} to {box}{why}"
            case Pause():
                self._plays[box] = False
                return "pauses", "PAUSE: the film stops, its port stays open"
            case Play():
                before = self._plays.get(box)
                self._plays[box] = True
                if before is None:
                    return None
                return ("seeks", "PLAY from elsewhere") if before else ("resumes", "PLAY: the film goes on")
            case Teardown():
                self._plays.pop(box, None)
                return "ends", "TEARDOWN"
        return None

    def _tell_flow(self, event: str, record: Mapping[str, Any]) -> Said | None:
        flow = record["flow"]
        if event != "new" or flow.get("role") != "media":
            return None
        box = str(flow.get("stb"))
        source = figures.endpoint(flow["orig"]["src"], flow["orig"]["sport"])
        first = self.first(box)  # as the box itself measured it
        after = "" if first is None else f" after {figures.latency(first)}"
        return Said(
            self._clock(record.get("time")), self._name(box), "gets", f"the film from {source}{after}"
        )

    def _tell_expectation(self, event: str, record: Mapping[str, Any]) -> Said | None:
        expected = record["expectation"]
        if event != "expect-new" or self.kind:
            return None  # a running helper tells of its own
        source = "any source" if expected.get("any_source") else f"{expected['tuple']['src']} only"
        box = str(expected.get("stb"))
        port = expected["tuple"]["dport"]
        return Said(self._clock(record.get("time")), "router", "opens", f"UDP {port} to {box}, {source}")

    def _name(self, box: str) -> str:
        return self._names.get(box, box)

    def _clock(self, at: float | None) -> float:
        now = time.time() if at is None else at
        if self._begun is None:
            self._begun = now
        return max(0.0, now - self._begun)
