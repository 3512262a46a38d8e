"""``doctor``: why does VoD not work here?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nftrtsp.cli.options import config_option, json_option, load_config, netns_option
from nftrtsp.terminal import TERMINAL, hung

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nftrtsp.health.finding import Finding
    from nftrtsp.health.verdict import Verdict

_STYLES = {"ok": "good", "warning": "warn", "fault": "bad", "unknown": "unknown"}

#: Columns of the state and the check's name before what was found.
_MARGIN = 23


@click.command()
@config_option
@netns_option
@json_option
def doctor(config_path: Path | None, as_json: bool) -> None:
    """Say in one sentence why VoD does not work here, then all that was checked, with causes and remedies.

    Touches nothing. Exit 0: nothing found, 1: a fault, 2: trouble.
    """
    from nftrtsp.health.checks import diagnose
    from nftrtsp.health.gather import gather
    from nftrtsp.health.verdict import conclude

    facts = gather(load_config(config_path))
    findings = diagnose(facts)
    verdict = conclude(facts, findings)
    if as_json:
        TERMINAL.json({"verdict": verdict.text, "works": verdict.works})
        for finding in findings:
            told = {"check": finding.check, "state": finding.state}
            TERMINAL.json({**told, "text": finding.text, "remedy": finding.remedy})
    else:
        _write_text(verdict, findings)
    sys.exit(1 if verdict.works is False else 0)


def _write_text(verdict: Verdict, findings: Sequence[Finding]) -> None:
    out = TERMINAL.out
    word = {True: "ok", False: "fault", None: "unknown"}[verdict.works]
    out.line(verdict.text, _STYLES[word], "head")
    out.line()
    for finding in findings:
        head = f"{finding.state:<8} {finding.check:<13} "
        told = hung(head + finding.text, out.columns, _MARGIN)
        state = out.paint(head[:8], _STYLES[finding.state])
        out.lines([state + told[8:]])
        if finding.remedy:
            out.line(f"{'':<{_MARGIN}}→ {finding.remedy}", hang=_MARGIN + 2)
