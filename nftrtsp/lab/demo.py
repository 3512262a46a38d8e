"""The demo: three films without nftrtsp, which do not arrive, and three with it, which do.

The router is set up with the commands that a user types, run in the lab's router. What is told comes from
what nftrtsp publishes, what is counted from both ends of the film. It is a test too: it fails unless without
nftrtsp nothing arrived, and with it every set-top box got at least 99.9 % of the TS packets sent to it.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable

from nftrtsp.errors import LabError, NftrtspError
from nftrtsp.lab import plain, registry
from nftrtsp.lab.dialogue import REASONS
from nftrtsp.lab.namespace import Host
from nftrtsp.lab.network import Lab
from nftrtsp.lab.player import PlayedFilm, Player, ProviderControl
from nftrtsp.lab.showing import FilmOutcome, Shown
from nftrtsp.lab.telling import Telling
from nftrtsp.terminal import WARNING

PORTS = (27336, 21400, 15026, 27340, 16000, 24128)  # as seen at providers: no fixed range
_START = 0.25  # seconds a media server takes to begin; real ones take no less
_WITHOUT = 3.0  # seconds that we wait for a film that does not come
_LEAST = 2.0  # seconds that a film plays at least
_SCREEN = 10.0  # seconds that the films wait for the dashboard, so that it sees the first SETUP
_RATES_EVERY = 2.0


def play(telling: Telling, *, seconds: float, dashboard: bool, stbs: int = 3) -> FilmOutcome:
    """Play the demo in a lab of its own; ``seconds`` is the length of the films that arrive."""
    telling.introduce()
    with Lab.build(stbs=stbs) as lab, lab.provider() as provider:
        telling.network(lab)
        provider.behave(start=_START)
        without = _without(lab, provider, telling)
        before = plain.text(lab.router)
        _set_up(lab, telling)
        with_us = _with(lab, provider, telling, seconds, dashboard)
        if plain.text(lab.router) != before:
            raise LabError("the plain router's own table was changed", place="demo")
    outcome = FilmOutcome(without, with_us)
    telling.summary(outcome, gone=lab.id not in [record.id for record in registry.labs()])
    return outcome


def _without(lab: Lab, provider: ProviderControl, telling: Telling) -> list[Shown]:
    plain.load(lab.router)
    telling.part("Without nftrtsp", "a router with masquerade and a firewall, as people have it")
    films = [(stb, port, stb.player()) for stb, port in zip(lab.stbs, PORTS, strict=False)]
    try:
        asked = [(stb, port, player.watch(port)) for stb, port, player in films]
        for stb, port, film in asked:
            status = film.setup_response.status if film.setup_response else 500
            text = f"{lab.rtsp_server} for UDP {port}; it answers {status} {REASONS[status]}"
            telling.line(None, stb.title, "asks", text)
        time.sleep(_WITHOUT * registry.patience())
        results = [_result(provider, stb, port, film) for stb, port, film in asked]
    finally:
        for _stb, _port, player in films:
            player.close()
    telling.nothing_came(results, _WITHOUT * registry.patience(), plain.dropped(lab.router))
    return results


def _set_up(lab: Lab, telling: Telling) -> None:
    """The commands of a user, one after the other, with what they say."""
    telling.part("Now nftrtsp", "the commands that you would type, in the lab's router")
    telling.config(lab)
    text = _typed(lab, telling, "generate")
    telling.said(_ruleset_facts(text))
    text = _typed(lab, telling, "apply", "--yes")
    telling.said(_last(text))
    telling.typed("helper &")
    log = (lab.folder / "helper.log").open("w")
    with log:
        process = lab.router.popen_nftrtsp("helper", stdout=log, stderr=log)
    _wait_for_helper(lab, process)
    telling.said((lab.folder / "helper.log").read_text().strip().partition("\n")[0])


def _typed(lab: Lab, telling: Telling, *words: str) -> str:
    telling.typed(" ".join(words))
    done = lab.router.nftrtsp(*words, check=False)
    if done.returncode:
        raise LabError(
            f"`nftrtsp {' '.join(words)}` failed: {done.stderr.strip() or done.stdout.strip()}", place="demo"
        )
    for line in done.stderr.strip().splitlines():
        if line.startswith(WARNING):  # which helper was chosen, and why, the helper itself says
            telling.said(line)
    return done.stdout


def _last(text: str) -> str:
    """The plan's sum and what became of it, without the plan."""
    lines = [line for line in text.strip().splitlines() if line[:1] not in {"+", "-", "~", ""}]
    return "; ".join(lines[-2:])


def _ruleset_facts(text: str) -> str:
    rules = text.count('comment "')
    return f"{len(text.splitlines())} lines of nftables, {rules} rules, each with a reason; nothing changed"


def _wait_for_helper(lab: Lab, process: subprocess.Popen[bytes]) -> None:
    """Return when the helper publishes, or has ended well because the kernel module does its work."""
    end = time.monotonic() + 10 * registry.patience()
    while not (lab.run_dir / "helper.sock").exists():
        if process.poll() == 0:
            return
        if process.poll() is not None or time.monotonic() > end:
            said = (lab.folder / "helper.log").read_text().strip() or "it said nothing"
            raise LabError(f"`nftrtsp helper` did not start: {said}", place="demo")
        time.sleep(0.02)


def _with(
    lab: Lab, provider: ProviderControl, telling: Telling, seconds: float, dashboard: bool
) -> list[Shown]:
    from nftrtsp.lab.narrator import Narrator

    telling.part("With nftrtsp", f"{len(lab.stbs)} films at once, a pause and a resume, a seek")
    narrator = Narrator(lab)
    evening = Evening(lab, provider, seconds)
    try:
        narrator.start()
        narrator.first = evening.first
        if dashboard:
            evening.start(when=narrator.has_company)
            if telling.dashboard(lab, evening.done):
                evening.finish()
        else:
            evening.start()
        due = time.monotonic() + _RATES_EVERY
        while not evening.done():
            for line in narrator.lines(0.1):
                telling.line(line.time, line.who, line.what, line.text)
            if time.monotonic() >= due:
                due += _RATES_EVERY
                telling.rates(evening.rates())
        for line in narrator.lines(0.5):
            telling.line(line.time, line.who, line.what, line.text)
        return evening.results()
    finally:
        narrator.stop()
        evening.close()


class Evening:
    """What the family does: each set-top box plays its film in a thread of its own."""

    def __init__(self, lab: Lab, provider: ProviderControl, seconds: float) -> None:
        self.provider = provider
        self.seconds = seconds
        self._players = [stb.player() for stb in lab.stbs]
        self._films: dict[int, PlayedFilm] = {}
        self._paused: set[int] = set()
        self._counted: dict[int, tuple[float, int]] = {}
        self._results: dict[int, Shown] = {}
        self._trouble: list[NftrtspError] = []
        self._late = threading.Event()
        self._starter: threading.Thread
        self._threads = [
            threading.Thread(target=self._play, args=(index, player), daemon=True)
            for index, player in enumerate(self._players)
        ]

    def start(self, when: Callable[[], bool] = lambda: True) -> None:
        """Begin as soon as all boxes are on and ``when`` says so, or does not for too long."""
        for player in self._players:
            player.wait_until_ready()
        self._starter = threading.Thread(target=self._start, args=(when,), daemon=True)
        self._starter.start()

    def done(self) -> bool:
        """Whether everybody has seen the film to its end, or given up."""
        return not any(thread.is_alive() for thread in (self._starter, *self._threads))

    def finish(self) -> None:
        """Bring all films to their end now."""
        self._late.set()

    def first(self, box: str) -> float | None:
        """Return after how many seconds the film came to the set-top box at ``box``."""
        for film in list(self._films.values()):
            if film.player.stb.address == box:
                with contextlib.suppress(NftrtspError):
                    return film.report().first
        return None

    def results(self) -> list[Shown]:
        """Return what each got; raises :class:`LabError` if a dialogue failed."""
        if self._trouble:
            raise self._trouble[0]
        return [self._results[index] for index in sorted(self._results)]

    def close(self) -> None:
        """End the set-top box programs."""
        for player in self._players:
            player.close()

    def rates(self) -> list[tuple[str, float | None]]:
        """Return (set-top box, Mbit/s since the last call); None for one that has paused."""
        found = []
        for index, film in list(self._films.items()):
            try:
                now, octets = time.monotonic(), film.report().bytes
            except NftrtspError:
                continue
            then, before = self._counted.get(index, (now, octets))
            self._counted[index] = now, octets
            if index not in self._results and now > then:
                rate = None if index in self._paused else (octets - before) * 8e-6 / (now - then)
                found.append((film.player.stb.title, rate))
        return found

    def _start(self, when: Callable[[], bool]) -> None:
        end = time.monotonic() + _SCREEN * registry.patience()
        while not when() and time.monotonic() < end and not self._late.is_set():
            time.sleep(0.2)
        for thread in self._threads:
            thread.start()
            self._late.wait(0.4)

    def _play(self, index: int, player: Player) -> None:
        port = PORTS[index % len(PORTS)]
        try:
            film = player.watch(port, play=False)
            self._films[index] = film
            self._counted[index] = time.monotonic(), 0
            film.play()
            film.keep_alive(every=2.0)
            self._watch(index, film)
            if self._late.is_set():  # who leaves the dashboard at once is still owed a film for each box
                time.sleep(_LEAST)
            self._results[index] = _result(self.provider, player.stb, port, film)
        except NftrtspError as error:
            self._trouble.append(error)

    def _watch(self, index: int, film: PlayedFilm) -> None:
        whole = self.seconds
        match index % 3:
            case 1:
                self._late.wait(0.3 * whole)
                film.pause()
                self._paused.add(index)
                self._late.wait(0.25 * whole)
                film.play()
                self._paused.discard(index)
                self._late.wait(0.45 * whole)
            case 2:
                self._late.wait(0.6 * whole)
                film.play(1800.0)
                self._late.wait(0.4 * whole)
            case _:
                self._late.wait(whole)


def _result(provider: ProviderControl, stb: Host, port: int, film: PlayedFilm) -> Shown:
    report = film.teardown()
    return Shown(stb, port, provider.sent(film), report)
