"""Films in a standing lab, many at once, and what each set-top box got of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from nftrtsp import figures
from nftrtsp.errors import NftrtspError
from nftrtsp.lab.namespace import Host
from nftrtsp.lab.network import Lab, LabStb
from nftrtsp.lab.player import PlayedFilm, Report, Sent

ENOUGH = 0.999
_FIRST_PORT = 20000


@dataclass(frozen=True, slots=True)
class Shown:
    """One film: who asked, for which port, what was sent and what came."""

    stb: Host
    port: int
    sent: Sent
    report: Report

    @property
    def share(self) -> float:
        """The share of the TS packets sent that arrived, 0 to 1."""
        return self.report.packets / self.sent.packets if self.sent.packets else 0.0

    @property
    def good(self) -> bool:
        """Whether enough came, and nothing of another's film."""
        return self.share >= ENOUGH and not self.report.foreign


@dataclass(frozen=True, slots=True)
class FilmOutcome:
    """Both parts of the demo: the films without nftrtsp, and with it."""

    without: list[Shown]
    with_us: list[Shown]

    @property
    def good(self) -> bool:
        """Whether nothing came without nftrtsp although it was sent, and enough came to everyone with it."""
        nothing = all(result.sent.packets and not result.report.packets for result in self.without)
        return nothing and all(result.good for result in self.with_us)


def play(
    lab: Lab,
    boxes: Sequence[LabStb],
    films: int,
    seconds: float,
    *,
    mbps: float = 6.0,
    start: float = 0.0,
    pause: bool = False,
) -> list[Shown]:
    """Play ``films`` films at once, dealt to ``boxes`` in turn, each for ``seconds`` s at ``mbps`` Mbit/s.

    Media servers begin ``start`` seconds after PLAY.

    Raises :class:`nftrtsp.errors.LabError` for the first dialogue that failed.
    """
    provider = lab.standing_provider()
    results: dict[int, Shown] = {}
    trouble: list[NftrtspError] = []
    players = {stb.name: stb.player() for stb in boxes}

    def watch(index: int) -> None:
        stb, port = boxes[index % len(boxes)], _FIRST_PORT + 2 * index
        try:
            film = players[stb.name].watch(port, mbps=mbps, start=start)
            report = _watch(film, seconds, pause)
            results[index] = Shown(stb, port, provider.sent(film), report)
        except NftrtspError as error:
            trouble.append(error)

    threads = [threading.Thread(target=watch, args=(index,), daemon=True) for index in range(films)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for player in players.values():
            player.close()
    if trouble:
        raise trouble[0]
    return [results[index] for index in sorted(results)]


def record(result: Shown) -> dict[str, object]:
    """Return the JSON object of one film."""
    return {
        "stb": result.stb.address,
        "name": result.stb.title,
        "port": result.port,
        "share": result.share,
        "sent": asdict(result.sent),
        "got": asdict(result.report),
    }


def to_text(results: Sequence[Shown]) -> str:
    """Return the table that people read."""
    heading = ("STB", "PORT", "FILM FROM", "FIRST", "SENT", "ARRIVED", "SHARE", "LOST")
    rows = [heading, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def percent(share: float) -> str:
    """Return a share as text, rounded down: 99.996 % must not read as all of it."""
    return f"{int(share * 10000) / 100:.2f} %"


def _row(result: Shown) -> tuple[str, ...]:
    first = result.report.first
    return (
        result.stb.title,
        str(result.port),
        ", ".join(sorted({source.partition(":")[0] for source in result.report.sources})) or "-",
        "never" if first is None else figures.latency(first),
        str(result.sent.packets),
        str(result.report.packets),
        percent(result.share),
        str(result.sent.packets - result.report.packets),
    )


def _watch(film: PlayedFilm, seconds: float, pause: bool) -> Report:
    film.keep_alive(every=20.0)
    if pause:
        time.sleep(0.4 * seconds)
        film.pause()
        time.sleep(0.2 * seconds)
        film.play()
        time.sleep(0.4 * seconds)
    else:
        time.sleep(seconds)
    return film.teardown()
