"""``doctor``: why does VoD not work here?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nftrtsp.cli.options import config_option, json_option, load_config, netns_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nftrtsp.doctor import Finding, Verdict

_COLOURS = {"ok": "green", "warning": "yellow", "fault": "red", "unknown": "blue"}

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
    from nftrtsp.doctor import conclude, diagnose, gather

    facts = gather(load_config(config_path))
    findings = diagnose(facts)
    verdict = conclude(facts, findings)
    if as_json:
        _write_json(verdict, findings)
    else:
        _write_text(verdict, findings)
    sys.exit(1 if verdict.works is False else 0)


def _write_json(verdict: Verdict, findings: Sequence[Finding]) -> None:
    import msgspec

    for value in ({"verdict": verdict.text, "works": verdict.works}, *findings):
        click.echo(msgspec.json.encode(value).decode())


def _write_text(verdict: Verdict, findings: Sequence[Finding]) -> None:
    import os
    import shutil
    import textwrap

    colour = None if not os.environ.get("NO_COLOR") else False
    word = {True: "ok", False: "fault", None: "unknown"}[verdict.works]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000

    def wrapped(text: str, margin: int) -> str:
        lines = textwrap.wrap(text, max(width - margin, 20), break_long_words=False, break_on_hyphens=False)
        return ("\n" + " " * margin).join(lines)

    click.secho(wrapped(verdict.text, 0), fg=_COLOURS[word], bold=True, color=colour)
    click.echo()
    for finding in findings:
        state = click.style(f"{finding.state:<8}", fg=_COLOURS[finding.state])
        click.echo(f"{state} {finding.check:<13} {wrapped(finding.text, _MARGIN)}", color=colour)
        if finding.remedy:
            click.echo(f"{'':<{_MARGIN}}→ {wrapped(finding.remedy, _MARGIN + 2)}", color=colour)
