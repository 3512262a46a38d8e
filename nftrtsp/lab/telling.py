"""How the demo is told on a terminal or in a log: plain lines, colours where they are welcome."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nftrtsp import figures
from nftrtsp.lab.network import IPTV_LINK, IPTV_ROUTER, Lab
from nftrtsp.lab.showing import ENOUGH, FilmOutcome, Shown, percent
from nftrtsp.terminal import TERMINAL, USUAL, Channel

_STYLES = {
    "asks": "cyan",
    "opens": "green",
    "gets": "bold green",
    "pauses": "yellow",
    "resumes": "yellow",
    "seeks": "yellow",
    "refuses": "bold red",
    "ends": "cyan",
    "closes": "dim",
}


def console_for(to: Channel) -> Console:
    """Return rich's console for ``to``, with our rules for colours and width."""
    return Console(
        highlight=False,
        soft_wrap=True,
        width=to.columns or USUAL,
        force_terminal=to.coloured,
        color_system="auto" if to.coloured else None,
        no_color=not to.coloured,
    )


class Telling:
    """Writes the demo to ``console``."""

    def __init__(self, console: Console | None = None) -> None:
        # Only stdout: what is told is the demo's data.
        self.console = console or console_for(TERMINAL.out)
        self._part = 0

    def introduce(self) -> None:
        """What this is, before anything happens."""
        self._print("[bold]nftrtsp demo[/]: films on demand through a Linux router. It builds a small")
        self._print("network of its own, in network namespaces; nothing else here is touched.\n")

    def network(self, lab: Lab) -> None:
        """The picture of the network."""
        first, last = lab.stbs[0].address, lab.stbs[-1].address.rpartition(".")[2]
        left, right = f"{len(lab.stbs)} set-top boxes", f"{lab.rtsp_server} [dim]is asked (RTSP server)[/]"
        media = f"{_shorten(lab.media_servers)} [dim]send the film[/]"
        self._print(f" {left:<18} LAN ┌────────┐ IPTV  {right}")
        self._print(f" {first + '-' + last:<18}─────┤ router ├─────  {media}")
        self._print(f" {'':<18}     └────────┘ {IPTV_LINK} {IPTV_ROUTER.ip}")

    def part(self, title: str, text: str) -> None:
        """The heading of a part."""
        self._part += 1
        self._print(f"\n[bold]{self._part}  {title}[/]: {text}\n")

    def line(self, time: float | None, who: str, what: str, text: str) -> None:
        """One thing that happened."""
        clock = "" if time is None else f"{time:.2f} s"
        style = _STYLES.get(what, "")
        word = f"[{style}]{what:<8}[/]" if style else f"{what:<8}"
        self._print(f"{clock:>8}  {who:<11} {word}{escape(text)}")

    def rates(self, rates: list[tuple[str, float | None]]) -> None:
        """What arrives at each set-top box now."""
        words = [f"{who} {'paused' if rate is None else f'{rate:.1f}'}" for who, rate in rates]
        if words:
            self._print(f"{'':>8}  [dim]{'Mbit/s now':<11} {' · '.join(words)}[/]")

    def nothing_came(self, results: list[Shown], seconds: float, dropped: int) -> None:
        """How the part without nftrtsp ended."""
        sent = sum(result.sent.packets for result in results)
        arrived = sum(result.report.packets for result in results)
        verdict = "[red]no film[/]" if not arrived else "[bold red]films came, which must not be[/]"
        self._print(f"\n   after {seconds:.0f} s: {sent:,} TS packets sent, {arrived:,} arrived: {verdict}")
        servers = {source.partition(":")[0] for result in results for source in result.sent.sources}
        self._print(f"   Why: the films come from {_shorten(sorted(servers))}, whom nobody inside")
        self._print(f"   asked for anything; the firewall dropped {dropped:,} datagrams at {IPTV_LINK}.")

    def config(self, lab: Lab) -> None:
        """Which config the commands use."""
        self._print(f"   [dim]config: profile movistar, {IPTV_LINK}, {len(lab.stbs)} set-top boxes[/]")

    def typed(self, command: str) -> None:
        """A command as it was typed."""
        self._print(f"   [bold]# nftrtsp {command}[/]")

    def said(self, text: str) -> None:
        """What a command said."""
        for line in textwrap.wrap(text, self.console.width - 8, subsequent_indent="  "):
            self._print(f"     {escape(line)}")

    def dashboard(self, lab: Lab, done: Callable[[], bool]) -> bool:
        """Open the dashboard until it is left or the films have ended; return False if it fails."""
        from nftrtsp.lab import screen

        self._print("   [dim]The dashboard opens; it closes when the films end, or with q.[/]")
        return screen.show(lab.router.popen_nftrtsp, ("monitor",), done)

    def summary(self, outcome: FilmOutcome, *, gone: bool) -> None:
        """The table at the end, and the verdict."""
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for heading in ("set-top box", "film from"):
            table.add_column(heading, no_wrap=True)
        for heading in ("first", "sent", "arrived", "share", "lost", "without us"):
            table.add_column(heading, justify="right", no_wrap=True)
        before = {result.stb.address: result for result in outcome.without}
        for result in outcome.with_us:
            table.add_row(*_row(result, before[result.stb.address]))
        self._print("\n[bold]Summary[/]: TS packets, counted at both ends; first: after SETUP\n")
        wide = self.console.options.update(max_width=2 * USUAL)
        if self.console.measure(table, options=wide).maximum > self.console.width:
            table.padding = (0, 1, 0, 0)  # long films have one digit more; nothing may be cut off
        self.console.print(table)
        self._print("")
        for text in _verdict(outcome):
            self._print(text)
        if gone:
            self._print("The lab is gone: no namespace, process or file of it is left.")

    def _print(self, text: str) -> None:
        self.console.print(text)


def _row(result: Shown, before: Shown) -> list[str]:
    first = result.report.first
    good = result.share >= ENOUGH
    return [
        result.stb.title,
        ", ".join(sorted({source.partition(":")[0] for source in result.report.sources})) or "-",
        "never" if first is None else figures.latency(first),
        f"{result.sent.packets:,}",
        f"{result.report.packets:,}",
        f"[{'green' if good else 'red'}]{percent(result.share)}[/]",
        f"{result.sent.packets - result.report.packets:,}",
        f"{before.report.packets:,} of {before.sent.packets:,}",
    ]


def _verdict(outcome: FilmOutcome) -> list[str]:
    boxes = len(outcome.with_us)
    if outcome.good:
        return [f"[bold green]OK[/]: without nftrtsp no film arrived; with it all {boxes} did."]
    lines = [
        f"[bold red]FAILED[/]: without nftrtsp a film arrived at {result.stb.title}."
        for result in outcome.without
        if result.report.packets
    ]
    for result in outcome.with_us:
        if result.share < ENOUGH:
            lines.append(f"[bold red]FAILED[/]: {result.stb.title} got {percent(result.share)} of its film.")
        if result.report.foreign:
            lines.append(f"[bold red]FAILED[/]: {result.stb.title} got packets that were not of its film.")
    return lines or ["[bold red]FAILED[/]: the media servers sent nothing."]


def _shorten(addresses: list[str]) -> str:
    """Name the first address in full and of the others what differs."""
    first, *others = addresses
    network = first.rpartition(".")[0] + "."
    return ", ".join([first, *(f".{address.removeprefix(network)}" for address in others)])
