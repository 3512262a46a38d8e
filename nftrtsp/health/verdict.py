"""The verdict: one sentence that says whether VoD works here, and if not, why (pure)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nftrtsp.conntrack.role import Role, Roles
from nftrtsp.figures import counted
from nftrtsp.films.timeouts import QUIET
from nftrtsp.health.facts import Facts
from nftrtsp.health.finding import Finding, State, listed


class Verdict(msgspec.Struct, frozen=True):
    """``works`` is None where it cannot be told; ``text`` is the sentence."""

    works: bool | None
    text: str


def conclude(facts: Facts, findings: Sequence[Finding]) -> Verdict:
    """Return the verdict: the first fault is the cause to fix first."""
    faults = [finding for finding in findings if finding.state is State.FAULT]
    playing = listed(_playing(facts))
    if faults:
        first = faults[0]
        more = f" ({len(faults) - 1} more below)" if len(faults) > 1 else ""
        but = f"a film plays at {playing}, but the next may not" if playing else "VoD does not work here"
        return Verdict(False, f"{but}: {first.text}; {first.remedy}{more}")
    if playing:
        return Verdict(True, f"VoD works here: a film plays at {playing}")
    unknown = [finding for finding in findings if finding.state is State.UNKNOWN and finding.remedy]
    if unknown:
        checks = listed(list(dict.fromkeys(finding.check for finding in unknown)))
        return Verdict(
            None, f"nothing seen that keeps VoD from working, but not everything: {checks} need root"
        )
    warnings = sum(finding.state is State.WARNING for finding in findings)
    but = f", with {counted(warnings, 'warning')} below" if warnings else ""
    ruleset = facts.ruleset
    known = ruleset is not None and (ruleset.pause is not None or not ruleset.changes)
    none = ", none plays now" if known else ""
    return Verdict(True, f"VoD should work here{but}: nothing found that stops a film{none}")


def _playing(facts: Facts) -> list[str]:
    """Return the boxes at which a film plays: each of its packets sets its timeout to ``pause`` again."""
    roles, pause = Roles(facts.config), int(facts.config.rtsp.pause)
    if facts.ruleset is not None:
        pause = facts.ruleset.pause or pause
    found = set()
    for flow in facts.flows or ():
        part = roles.of(flow)
        if part.role is Role.MEDIA and (flow.timeout or 0) >= pause - QUIET:
            found.add(roles.name(part.stb))
    return sorted(found)
