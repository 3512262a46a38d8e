"""What a running helper tells, line by line, brought into the household."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

from nftrtsp import figures
from nftrtsp.films.box import Control
from nftrtsp.films.film import Film
from nftrtsp.films.household import MERGE, Household
from nftrtsp.films.open_port import of_record
from nftrtsp.films.phase import Cue, Phase, StepKind

_ANSWER_REMEDY = "the provider's server refuses: try another film, then the provider"
_REFUSED_REMEDY = "see `nftrtsp helper` in the journal; two boxes may not use one port with pinhole"


def _hello(house: Household, line: Mapping[str, Any], time: float) -> None:
    house.helper_speaks = True
    kind = line.get("kind")
    if kind in ("kernel", "userspace", "pinhole"):
        house.wants_helper = kind != "pinhole"
    for key, way in list(house.ports.items()):
        if way.kind == "pinhole":
            house.close_port(key, time)
    for data in line.get("ways") or ():
        told = of_record(data, time) if isinstance(data, Mapping) else None
        if told is not None:
            house.open_port(told, found=True)


def _open(house: Household, line: Mapping[str, Any], time: float) -> None:
    stb, client = _stb(line), line.get("client")
    if stb is None or not client or client in house.controls:
        return
    control = Control(client, str(line.get("server", "")), stb, time, heard=time, seen=time)
    house.controls[client] = house.box(stb).controls[client] = control


def _close(house: Household, line: Mapping[str, Any], time: float) -> None:
    house.close_control(str(line.get("client", "")), time)


def _setup(house: Household, line: Mapping[str, Any], time: float) -> None:
    stb, port = _stb(line), line.get("port")
    if stb is None or not isinstance(port, int):
        return
    client = str(line.get("client", ""))
    film = house.live_film(stb, port)
    early = film is not None and film.asked is None and abs(time - film.began) < MERGE
    if film is None or not (early or (film.client in ("", client) and film.first_packet is None)):
        for other in house.box(stb).films:
            if other.live and other.client == client and other.port == port:
                other.note(time, StepKind.CLOSED, "the box asks for another film")
                house.end(other, time)
        film = house.new_film(stb, port, time)
    film.client, film.server = client, str(line.get("server", film.server))
    film.uri, film.session = str(line.get("uri", "")), str(line.get("session", film.session))
    film.setup_cseq = line.get("cseq")
    film.asked, film.began = time, min(film.began, time)
    film.answered = False
    if film.phase is Phase.NO_FILM:
        film.failure, film.waiting_since = None, None
    film.take(time, Cue.SETUP, f"port {port}  {_path(film.uri)}".strip())
    if client in house.controls:
        house.controls[client].asked = True


def _response(house: Household, line: Mapping[str, Any], time: float) -> None:
    film, status = _film_of(house, {**line, "port": None, "session": ""}), line.get("status")
    if film is None or not isinstance(status, int):
        return
    answer = f"{status} {line.get('reason', '')}".strip()
    setup = film.setup_cseq is not None and line.get("cseq") == film.setup_cseq
    if setup:
        film.answered = True
        film.session = str(line.get("session") or film.session)
    if status >= 400:
        what = "SETUP" if setup else "the box"
        film.fail(time, StepKind.ANSWER, f"the RTSP server answered {what} with {answer}", _ANSWER_REMEDY)
    elif setup and film.asked is not None:
        film.note(time, StepKind.ANSWER, f"{answer} after {figures.latency(time - film.asked)}")


def _way(house: Household, line: Mapping[str, Any], time: float) -> None:
    data = line.get("way")
    way = of_record({"stb": line.get("stb"), **data}, time) if isinstance(data, Mapping) else None
    if way is None:
        return
    house.open_port(way)
    film = house.live_film(way.stb, way.stb_port)
    if film is not None and not film.client:
        film.client, film.server = str(line.get("client", "")), str(line.get("server", ""))


def _refused(house: Household, line: Mapping[str, Any], time: float) -> None:
    stb, port = _stb(line), line.get("port")
    if stb is None:
        return
    film = _film_of(house, line)
    if film is None:
        film = house.new_film(stb, port if isinstance(port, int) else 0, time)
        film.client = str(line.get("client", ""))
    reason = str(line.get("reason") or "the helper did not say why")
    film.fail(time, StepKind.WAY_REFUSED, reason, _REFUSED_REMEDY)


def _way_closed(house: Household, line: Mapping[str, Any], time: float) -> None:
    data = line.get("way")
    way = of_record({"stb": line.get("stb"), **data}, time) if isinstance(data, Mapping) else None
    if way is not None:
        house.close_port(way.key, time, str(line.get("reason") or ""))


def _play(house: Household, line: Mapping[str, Any], time: float) -> None:
    film = _film_of(house, line)
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


def _pause(house: Household, line: Mapping[str, Any], time: float) -> None:
    film = _film_of(house, line)
    if film is not None:
        film.take(time, Cue.PAUSE if film.first_packet is not None else Cue.PAUSE_UNSEEN, "the box paused")
        film.pause_said = True
        if film.phase is Phase.PAUSED and film.quiet_since is None:
            film.failure, film.quiet_since = None, time


def _teardown(house: Household, line: Mapping[str, Any], time: float) -> None:
    film = _film_of(house, line)
    if film is not None:
        film.teardown_said = True
        film.note(time, StepKind.TEARDOWN, f"after {figures.duration(time - film.began)}")
        house.end(film, time)


def _rewrite(house: Household, line: Mapping[str, Any], time: float) -> None:
    film = _film_of(house, line)
    if film is not None:
        film.note(time, StepKind.REWRITE, str(line.get("reason") or "the request was changed"))


def _overrun(house: Household, _line: Mapping[str, Any], time: float) -> None:
    for film in house.films():
        if film.live:
            film.note(time, StepKind.LOST, "the helper lost packets here: a step may be missing")


def _film_of(house: Household, line: Mapping[str, Any]) -> Film | None:
    """Return the film a helper's line speaks of: by session, else the connection's newest live one."""
    stb = _stb(line)
    box = house.boxes.get(stb) if stb else None
    client, session = line.get("client", ""), line.get("session", "")
    port = line.get("port")
    candidates = [film for film in reversed(box.films if box else ()) if film.live]
    same = [film for film in candidates if not client or film.client in ("", client)]
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


def _stb(line: Mapping[str, Any]) -> bytes | None:
    try:
        return IPv4Address(line["stb"]).packed
    except (KeyError, ValueError):
        return None


LINES = {
    "hello": _hello,
    "connection-open": _open,
    "connection-close": _close,
    "setup": _setup,
    "response": _response,
    "way-open": _way,
    "way-refused": _refused,
    "way-closed": _way_closed,
    "play": _play,
    "pause": _pause,
    "teardown": _teardown,
    "rewrite": _rewrite,
    "overrun": _overrun,
}
