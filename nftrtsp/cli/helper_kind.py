"""Which helper a command is for: ``--helper``, the config's, or for ``auto`` the one that works here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nftrtsp.config import HelperKind
from nftrtsp.terminal import HANG, TERMINAL

if TYPE_CHECKING:
    from nftrtsp.config import Config

KINDS = [kind.value for kind in HelperKind]

helper_option = click.option(
    "--helper", "helper", type=click.Choice(KINDS), help="In place of the config's rtsp.helper."
)


def settle(config: Config, helper: str | None = None, *, ask: bool = True) -> HelperKind:
    """Return the kind that ``--helper`` or the config names; for ``auto`` choose, and say which and why.

    Without ``ask`` the kernel is asked only where its files do not tell: asking may load a module.
    """
    kind = HelperKind(helper) if helper else config.rtsp.helper
    if kind is not HelperKind.AUTO:
        return kind
    from nftrtsp.helper import choice

    chosen = choice.decide(HelperKind.AUTO, choice.look(ask=ask))
    TERMINAL.say(f"helper auto: {chosen.kind}, as {chosen.why}", hang=HANG)
    return chosen.kind


def stand_in_text(kind: HelperKind, stand_in: str) -> str:
    """Return what to say where no helper ``rtsp`` was there to compare with."""
    remedy = "before `nftrtsp apply`, load the kernel module (modprobe nf_nat_rtsp)"
    if kind is HelperKind.USERSPACE:
        remedy = "`nftrtsp apply` registers it"
    return f"no conntrack helper 'rtsp' is registered here, so {stand_in!r} stood in for it; {remedy}"
