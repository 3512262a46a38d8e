"""``confirm``, ``rollback``, ``history`` and ``restore``: keep a change, go back, load one at boot."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from nftrtsp import figures
from nftrtsp.cli.options import json_option, netns_option, unused_config_option
from nftrtsp.errors import NftrtspError, StateError
from nftrtsp.terminal import TERMINAL

if TYPE_CHECKING:
    from nftrtsp.ruleset.archive import Saved

#: A long entry goes on below its date.
_HANG = 6

yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


@click.command()
@unused_config_option
@netns_option
def confirm() -> None:
    """Keep what was applied with --confirm-within: it becomes the good ruleset."""
    from nftrtsp.ruleset import apply as applying

    change = applying.confirm()
    TERMINAL.out.line(
        f"confirmed: {change.summary}, applied by {change.by}; it is loaded at boot from now on"
    )


@click.command()
@unused_config_option
@click.argument("number", type=click.IntRange(1), required=False)
@yes_option
@netns_option
def rollback(number: int | None, yes: bool) -> None:
    """Go back: from a change on trial at once, else to the ruleset NUMBER of `nftrtsp history` [1]."""
    from nftrtsp.cli.apply import ask
    from nftrtsp.cli.plan import show_plan
    from nftrtsp.ruleset import apply as applying
    from nftrtsp.ruleset import archive, trial
    from nftrtsp.ruleset.kernel import Nft

    with Nft() as nft:
        if number is None and trial.find() is not None:
            ask("Take back the change that is on trial?", yes)
            change = applying.go_back()
            if change is not None:
                TERMINAL.out.line(f"back: the change by {change.by} is gone ({change.summary})")
                return
        saved = _entry(archive.history(), number or 1)
        wanted = applying.want(saved.text, saved.kind)
        plan = applying.plan(nft, wanted)
        if not plan:
            TERMINAL.out.line(f"the kernel has that ruleset already (confirmed {figures.date(saved.time)})")
        else:
            show_plan(plan)
            ask(f"Go back to the ruleset confirmed {figures.date(saved.time)}?", yes)
            _make_ready(saved)
        outcome = applying.apply(nft, wanted, shown=plan)
    for remark in outcome.remarks:
        TERMINAL.say(remark)
    if plan:
        TERMINAL.out.line(
            f"back to the ruleset confirmed {figures.date(saved.time)}; it is the good one again"
        )


@click.command()
@unused_config_option
@json_option
def history(as_json: bool) -> None:
    """List the rulesets that were confirmed: the good one, and those before it, for `rollback NUMBER`."""
    from nftrtsp.ruleset import archive

    out = TERMINAL.out
    entries: list[tuple[str, Saved | StateError]] = []
    try:
        good = archive.good()
    except StateError as error:
        entries.append(("good", error))
    else:
        entries += [("good", good)] if good else []
    entries += [(str(number), entry) for number, entry in enumerate(archive.history(), 1)]
    if not entries and not as_json:
        TERMINAL.say("no ruleset was confirmed yet")
    for name, entry in entries:
        if isinstance(entry, StateError):
            if as_json:
                TERMINAL.json({"entry": name, "damaged": str(entry)})
            else:
                out.line(f"{name:>4}  {entry}", hang=_HANG)
        elif as_json:
            fields = {"entry": name, "time": entry.time, "by": entry.by, "kind": entry.kind}
            TERMINAL.json(fields | {"summary": entry.summary, "file": str(entry.path)})
        else:
            kept = f"{figures.date(entry.time)}  {entry.kind:<9}  {entry.summary}  by {entry.by}"
            out.line(f"{name:>4}  {kept}", hang=_HANG)


@click.command()
@unused_config_option
@netns_option
def restore() -> None:
    """Load the good ruleset, at boot. A change that was never confirmed is gone then."""
    from nftrtsp.ruleset import boot

    saved = boot.restore()
    if saved is None:
        from nftrtsp.ruleset import apply as applying
        from nftrtsp.ruleset import archive
        from nftrtsp.ruleset.kernel import Nft

        with contextlib.suppress(StateError):  # said below
            _make_ready(archive.good())
        with Nft() as nft:
            saved, remarks = applying.restore(nft)
        for remark in remarks:
            TERMINAL.say(remark)
    if saved is None:
        TERMINAL.say("no ruleset was confirmed yet, so there is none to load")
    else:
        TERMINAL.out.line(f"loaded {saved.path.name}, confirmed {figures.date(saved.time)} by {saved.by}")


def _make_ready(saved: Saved | None) -> None:
    """Register the userspace helper's name for a ruleset of its kind, if the config can be read."""
    from nftrtsp.cli.apply import make_ready
    from nftrtsp.cli.options import load_config

    if saved is not None and saved.kind == "userspace":
        with contextlib.suppress(NftrtspError):  # what the kernel then says of the ruleset tells more
            make_ready(saved.kind, load_config(None))


def _entry(entries: list[Saved | StateError], number: int) -> Saved:
    if number > len(entries):
        count = len(entries)
        raise StateError(
            f"the history has {count or 'no'} entr{'y' if count == 1 else 'ies'}",
            place=f"rollback {number}",
            remedy="see `nftrtsp history`; `nftrtsp remove` takes our table away",
        )
    entry = entries[number - 1]
    if isinstance(entry, StateError):
        raise entry
    return entry
