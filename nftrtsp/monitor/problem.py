"""What is wrong, in a sentence, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface

import msgspec

from nftrtsp.config import Config, HelperKind
from nftrtsp.events.news import Checked, Gauged
from nftrtsp.films.phase import Phase
from nftrtsp.films.sessions import Sessions
from nftrtsp.films.timeouts import PINNED_REMEDY
from nftrtsp.health import checks, surroundings
from nftrtsp.health.checks import form_of
from nftrtsp.health.facts import Facts, Ruleset, Surroundings
from nftrtsp.health.finding import Finding, State
from nftrtsp.netlink.link import Link

_RECENT = 120.0  # a failed film stays a problem for so many seconds after it ended


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    ``grave`` False is a warning. ``about`` names the box, interface or part; ``since`` is in seconds since
    the epoch, None when unknown; ``stb`` the packed address of the box that it is about.
    """

    key: str
    text: str
    remedy: str
    about: str = ""
    grave: bool = True
    since: float | None = None
    stb: bytes | None = None


class RouterState(msgspec.Struct):
    """What is known of the router beside its flows; the observer keeps it."""

    config: Config | None = None
    gauge: Gauged | None = None
    ruleset: Checked | None = None
    helper_kind: str = ""
    helper_gone: str = ""
    lost_at: float | None = None

    @property
    def interface(self) -> str:
        """The IPTV interface, empty without a config."""
        return self.config.iptv.interface if self.config else ""

    @property
    def helper_wanted(self) -> str:
        """The helper that the config names, ``auto`` too, empty without a config."""
        return self.config.rtsp.helper.value if self.config else ""


def find(sessions: Sessions, known: RouterState, now: float) -> tuple[Problem, ...]:
    """Return what is wrong now, grave things first, else in the order in which a film meets them."""
    problems = [
        *_of_machine(known),
        *_of_ruleset(known),
        *_of_helper(known),
        *_of_connections(sessions, now),
        *_of_films(sessions, now),
        *_of_ways(sessions),
    ]
    return tuple(sorted(problems, key=lambda problem: not problem.grave))


def _of_machine(known: RouterState) -> Iterator[Problem]:
    gauge = known.gauge
    if known.config is None:
        remedy = "write one with `nftrtsp init`; until then all flows are shown"
        yield Problem("config", "there is no configuration", remedy, "nftrtsp.toml", grave=False)
    if gauge is None:
        return
    for finding in _judged(known.config, gauge):
        if finding.is_bad:
            about = "conntrack" if finding.check in ("conntrack", "accounting") else known.interface
            grave = finding.state is State.FAULT
            yield Problem(finding.id or finding.check, finding.text, finding.remedy, about, grave=grave)
    if gauge.overruns:
        text = f"the kernel dropped events {gauge.overruns} times; all was listed again, steps may be missing"
        remedy = "too much other work on this router; what is shown now is right"
        yield Problem("overrun", text, remedy, "conntrack", since=known.lost_at)


def _judged(config: Config | None, gauge: Gauged) -> Iterator[Finding]:
    """Judge what the gauges show, with the checks of `doctor`."""
    if config is not None:
        around = _surroundings(config.iptv.interface, gauge)
        for check in (surroundings.interfaces, surroundings.iptv_address, surroundings.reverse_path):
            yield from check(config, around)
    if gauge.count is not None and gauge.limit is not None:
        yield from surroundings.conntrack_room({"count": gauge.count, "max": gauge.limit})
    if gauge.accounting is not None:
        yield from surroundings.conntrack_accounting({"acct": int(gauge.accounting)})


def _surroundings(iptv: str, gauge: Gauged) -> Surroundings:
    """Return what the gauges know; a recording that knows of no routes gets the benefit of the doubt."""
    addresses = tuple(IPv4Interface(address) for address in gauge.addresses)
    defaults = gauge.default_routes
    if defaults is None and gauge.default_route is not None:
        defaults = ("",) if gauge.default_route else ()  # there is one, and it is not known where it leads
    return Surroundings(
        links={iptv: None if gauge.received is None else Link(iptv, addresses=addresses)},
        rp_filter=gauge.rp_filter,
        default_routes=None if defaults is None else frozenset(defaults),
    )


def _of_ruleset(known: RouterState) -> Iterator[Problem]:
    checked = known.ruleset
    if checked is None or known.config is None:
        return
    kind = known.config.rtsp.helper
    loaded = Ruleset(form_of(kind), len(checked.changes)) if checked.state == "drifted" else None
    if checked.state in ("absent", "drifted"):
        for finding in checks.ruleset(Facts(known.config, kind, ruleset=loaded)):
            remedy = "press d to see where, then `nftrtsp apply`" if loaded else finding.remedy
            grave = finding.state is State.FAULT
            key = "drift" if loaded else "absent"
            yield Problem(key, finding.text, remedy, "ruleset", grave, since=checked.time)
    yield from _warnings(checked, known)


def _warnings(checked: Checked, known: RouterState) -> Iterator[Problem]:
    """What `nftrtsp diff` warns of, but for what the gauges show already and newer."""
    gauge, gauged = known.gauge, set()
    if gauge is not None:
        gauged |= {"interface", "address"}
        gauged |= {surroundings.rp_filter_key(known.interface)} if gauge.rp_filter is not None else set()
    for place, text, remedy, *state in checked.warnings:
        if place not in gauged:
            yield Problem(f"warning {text}", text, remedy, place, grave=state != [State.WARNING])


def _of_helper(known: RouterState) -> Iterator[Problem]:
    config = known.config
    if config is None or not known.helper_gone:
        return
    kind = config.rtsp.helper
    if kind is HelperKind.AUTO and known.helper_kind in set(HelperKind):
        kind = HelperKind(known.helper_kind)  # the one that has spoken here
    if kind in (HelperKind.USERSPACE, HelperKind.PINHOLE):
        for finding in checks.helper(Facts(config, kind)):
            yield Problem("helper", finding.text, f"{finding.remedy} ({known.helper_gone})", "helper")


def _of_connections(sessions: Sessions, now: float) -> Iterator[Problem]:
    for control in sessions.controls.values():
        if sessions.helperless(control, now):
            text = f"the control connection {control.client} has no conntrack helper: its SETUP is not read"
            remedy = "it is older than the ruleset: press x on its flow, or switch the box off and on"
            name = sessions.name(control.stb)
            yield Problem(
                f"helperless {control.client}", text, remedy, name, since=control.opened, stb=control.stb
            )


def _of_films(sessions: Sessions, now: float) -> Iterator[Problem]:
    for film in sessions.films():
        recent = film.live or now - (film.ended or 0.0) < _RECENT
        newest = sessions.boxes[film.stb].films[-1] is film
        if not recent or not (film.live or newest):
            continue
        name = sessions.name(film.stb)
        failure = film.failure
        if failure is not None:
            yield Problem(
                f"film {film.id}", failure.text, failure.remedy, name, since=failure.time, stb=film.stb
            )
        elif film.live:
            failed = [step for step in film.steps if step.failed and film.phase is Phase.PLAYING]
            for step in failed[-1:]:
                key = f"film {film.id} {step.kind}"
                yield Problem(key, step.text, step.remedy, name, grave=False, since=step.time, stb=film.stb)


def _of_ways(sessions: Sessions) -> Iterator[Problem]:
    for way in sessions.ports.values():
        if way.source is None:
            continue
        server = ".".join(str(part) for part in way.source)
        text = f"port {way.port} is pinned: only {server} may send to it, and films come from other servers"
        key = f"pinned {way.key}"
        yield Problem(key, text, PINNED_REMEDY, sessions.name(way.stb), since=way.seen, stb=way.stb)
