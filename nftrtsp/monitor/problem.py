"""What is wrong, in a sentence, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from nftrtsp.events.news import Checked, Gauged
from nftrtsp.films.phase import Phase
from nftrtsp.films.sessions import Sessions
from nftrtsp.health import environment

_RECENT = 120.0  # a failed film stays a problem for so many seconds after it ended
_NEARLY_FULL = 0.9


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


class Circumstances(msgspec.Struct):
    """What is known of the machine; the observer keeps it."""

    interface: str = ""
    gauge: Gauged | None = None
    ruleset: Checked | None = None
    helper_kind: str = ""
    helper_wanted: str = ""
    helper_gone: str = ""
    lost_at: float | None = None
    has_config: bool = True


def find(sessions: Sessions, known: Circumstances, now: float) -> tuple[Problem, ...]:
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


def _of_machine(known: Circumstances) -> Iterator[Problem]:
    gauge = known.gauge
    if not known.has_config:
        remedy = "write one with `nftrtsp init`; until then all flows are shown"
        yield Problem("config", "there is no configuration", remedy, "nftrtsp.toml", grave=False)
    if gauge is None:
        return
    if known.interface and gauge.received is None:
        remedy = "bring it up, or correct iptv.interface"
        yield Problem("interface", f"the IPTV interface {known.interface} is gone", remedy, known.interface)
    elif known.interface and not gauge.addresses:
        text = f"{known.interface} has no IPv4 address: nothing can be translated to it"
        yield Problem("address", text, "see the DHCP client or the interface's settings", known.interface)
    if gauge.rp_filter is not None:
        # A recording that does not say whether there is a default route gets the benefit of the doubt.
        route = gauge.default_route is not False
        found = environment.reverse_path(known.interface, gauge.rp_filter, default_route=route)
        if found is not None:
            strict = gauge.rp_filter == 1
            text = f"rp_filter {found.message}"
            yield Problem("rp_filter", text, found.remedy, known.interface, grave=strict)
    if gauge.accounting is False:
        remedy = "sysctl -w net.netfilter.nf_conntrack_acct=1 (for new flows)"
        yield Problem(
            "acct", "conntrack counts no bytes: rates are unknown", remedy, "conntrack", grave=False
        )
    if gauge.count and gauge.limit and gauge.count > gauge.limit * _NEARLY_FULL:
        share = gauge.count * 100 // gauge.limit
        remedy = f"sysctl -w net.netfilter.nf_conntrack_max={gauge.limit * 2}"
        yield Problem(
            "full", f"the conntrack table is {share} % full: new flows get lost", remedy, "conntrack"
        )
    if gauge.overruns:
        text = f"the kernel dropped events {gauge.overruns} times; all was listed again, steps may be missing"
        remedy = "too much other work on this router; what is shown now is right"
        yield Problem("overrun", text, remedy, "conntrack", since=known.lost_at)


def _of_ruleset(known: Circumstances) -> Iterator[Problem]:
    checked = known.ruleset
    if checked is None:
        return
    if checked.state == "absent":
        text = "the ruleset is not there: no set-top box gets a film"
        yield Problem("absent", text, "nftrtsp apply", "ruleset", since=checked.time)
    elif checked.state == "drifted":
        text = f"the ruleset differs from the wanted one in {len(checked.changes)} places"
        remedy = "press d to see them; nftrtsp apply"
        yield Problem("drift", text, remedy, "ruleset", since=checked.time)
    yield from _warnings(checked, known)


def _warnings(checked: Checked, known: Circumstances) -> Iterator[Problem]:
    """What `nftrtsp diff` warns of, but for what the gauges show already."""
    for place, text, remedy in checked.warnings:
        if place == environment.rp_filter_key(known.interface) and _gauged(known):
            continue
        if known.gauge is not None and known.interface and known.gauge.received is None:
            continue
        yield Problem(f"warning {text}", text, remedy, place)


def _gauged(known: Circumstances) -> bool:
    """Whether the gauges, which are newer than any comparison, say what rp_filter is."""
    return known.gauge is not None and known.gauge.rp_filter is not None


def _of_helper(known: Circumstances) -> Iterator[Problem]:
    if known.helper_gone and known.helper_wanted in ("userspace", "pinhole"):
        text = f"no {known.helper_wanted} helper runs: SETUP is not read and no port is opened"
        remedy = f"systemctl start nftrtsp-helper ({known.helper_gone})"
        yield Problem("helper", text, remedy, "helper")


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
        remedy = "use the userspace or pinhole helper (rtsp.helper), or a module that expects any source"
        key = f"pinned {way.key}"
        yield Problem(key, text, remedy, sessions.name(way.stb), since=way.seen, stb=way.stb)
