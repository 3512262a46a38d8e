"""What every helper must do, on every kernel: the whole dialogue, with several boxes at once."""

from __future__ import annotations

from nftrtsp.lab.network import FIRST_MEDIA_SERVER
from nftrtsp.lab.player import RTP_PAIR, PlayedFilm, Report

from .conftest import Router, until

PORT = 27336


def play_whole_dialogue(router: Router) -> list[Report]:
    """Three boxes watch at once, pause, go on, and stop; each gets all of its own film and nothing else.

    Returns the boxes' last reports.
    """
    films = [router.watch(stb, PORT + stb) for stb in range(3)]
    for film in films:
        film.wait(100)
    for film in films:
        film.pause()
    before = [settled(film) for film in films]
    for film in films:
        film.play()
    for film, report in zip(films, before, strict=True):
        assert film.wait(100).packets > report.packets
    for film in films:
        film.keep_alive()
    return [stop(router, film) for film in films]


def stop(router: Router, film: PlayedFilm) -> Report:
    """PAUSE and TEARDOWN; what was sent has all come by then, and nothing of another's film."""
    film.pause()
    report = settled(film)
    assert (report.lost, report.foreign, report.duplicates, report.continuity_errors) == (0, 0, 0, 0)
    assert report.datagrams == router.provider.sent(film).datagrams
    return film.teardown()


def settled(film: PlayedFilm) -> Report:
    """Return the report of a paused film once nothing more comes."""
    report = film.report()

    def silent() -> bool:
        nonlocal report
        before, report = report, film.report()
        return before.packets == report.packets

    until(silent, "the film is paused")
    return report


def play_from_unknown_servers(router: Router) -> None:
    """The whole dialogue, with every film sent by a media server that the router was not told of.

    The boxes see the media servers' own addresses.
    """
    reports = play_whole_dialogue(router)
    media = {str(FIRST_MEDIA_SERVER + number) for number in range(3)}
    assert {address(source) for film in router.provider.sessions()[-3:] for source in film.sources} == media
    assert {address(source) for report in reports for source in report.sources} == media


def address(source: str) -> str:
    """Return the address of ``address:port``."""
    return source.rpartition(":")[0]


def play_from_changing_servers(router: Router) -> None:
    """A second media server takes over in the midst of the film."""
    film = router.watch(0, PORT + 10, switch=2.0)
    until(lambda: len(film.report().sources) > 1, "the film comes from a second media server")
    stop(router, film)


def play_over_a_pair(router: Router) -> None:
    """RTP/AVP over a pair of ports: the film and its RTCP."""
    film = router.watch(1, PORT + 20, transport=RTP_PAIR)
    until(lambda: film.report().rtcp > 0, "RTCP comes to the second port")
    film.wait(50)
    stop(router, film)


def assert_nothing_is_open(router: Router) -> None:
    """After TEARDOWN of all films no way is open any more."""
    until(lambda: not router.lines("expectations"), "the ways are closed")
