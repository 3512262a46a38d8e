"""``diff``, ``apply`` and ``remove``: what would change, change it, take it away."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nftrtsp import figures
from nftrtsp.cli.helper_kind import helper_option, settle, stand_in_text
from nftrtsp.cli.options import config_option, json_option, load_config, netns_option, unused_config_option
from nftrtsp.cli.plan import print_plan, show_plan
from nftrtsp.config import HelperKind
from nftrtsp.errors import printable
from nftrtsp.terminal import TERMINAL

if TYPE_CHECKING:
    from nftrtsp.config import Config
    from nftrtsp.health.background import BackgroundSurvey
    from nftrtsp.ruleset.apply import Outcome, Wanted
    from nftrtsp.ruleset.trial import Trial

yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")

#: Exit code of ``apply`` when the change was taken back before it was confirmed.
TAKEN_BACK = 3

#: Exit code of ``apply`` when Ctrl-C ended the countdown: the change is live, and still on trial.
WATCH_ENDED = 130


@click.command()
@config_option
@helper_option
@json_option
@click.option(
    "--against",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Compare with a saved ruleset in place of the kernel's; needs no root.",
)
@netns_option
@click.pass_context
def diff(
    context: click.Context, config_path: Path | None, helper: str | None, as_json: bool, against: Path | None
) -> None:
    """Dry run: what `apply` would change. Exit code 0: nothing, 1: something, 2: trouble.

    Signs in the first column: + added, - removed, ~ changed, > moved.
    """
    from nftrtsp.health.background import BackgroundSurvey
    from nftrtsp.ruleset import apply as applying
    from nftrtsp.ruleset.diff import compare
    from nftrtsp.ruleset.kernel import Nft

    config = load_config(config_path)
    kind = settle(config, helper)
    if against is not None:
        wanted = wish(config, kind)
        plan = compare(applying.want(_read(against), place=printable(str(against))).table, wanted.table)
    else:
        with Nft() as nft, BackgroundSurvey(config, kind) as around:
            wanted = wish(config, kind)
            plan = applying.plan(nft, wanted)
            _warn(config, around, as_json)
    if as_json:
        print_plan(plan)
    elif plan:
        show_plan(plan)
    else:
        TERMINAL.out.line("no difference")
    if wanted.stand_in and plan and not as_json:
        TERMINAL.say(stand_in_text(kind, wanted.stand_in))
    context.exit(1 if plan else 0)


@click.command()
@config_option
@helper_option
@yes_option
@click.option(
    "--confirm-within",
    type=click.IntRange(1, 86400),
    metavar="SEC",
    help="Go back by itself after SEC seconds unless `nftrtsp confirm` is run before.",
)
@netns_option
@click.pass_context
def apply(
    context: click.Context,
    config_path: Path | None,
    helper: str | None,
    yes: bool,
    confirm_within: int | None,
) -> None:
    """Show the plan, ask, apply it in one transaction, verify. Only our own table is touched.

    Over SSH use --confirm-within: the old ruleset comes back unless you confirm the new one in time, and the
    way back is armed before the change and does not need this program. Exit code 3: taken back. Ctrl-C ends
    only the countdown, with exit code 130: the change is live and unconfirmed, and the way back stays armed.
    """
    from nftrtsp.health.background import BackgroundSurvey
    from nftrtsp.ruleset import apply as applying
    from nftrtsp.ruleset.kernel import Nft

    config = load_config(config_path)
    _require_interfaces(config, config_path)
    kind = settle(config, helper)
    with Nft() as nft:
        with BackgroundSurvey(config, kind) as around:
            wanted = wish(config, kind)
            plan = applying.plan(nft, wanted)
            _warn(config, around, False)
        if plan:
            show_plan(plan)
            ask("Apply this?", yes)
            make_ready(kind, config)
        outcome = applying.apply(
            nft,
            wanted,
            shown=plan,
            confirm_within=confirm_within,
            adopt=adoption(config, kind),
        )
    _tell(outcome)
    _ask_for_helper(kind)
    if outcome.trial is not None:
        context.exit(0 if await_confirmation(outcome.trial) else TAKEN_BACK)


@click.command()
@unused_config_option
@yes_option
@netns_option
def remove(yes: bool) -> None:
    """Take our table away: back to what was there before us. Films that play may stop."""
    from nftrtsp.ruleset import apply as applying
    from nftrtsp.ruleset.diff import compare
    from nftrtsp.ruleset.kernel import Nft

    with Nft() as nft:
        plan = compare(applying.live(nft), None)
        if plan:
            TERMINAL.out.line(f"table inet nftrtsp goes: {plan.summary}")
            ask("Remove it?", yes)
        removed = applying.remove(nft)
    TERMINAL.out.line(
        "removed; nothing of ours is loaded at boot" if removed else "there is no table of ours"
    )


def wish(config: Config, kind: HelperKind) -> Wanted:
    """Return the ruleset that the config asks for with that helper, in the kernel's own words."""
    from nftrtsp.ruleset import apply as applying
    from nftrtsp.ruleset.build import build
    from nftrtsp.ruleset.render import render

    return applying.want(render(build(config, kind)), str(kind))


def ask(question: str, yes: bool) -> None:
    """Ask on a terminal; elsewhere ``--yes`` must have been given. Raises Abort at a no."""
    if not yes and not TERMINAL.confirm(question):
        TERMINAL.say("nothing was changed")
        raise click.Abort


def await_confirmation(change: Trial) -> bool:
    """Say how to confirm; on a terminal count down to the deadline. Return whether it was kept so far."""
    from nftrtsp.ruleset import apply as applying
    from nftrtsp.ruleset import trial

    at = figures.clock(change.deadline)
    TERMINAL.say(
        f"On trial until {at}: open a NEW connection to the router, then run `nftrtsp confirm` there."
    )
    TERMINAL.say("Without it the old ruleset comes back by itself, also if this connection is lost.")
    if not (sys.stdin.isatty() and TERMINAL.err.is_terminal):
        return True
    try:
        while trial.folder(trial.TrialState.ARMED).is_dir() and change.left > -30:
            TERMINAL.err.over(f"{max(0, round(change.left)):>5} s left ")
            time.sleep(0.25)
    except KeyboardInterrupt:
        TERMINAL.say(
            "no longer watching, not confirmed: the way back is still armed,\n"
            f"and the old ruleset comes back at {at} unless you run `nftrtsp confirm`"
        )
        raise click.exceptions.Exit(WATCH_ENDED) from None
    if trial.folder(trial.TrialState.ARMED).is_dir():
        TERMINAL.say("the way back was not taken in time; run `nftrtsp rollback` now")
        return False
    gone = trial.reverted()
    kept = gone is None or gone.id != change.id
    if kept and trial.noted(applying.LAST).get("result") == "removed":
        TERMINAL.say("our table was taken away meanwhile")
        return False
    TERMINAL.say("confirmed: kept" if kept else "not confirmed: the old ruleset is back")
    return kept


def _tell(outcome: Outcome) -> None:
    for remark in outcome.remarks:
        TERMINAL.say(remark)
    if not outcome.plan:
        text = "it is now the good one, loaded at boot" if outcome.kept else "nothing was touched"
        TERMINAL.out.line(f"nothing to do: the kernel has this ruleset already; {text}")
        return
    TERMINAL.out.line("applied and verified")
    if outcome.adopted:
        plural = "" if outcome.adopted == 1 else "s"
        TERMINAL.out.line(
            f"{outcome.adopted} open RTSP connection{plural} will be picked up again, with the helper"
        )


def _require_interfaces(config: Config, config_path: Path | None) -> None:
    from nftrtsp import paths
    from nftrtsp.config import check_interfaces
    from nftrtsp.netlink import links

    check_interfaces(config, set(links.read()), place=(config_path or paths.config_file()).name)


def make_ready(kind: str, config: Config) -> None:
    """Let the kernel know the userspace helper's name, which it must before it takes a ruleset with it.

    So rulesets may be loaded before `nftrtsp helper` runs. Until then the name does nothing.
    """
    from nftrtsp.config import HelperKind

    if kind == HelperKind.USERSPACE:
        from nftrtsp.helper.userspace import cthelper

        cthelper.prepare(config)


def _ask_for_helper(kind: HelperKind) -> None:
    """Say so where nobody reads yet what boxes ask for."""
    from nftrtsp import paths
    from nftrtsp.config import HelperKind
    from nftrtsp.helper import publish

    if kind is not HelperKind.KERNEL and publish.ask(paths.helper_socket()) is None:
        TERMINAL.say("no `nftrtsp helper` runs here yet, and without it no film comes: start it")


def _warn(config: Config, around: BackgroundSurvey, as_json: bool) -> None:
    """Say what the ruleset cannot fix, on stderr; with ``--json`` as objects on stdout."""
    from nftrtsp.health.surroundings import warnings

    found, whole = around.report()
    if not whole:
        TERMINAL.say("other programs' tables were not looked into, as that takes long; `nftrtsp doctor` does")
    for finding in warnings(config, found):
        if as_json:
            place = finding.place or finding.check
            told = {"id": finding.id, "place": place, "message": finding.message, "remedy": finding.remedy}
            TERMINAL.json({"warning": {**told, "state": finding.state}})
        else:
            place = f"{finding.place}: " if finding.place else ""
            TERMINAL.warn(f"{place}{finding.message}; {finding.remedy}")


def adoption(config: Config, kind: HelperKind) -> Callable[[], int] | None:
    """Return what deletes the conntrack entries of RTSP connections that have no helper, if they need one."""
    if not kind.uses_ct_helper:
        return None

    def delete() -> int:
        from nftrtsp.ruleset.adoption import adopt

        return adopt(config)

    return delete


def _read(path: Path) -> str:
    from nftrtsp.ruleset import disk

    return disk.read(path) or ""
