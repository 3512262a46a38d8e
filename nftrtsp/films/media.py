"""What arrives: media flows begin, bring packets, change source and go. For :mod:`nftrtsp.films.sessions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nftrtsp import figures
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.flow import Flow
from nftrtsp.films import timeouts as patience
from nftrtsp.films.film import Film, Media, Phase, StepKind

if TYPE_CHECKING:
    from nftrtsp.films.sessions import Sessions

TRAILING = 3.0  # seconds; packets still under way after TEARDOWN


def heard(sessions: Sessions, event: Event) -> None:
    """Take what the kernel says of a media flow."""
    flow, time = event.flow, event.time
    assert flow is not None  # noqa: S101 - the caller has looked
    key = (flow.orig, flow.zone)
    if event.type is EventType.DESTROY:
        media = sessions.media.pop(key, None)
        if media is not None:
            _gone(sessions, media, time)
        return
    media = sessions.media.get(key)
    if media is None:
        _begin(sessions, flow, time, found=event.type is not EventType.NEW or event.found)
    elif flow.master is not None and media.flow.master is None:
        media.flow = flow


def _begin(sessions: Sessions, flow: Flow, time: float, *, found: bool) -> Media | None:
    stb = _stb_of_media(flow)
    media = sessions.media[(flow.orig, flow.zone)] = Media(flow, time, seen=time)
    if stb is None or not _is_box(sessions, stb):
        return media
    port = flow.reply.sport or flow.orig.dport or 0
    film = sessions.live_film(stb, port) or sessions.live_film(stb, flow.orig.dport or 0)
    if film is None and (ended := _just_ended(sessions, stb, port, time)):
        media.film = ended
        return media
    if film is None:
        # A film that this monitor did not see begin.
        film = sessions.new_film(stb, port, time)
        if flow.master is not None:
            film.client = figures.endpoint(flow.master.src, flow.master.sport)
            film.server = figures.endpoint(flow.master.dst, flow.master.dport)
        if found:
            film.note(time, StepKind.FOUND, f"was there already, from {media.source}")
    media.film = film
    film.media.append(media)
    if not found:
        media.active = time
        _packets(film, media, time, exact=True)
    return media


def _just_ended(sessions: Sessions, stb: bytes, port: int, time: float) -> Film | None:
    """Return the film whose packets may still be under way, or that an old listing still shows."""
    box = sessions.boxes.get(stb)
    for film in reversed(box.films if box else ()):
        if film.port == port:
            return film if film.ended is not None and time - film.ended < TRAILING else None
    return None


def _is_box(sessions: Sessions, stb: bytes) -> bool:
    return stb in sessions.boxes or sessions.roles.may_ask(stb)


def listed(sessions: Sessions, flow: Flow, time: float) -> None:
    """Take a media flow of a listing, with its counters."""
    media = sessions.media.get((flow.orig, flow.zone))
    if media is None:
        media = _begin(sessions, flow, time, found=True)
        if media is None:
            return
    if media.listed(flow, time):
        _came(sessions, media, time)


def _came(sessions: Sessions, media: Media, time: float) -> None:
    """Packets came since the last listing: give them to the film that they belong to now."""
    film = media.film
    if film is None or not film.live:
        stb = _stb_of_media(media.flow)
        port = media.flow.reply.sport or media.flow.orig.dport or 0
        newer = sessions.live_film(stb, port) if stb else None
        if newer is None:
            if film is None or time - (film.ended or time) < TRAILING:
                return
            newer = sessions.new_film(film.stb, film.port, time)
            newer.note(time, StepKind.FOUND, f"packets from {media.source} come again, unasked")
        media.film = film = newer
        film.media.append(media)
    _packets(film, media, time, exact=False)


def _packets(film: Film, media: Media, time: float, *, exact: bool) -> None:
    if film.pause_said and film.quiet_since is not None and time - film.quiet_since < TRAILING:
        return  # packets from before the pause, counted after it
    if film.first_packet is None:
        film.first_packet = time
        since = film.waiting_since if film.waiting_since is not None else film.asked
        after = ""
        if since is not None and time >= since:
            after = f"after {'' if exact else 'at most '}{figures.latency(time - since)} "
        if not any(step.kind is StepKind.FOUND for step in film.steps):
            film.note(time, StepKind.FIRST_PACKET, f"{after}from {media.source}")
    elif len(film.media) > 1 and media.since > film.first_packet:
        film.hint(time, StepKind.SOURCE, f"the film comes from {media.source} now")
    if film.phase is not Phase.PLAYING:
        again = film.phase is Phase.PAUSED or film.quiet_since is not None
        film.phase = Phase.PLAYING
        film.failure = None
        if again:
            gap = time - film.quiet_since if film.quiet_since is not None else 0.0
            after = f" after {figures.duration(gap)}" if gap >= 1 else ""
            film.note(time, StepKind.PLAYING, f"packets come again{after}")
    film.quiet_since = None


def _gone(sessions: Sessions, media: Media, time: float) -> None:
    film = media.film
    if film is None or media not in film.media:
        return
    film.media.remove(media)
    if not film.live or film.media:
        return
    if film.teardown_said or film.connection_closed:
        sessions.end(film, time)
    elif film.ways or film.client in sessions.controls:
        patience.silent(sessions, film, time)
    else:
        film.note(time, StepKind.CLOSED, "the media flow is gone from conntrack")
        sessions.end(film, time)


def forget_absent(sessions: Sessions, time: float) -> None:
    """Let go what two listings in a row did not show."""
    # Connections first: a film whose connection and flow are both gone has ended, not paused.
    for client, control in list(sessions.controls.items()):
        if control.listed and control.seen < time - 0.05:
            control.misses += 1
            if control.misses > 1:
                sessions.close_control(client, time)
    for key, media in list(sessions.media.items()):
        if media.seen < time - 0.05:
            media.misses += 1
            if media.misses > 1:
                del sessions.media[key]
                _gone(sessions, media, time)


def _stb_of_media(flow: Flow) -> bytes | None:
    """Return the box of a media flow: where the packets go after translation, else the master's sender."""
    if flow.reply.src != flow.orig.dst:
        return flow.reply.src
    return flow.master.src if flow.master is not None else flow.reply.src
