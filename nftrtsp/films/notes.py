"""What a running helper tells, line by line, brought into the household."""

from __future__ import annotations

from functools import singledispatch

from nftrtsp import figures
from nftrtsp.films.box import Control
from nftrtsp.films.film import Film
from nftrtsp.films.household import MERGE, Household
from nftrtsp.films.open_port import of_record
from nftrtsp.films.phase import Cue, Phase, StepKind
from nftrtsp.helper.note import (
    Answered,
    ConnectionClose,
    ConnectionOpen,
    Hello,
    Line,
    Note,
    Overrun,
    Pause,
    Play,
    Rewritten,
    Setup,
    Teardown,
    Untold,
    WayClosed,
    WayOpen,
    WayRefused,
)

_ANSWER_REMEDY = "the provider's server refuses: try another film, then the provider"
_REFUSED_REMEDY = "see `nftrtsp helper` in the journal; two boxes may not use one port with pinhole"


@singledispatch
def take(_line: Line, _house: Household, _time: float) -> None:
    """Take one line of a helper, said at ``_time``; kinds without a handler say nothing of films."""


@take.register
def _hello(line: Hello, house: Household, time: float) -> None:
    house.helper_speaks = True
    if line.kind in ("kernel", "userspace", "pinhole"):
        house.wants_helper = line.kind != "pinhole"
    for key, port in list(house.ports.items()):
        if port.kind == "pinhole":
            house.close_port(key, time)
    for record in line.ways:
        told = of_record(record, time)
        if told is not None:
            house.open_port(told, found=True)


@take.register
def _open(line: ConnectionOpen, house: Household, time: float) -> None:
    stb, client = line.box, line.client
    if stb is None or not client or client in house.controls:
        return
    control = Control(client, line.server or "", stb, time, heard=time, seen=time)
    house.controls[client] = house.box(stb).controls[client] = control


@take.register
def _close(line: ConnectionClose, house: Household, time: float) -> None:
    house.close_control(line.client or "", time)


@take.register
def _setup(line: Setup, house: Household, time: float) -> None:
    stb, port, client = line.box, line.port, line.client or ""
    if stb is None or port is None:
        return
    film = house.live_film(stb, port)
    early = film is not None and film.asked is None and abs(time - film.began) < MERGE
    if film is None or not (early or (film.client in ("", client) and film.first_packet is None)):
        for other in house.box(stb).films:
            if other.live and other.client == client and other.port == port:
                other.note(time, StepKind.CLOSED, "the box asks for another film")
                house.end(other, time)
        film = house.new_film(stb, port, time)
    film.client, film.server = client, film.server if line.server is None else line.server
    film.uri, film.session = line.uri or "", film.session if line.session is None else line.session
    film.setup_cseq = line.cseq
    film.asked, film.began = time, min(film.began, time)
    film.answered = False
    if film.phase is Phase.NO_FILM:
        film.failure, film.waiting_since = None, None
    film.take(time, Cue.SETUP, f"port {port}  {_path(film.uri)}".strip())
    if client in house.controls:
        house.controls[client].asked = True


@take.register
def _response(line: Answered, house: Household, time: float) -> None:
    film, status = _film_of(house, line), line.status
    if film is None or status is None:
        return
    answer = f"{status} {line.reason or ''}".strip()
    setup = film.setup_cseq is not None and line.cseq == film.setup_cseq
    if setup:
        film.answered = True
        film.session = line.session or film.session
    if status >= 400:
        what = "SETUP" if setup else "the box"
        film.fail(time, StepKind.ANSWER, f"the RTSP server answered {what} with {answer}", _ANSWER_REMEDY)
    elif setup and film.asked is not None:
        film.note(time, StepKind.ANSWER, f"{answer} after {figures.latency(time - film.asked)}")


@take.register
def _way(line: WayOpen, house: Household, time: float) -> None:
    way = of_record(line.way, time, line.stb) if line.way is not None else None
    if way is None:
        return
    house.open_port(way)
    film = house.live_film(way.stb, way.stb_port)
    if film is not None and not film.client:
        film.client, film.server = line.client or "", line.server or ""


@take.register
def _refused(line: WayRefused, house: Household, time: float) -> None:
    stb = line.box
    if stb is None:
        return
    film = _film_of(house, line, port=line.port)
    if film is None:
        film = house.new_film(stb, line.port or 0, time)
        film.client = line.client or ""
    film.fail(time, StepKind.WAY_REFUSED, line.reason or "the helper did not say why", _REFUSED_REMEDY)


@take.register
def _way_closed(line: WayClosed, house: Household, time: float) -> None:
    way = of_record(line.way, time, line.stb) if line.way is not None else None
    if way is not None:
        house.close_port(way.key, time, line.reason or "")


@take.register
def _play(line: Play, house: Household, time: float) -> None:
    film = _film_of(house, line, session=line.session)
    if film is None:
        return
    text = ""
    if film.phase is Phase.PLAYING and film.play_said and not film.pause_said:
        text = "from another place: a seek"
    elif film.pause_said:
        text = "the box goes on"
    film.take(time, Cue.PLAY, text)
    film.play_said, film.pause_said = True, False
    if film.phase is Phase.WAITING:
        film.waiting_since = time


@take.register
def _pause(line: Pause, house: Household, time: float) -> None:
    film = _film_of(house, line, session=line.session)
    if film is not None:
        film.take(time, Cue.PAUSE if film.first_packet is not None else Cue.PAUSE_UNSEEN, "the box paused")
        film.pause_said = True
        if film.phase is Phase.PAUSED and film.quiet_since is None:
            film.failure, film.quiet_since = None, time


@take.register
def _teardown(line: Teardown, house: Household, time: float) -> None:
    film = _film_of(house, line, session=line.session)
    if film is not None:
        film.teardown_said = True
        film.note(time, StepKind.TEARDOWN, f"after {figures.duration(time - film.began)}")
        house.end(film, time)


@take.register
def _rewrite(line: Rewritten, house: Household, time: float) -> None:
    film = _film_of(house, line)
    if film is not None:
        film.note(time, StepKind.REWRITE, line.reason or "the request was changed")


@take.register
def _overrun(_line: Overrun, house: Household, time: float) -> None:
    for film in house.films():
        if film.live:
            film.note(time, StepKind.LOST, "the helper lost packets here: a step may be missing")


@take.register
def _untold(line: Untold, house: Household, time: float) -> None:
    for film in house.films():
        if film.live and line.box in (None, film.stb):
            film.note(time, StepKind.LOST, "more was said than could be read here: a step may be missing")


def _film_of(
    house: Household, line: Note, *, session: str | None = None, port: int | None = None
) -> Film | None:
    """Return the film that is spoken of: by session, else by port, else the connection's newest live one."""
    stb = line.box
    box = house.boxes.get(stb) if stb else None
    candidates = [film for film in reversed(box.films if box else ()) if film.live]
    same = [film for film in candidates if not line.client or film.client in ("", line.client)]
    if session:
        for film in same:
            if film.session == session:
                return film
    if port is not None:
        for film in same:
            if film.port == port:
                return film
        return None
    return same[0] if same else None


def _path(uri: str) -> str:
    """Return what a URI asks for, without the server that is known anyway."""
    rest = uri.partition("://")[2]
    return "/" + rest.partition("/")[2] if rest else uri
