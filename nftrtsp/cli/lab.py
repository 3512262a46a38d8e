"""`nftrtsp lab up`, `play`, `exec`, `break`, `demo` and `down`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nftrtsp.cli.options import json_option
from nftrtsp.errors import LabError, PrivilegeError
from nftrtsp.terminal import TERMINAL, json_line

if TYPE_CHECKING:
    from nftrtsp.lab.network import Lab

_SET_UP = (
    "set the router up: `nftrtsp lab exec nftrtsp apply --yes`, and beside it"
    " `nftrtsp lab exec nftrtsp helper`"
)
_lab_option = click.option("--lab", "lab_id", metavar="ID", help="Which lab [default: the last one built].")


@click.group()
def lab() -> None:
    """A self-contained network to try it all in: set-top boxes, a router, RTSP and media servers.

    It consists of network namespaces without a link or route to anything else. Needs root.
    """


@lab.command()
@click.option("--stbs", type=click.IntRange(1, 50), default=3, show_default=True, help="Set-top boxes.")
@click.option(
    "--media-servers", type=click.IntRange(1, 50), default=3, show_default=True, help="Media servers."
)
@click.option(
    "--helper",
    type=click.Choice(["auto", "kernel", "userspace", "pinhole"]),
    default="auto",
    help="rtsp.helper of the lab's config.",
)
def up(stbs: int, media_servers: int, helper: str) -> None:
    """Build a lab that stays, with its servers running, until `nftrtsp lab down`."""
    from nftrtsp.lab.network import Lab

    built = Lab.build(stbs, media_servers, helper=helper, persistent=True)
    try:
        built.provider(detached=True)
    except BaseException:
        built.close()
        raise
    variables = " ".join(f"{key}={value}" for key, value in built.variables().items() if key != "PATH")
    TERMINAL.out.line(
        f"lab {built.id} is up: {stbs} set-top boxes, a router, {media_servers} media servers\n"
        f"  run commands in its router:  nftrtsp lab exec nftrtsp apply --yes\n"
        f"  or a shell:                  nftrtsp lab exec bash\n"
        f"  which is short for:          {variables} ip netns exec {built.router.name} ...\n"
        f"  play films:                  nftrtsp lab play --seconds 10\n"
        f"  take it down:                nftrtsp lab down"
    )


@lab.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_lab_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec(lab_id: str | None, command: tuple[str, ...]) -> None:  # noqa: A001 - as `ip netns exec`
    """Run a command in the router of a lab that is up."""
    router = _standing(lab_id).router
    variables = router.home.environment()
    if shutil.which(command[0], path=variables.get("PATH")) is None:
        TERMINAL.say(f"nftrtsp: lab: there is no program {command[0]!r} to run")
        click.get_current_context().exit(127)  # as a shell says it
    try:
        # In place of this process: signals, the terminal and the exit code are the command's own.
        os.execvpe("nsenter", router.words(command), variables)  # noqa: S606 - no shell, on purpose
    except FileNotFoundError:
        raise LabError("there is no `nsenter`", place="lab", remedy="install util-linux") from None


@lab.command()
@_lab_option
@click.option("--stb", "numbers", type=int, multiple=True, help="Which set-top box, from 1 [default: all].")
@click.option("--films", type=click.IntRange(1, 200), help="How many films [default: one for each box].")
@click.option("--seconds", type=click.FloatRange(0.5), default=10.0, show_default=True, help="Their length.")
@click.option(
    "--mbps", type=click.FloatRange(0.1, 100), default=6.0, show_default=True, help="Mbit/s of each."
)
@click.option("--start", type=click.FloatRange(0.0), default=0.0, help="Seconds from PLAY to the film.")
@click.option("--pause", is_flag=True, help="Pause in the middle for a fifth of the time, and resume.")
@json_option
def play(  # noqa: PLR0917 - one for each option
    lab_id: str | None,
    numbers: tuple[int, ...],
    films: int | None,
    seconds: float,
    mbps: float,
    start: float,
    pause: bool,
    as_json: bool,
) -> None:
    """Play films in a lab that is up, and print what each set-top box got.

    Exit code 1 if a box got less than 99.9 % of the TS packets that were sent to it.
    """
    from nftrtsp.lab import showing

    standing = _standing(lab_id)
    for number in numbers:
        if not 1 <= number <= len(standing.stbs):
            raise LabError(
                f"there is no set-top box {number}", place="--stb", remedy=f"1 to {len(standing.stbs)}"
            )
    boxes = [standing.stbs[number - 1] for number in numbers] or standing.stbs
    try:
        results = showing.play(
            standing, boxes, films or len(boxes), seconds, mbps=mbps, start=start, pause=pause
        )
    except LabError as error:
        raise LabError(error.message, place=error.place, remedy=error.remedy or _SET_UP) from None
    if as_json:
        TERMINAL.out.lines(json_line(showing.record(result)) for result in results)
    else:
        TERMINAL.out.lines([showing.to_text(results)])
    if not all(result.good for result in results):
        if not any(result.report.packets for result in results):
            TERMINAL.say(f"nftrtsp: lab: no film arrived; {_SET_UP}")
        click.get_current_context().exit(1)


@lab.command()
@click.option(
    "--seconds",
    type=click.FloatRange(2.0, 40.0),
    help="Length of the films [default: 10, under the dashboard 25].",
)
@click.option("--text", is_flag=True, help="No dashboard, also on a terminal.")
def demo(seconds: float | None, text: bool) -> None:
    """Show it: films without nftrtsp, which do not arrive, then with it.

    Builds a lab of its own and removes it. On a terminal it opens the dashboard while the films play.
    """
    from importlib.util import find_spec

    from nftrtsp.lab import demo as story
    from nftrtsp.lab.telling import Telling

    dashboard = TERMINAL.interactive and not text and find_spec("nftrtsp.cli.monitor") is not None
    try:
        outcome = story.play(Telling(), seconds=seconds or (25.0 if dashboard else 10.0), dashboard=dashboard)
    except KeyboardInterrupt:
        TERMINAL.say("\nnftrtsp: stopped; the lab is gone")
        click.get_current_context().exit(130)
    click.get_current_context().exit(0 if outcome.good else 1)


@lab.command(name="break", short_help="Break something, to see what doctor and monitor say.")
@_lab_option
@click.option("--fix", is_flag=True, help="Put it right again.")
@click.argument("name", metavar="[FAULT]", required=False)
def break_(lab_id: str | None, fix: bool, name: str | None) -> None:
    """Break something in a lab that is up, to see what doctor and monitor say; without FAULT, list them."""
    from nftrtsp.lab import fault

    if name is None:
        width = max(map(len, fault.FAULTS))
        for known, what in fault.FAULTS.items():
            TERMINAL.out.line(f"{known:<{width}}  {what.summary}")
        return
    found = fault.find(name)
    (found.fix if fix else found.make)(_standing(lab_id))
    TERMINAL.out.line(f"{'fixed' if fix else 'broken'}: {found.summary}")


@lab.command()
@click.option("--lab", "lab_id", metavar="ID", help="Only this one [default: all that nobody holds].")
def down(lab_id: str | None) -> None:
    """Remove labs that are up, and what dead ones left."""
    from nftrtsp.lab import registry

    _need_root()
    found = [registry.load(lab_id)] if lab_id else registry.labs()
    removed = []
    for record in found:
        if record.persistent or not registry.owner_lives(Path(record.folder)):
            registry.remove(record)
            removed.append(record.id)
        elif lab_id:
            raise LabError(
                f"the lab {lab_id} belongs to a running program", place="lab", remedy="end that program"
            )
    TERMINAL.out.line(f"removed {', '.join(removed)}" if removed else "there is no lab to remove")


def _need_root() -> None:
    if os.geteuid() != 0:
        raise PrivilegeError("a lab is entered and removed by root", place="lab", remedy="run it as root")


def _standing(lab_id: str | None) -> Lab:
    from nftrtsp.lab import registry
    from nftrtsp.lab.network import Lab

    _need_root()
    if lab_id:
        return Lab.open(lab_id)
    standing = [record for record in registry.labs() if record.persistent]
    if not standing:
        raise LabError("no lab is up", place="lab", remedy="build one with `nftrtsp lab up`")
    return Lab.open(standing[-1].id)
