"""What a running helper tells, line by line, brought into the model of :mod:`nftrtsp.films.sessions`."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from nftrtsp import figures
from nftrtsp.films.box import Control
from nftrtsp.films.film import Film, Phase, StepKind, way_from_json

if TYPE_CHECKING:
    from nftrtsp.films.sessions import Sessions

MERGE = 5.0  # seconds; so far apart may the kernel's and the helper's word for one thing be

_ANSWER_REMEDY = "the provider's server refuses: try another film, then the provider"
_REFUSED_REMEDY = "see `nftrtsp helper` in the journal; two boxes may not use one port with pinhole"


def _hello(sessions: Sessions, line: Mapping[str, Any], time: float) -> None:
    sessions.helper_speaks = True
    kind = line.get("kind")
    if kind in ("kernel", "userspace", "pinhole"):
        sessions.wants_helper = kind != "pinhole"
    for key, way in list(sessions.ways.items()):
        if way.kind == "pinhole":
            sessions.close_way(key, time)
    for data in line.get("ways") or ():
        told = way_from_json(data, time) if isinstance(data, Mapping) else None
        if told is not None:
            sessions.open_way(told, found=True)


def _open(sessions: Sessions, line: Mapping[str, Any], time: float) -> None:
    stb, client = _stb(line), line.get("client")
    if stb is None or not client or client in sessions.controls:
        return
    control = Control(client, str(line.get("server", "")), stb, time, heard=time, seen=time)
    sessions.controls[client] = sessions.box(stb).controls[client] = control


def _close(sessions: Sessions, line: Mapping[str, Any], time: float) -> None:
    sessions.close_control(str(line.get("client", "")), time)


def _setup(sessions: Sessions, line: Mapping[str, Any], time: float) -> None:
    stb, port = _stb(line), line.get("port")
    if stb is None or not isinstance(port, int):
        return
    client = str(line.get("client", ""))
    film = sessions.live_film(stb, port)
    early = film is not None and film.asked is None and abs(time - film.began) < MERGE
    if film is None or not (early or (film.client in ("", client) and film.first_packet is None)):
        for other in sessions.box(stb).films:
            if other.live and other.client == client and other.port == port:
                other.note(time, StepKind.CLOSED, "the box asks for another film")
                sessions.end(other, time)
        film = sessions.new_film(stb, port, time)
    film.client, film.server = client, str(line.get("server", film.server))
    film.uri, film.session = str(line.get("uri", "")), str(line.get("session", film.session))
    film.setup_cseq = line.get("cseq")
    film.asked, film.began = time, min(film.began, time)
    film.answered = False
    if film.phase is Phase.NO_FILM:
        film.phase, film.failure, film.waiting_since = Phase.ASKING, None, None
    film.note(time, StepKind.SETUP, f"port {port}  {_path(film.uri)}".strip())
    if client in sessions.controls:
        sessions.controls[client].asked = True


def _response(sessions: Sessions, line: Mapping[str, Any], time: float) -> None:
    film, status = _film_of(sessions, {**line, "port": None, "session": ""}), line.get("status")
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


def _way(sessions: Sessions, line: Mapping[str, Any], time: float) -> None:
    data = line.get("way")
    way = way_from_json({"stb": line.get("stb"), **data}, time) if isinstance(data, Mapping) else None
    if way is None:
        return
    sessions.open_way(way)
    film = sessions.live_film(way.stb, way.stb_port)
    if film is not None and not film.client:
        film.client, film.server = str(line.get("client", "")), str(line.get("server", ""))


def _refused(sessions: Sessions, line: Mapping[str, Any], time: float) -> None:
    stb, port = _stb(line), line.get("port")
    if stb is None:
        return
    film = _film_of(sessions, line)
    if film is None:
        film = sessions.new_film(stb, port if isinstance(port, int) else 0, time)
        film.client = str(line.get("client", ""))
    reason = str(line.get("reason") or "the helper did not say why")
    film.fail(time, StepKind.WAY_REFUSED, reason, _REFUSED_REMEDY)


def _way_closed(sessions: Sessions, line: Mapping[str, Any], time: float) -> None:
    data = line.get("way")
    way = way_from_json({"stb": line.get("stb"), **data}, time) if isinstance(data, Mapping) else None
    if way is not None:
        sessions.close_way(way.key, time, str(line.get("reason") or ""))


def _play(sessions: Sessions, line: Mapping[str, Any], time: float) -> None:
    film = _film_of(sessions, line)
    if film is None:
        return
    text = ""
    if film.phase is Phase.PLAYING and film.play_said and not film.pause_said:
        text = "from another place: a seek"
    elif film.pause_said:
        text = "the box goes on"
    film.note(time, StepKind.PLAY, text)
    film.play_said, film.pause_said = True, False
    if film.phase in (Phase.WAITING, Phase.PAUSED):
        film.phase = Phase.WAITING
        film.waiting_since = time


def _pause(sessions: Sessions, line: Mapping[str, Any], time: float) -> None:
    film = _film_of(sessions, line)
    if film is not None:
        film.note(time, StepKind.PAUSE, "the box paused")
        film.pause_said = True
        if film.phase in (Phase.PLAYING, Phase.NO_FILM) and film.first_packet is not None:
            film.phase, film.failure = Phase.PAUSED, None
            film.quiet_since = time


def _teardown(sessions: Sessions, line: Mapping[str, Any], time: float) -> None:
    film = _film_of(sessions, line)
    if film is not None:
        film.teardown_said = True
        film.note(time, StepKind.TEARDOWN, f"after {figures.duration(time - film.began)}")
        sessions.end(film, time)


def _rewrite(sessions: Sessions, line: Mapping[str, Any], time: float) -> None:
    film = _film_of(sessions, line)
    if film is not None:
        film.note(time, StepKind.REWRITE, str(line.get("reason") or "the request was changed"))


def _overrun(sessions: Sessions, _line: Mapping[str, Any], time: float) -> None:
    for film in sessions.films():
        if film.live:
            film.note(time, StepKind.LOST, "the helper lost packets here: a step may be missing")


def _film_of(sessions: Sessions, line: Mapping[str, Any]) -> Film | None:
    """Return the film a helper's line speaks of: by session, else the connection's newest live one."""
    stb = _stb(line)
    box = sessions.boxes.get(stb) if stb else None
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
