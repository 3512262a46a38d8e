"""``status``: where things stand, read-only."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nftrtsp import figures
from nftrtsp.cli.apply import wish
from nftrtsp.cli.options import config_option, json_option, load_config, netns_option
from nftrtsp.errors import NftrtspError, PrivilegeError
from nftrtsp.terminal import TERMINAL

if TYPE_CHECKING:
    from nftrtsp.helper.note import Hello
    from nftrtsp.ruleset.model import Table

#: Seconds to wait for a running helper's first line.
_HELPER_PATIENCE = 1.0


@click.command()
@config_option
@json_option
@netns_option
def status(config_path: Path | None, as_json: bool) -> None:
    """Where things stand: live against config, the good ruleset, a change on trial, the helper."""
    from nftrtsp.ruleset import apply as applying
    from nftrtsp.ruleset.kernel import Nft

    with Nft() as nft:
        live = applying.live(nft)
    facts = {
        "live": live is not None,
        **_against_config(live, config_path),
        "good": _good(live),
        "trial": _trial(),
        "last": _last(),
        "helper": running_helper(),
    }
    if as_json:
        TERMINAL.json(facts)
    else:
        for title, text in _sentences(facts):
            TERMINAL.out.line(f"{title:<9} {text}", hang=10)


def _against_config(live: Table | None, path: Path | None) -> dict[str, Any]:
    from nftrtsp.helper import choice
    from nftrtsp.ruleset.diff import compare

    try:
        config = load_config(path)
        chosen = choice.choose(config)
        plan = compare(live, wish(config, chosen.kind).table)
    except NftrtspError as error:
        return {"config": {"error": str(error)}, "choice": None}
    return {
        "config": {"same": not plan, "summary": plan.summary},
        "choice": {"kind": str(chosen.kind), "why": chosen.why},
    }


def _good(live: Table | None) -> dict[str, Any] | None:
    from nftrtsp.ruleset import apply as applying
    from nftrtsp.ruleset import archive
    from nftrtsp.ruleset.diff import compare

    try:
        good = archive.good()
        if good is None:
            return None
        plan = compare(live, applying.want(good.text, good.kind).table)
    except NftrtspError as error:
        return {"error": str(error)}
    return {"time": good.time, "by": good.by, "kind": good.kind, "live": not plan, "summary": plan.summary}


def _trial() -> dict[str, Any] | None:
    from nftrtsp.ruleset import trial

    try:
        found, gone = trial.find(), trial.reverted()
    except NftrtspError as error:
        return {"state": "unsafe", "error": str(error)}
    if found is not None:
        state, change = found
        left = round(change.left, 1) if state is trial.TrialState.ARMED else None
        return {"state": str(state), "by": change.by, "summary": change.summary, "left": left} | {
            "deadline": change.deadline or None
        }
    if gone is not None and gone.id:
        return {"state": "reverted", "by": gone.by, "summary": gone.summary, "deadline": gone.deadline}
    return None


def _last() -> dict[str, object] | None:
    from nftrtsp.ruleset import apply as applying
    from nftrtsp.ruleset import trial

    last = trial.noted(applying.LAST)
    with contextlib.suppress(NftrtspError):  # said above
        gone = trial.reverted()
        if gone is not None and gone.started == last.get("time"):
            last["result"] = "taken back"  # by a script that writes no JSON
    return last or None


def running_helper() -> Hello | None:
    """Return the greeting of a running helper, which says who it is; None where none runs."""
    from nftrtsp.helper import publish

    try:
        return publish.ask(timeout=_HELPER_PATIENCE)
    except PrivilegeError:
        return None


def _sentences(facts: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("ruleset", _of_ruleset(facts)),
        ("good", _of_good(facts["good"])),
        ("trial", _of_trial(facts["trial"])),
        ("last", _of_last(facts["last"])),
        ("helper", _of_helper(facts["helper"], facts["choice"])),
    ]


def _of_ruleset(facts: dict[str, Any]) -> str:
    config = facts["config"]
    live = "live" if facts["live"] else "not loaded"
    if "error" in config:
        return f"{live}; the config cannot be compared: {config['error']}"
    return f"{live}, as the config says" if config["same"] else f"{live}; config differs: {config['summary']}"


def _of_good(good: dict[str, Any] | None) -> str:
    if good is None:
        return "none confirmed yet; nothing is loaded at boot"
    if "error" in good:
        return str(good["error"])
    text = f"confirmed {figures.date(good['time'])} by {good['by']} for the {good['kind']} helper"
    return f"{text}; {'it is live' if good['live'] else 'the live one differs: ' + good['summary']}"


def _of_trial(change: dict[str, Any] | None) -> str:
    if change is None:
        return "nothing waits for a confirmation"
    if "error" in change:
        return str(change["error"])
    what = f"{change['summary']}, by {change['by']}"
    if change["state"] == "armed":
        at = figures.clock(change["deadline"])
        left = max(0, round(change["left"]))
        return f"UNCONFIRMED: {what}; goes back at {at}, in {left} s, unless `nftrtsp confirm`"
    if change["state"] == "reverted":
        return f"the last change was taken back: {what}"
    return f"an interrupted apply ({what}) is settled by the next command that changes something"


def _of_last(last: dict[str, Any] | None) -> str:
    if last is None:
        return "never applied"
    summary = f" ({last['summary']})" if "summary" in last else ""
    when = figures.date(float(last.get("time", 0)))
    return f"{last.get('result', '')} {when} by {last.get('by', '')}{summary}"


def _of_helper(hello: Hello | None, choice: dict[str, Any] | None) -> str:
    chosen = f"{choice['kind']}: {choice['why']}" if choice else "unknown"
    if hello is None and choice and choice["kind"] == "kernel":
        return f"{chosen}; the module does it, and no `nftrtsp helper` needs to run"
    if hello is None:
        return f"{chosen}; no `nftrtsp helper` is running"
    process = f"process {hello.pid}, {figures.counted(len(hello.ways), 'port')} open"
    return f"{chosen}; running {hello.kind} since {figures.date(hello.since)}, {process}"
