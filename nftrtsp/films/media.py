"""Media flows of a household: they begin, bring packets, change source and go."""

from __future__ import annotations

from nftrtsp import figures
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.flow import Flow
from nftrtsp.films import timeouts
from nftrtsp.films.film import Film, MediaFlow
from nftrtsp.films.household import Household
from nftrtsp.films.phase import Cue, Phase, StepKind

TRAILING = 3.0  # seconds; packets still under way after TEARDOWN


def heard(house: Household, event: Event) -> None:
    """Take what the kernel says of a media flow."""
    flow, time = event.flow, event.time
    assert flow is not None  # noqa: S101 - the caller has looked
    key = (flow.orig, flow.zone)
    if event.type is EventType.DESTROY:
        media = house.media.pop(key, None)
        if media is not None:
            _gone(house, media, time)
        return
    media = house.media.get(key)
    if media is None:
        _begin(house, flow, time, found=event.type is not EventType.NEW or event.found)
    elif flow.master is not None and media.flow.master is None:
        media.flow = flow


def _begin(house: Household, flow: Flow, time: float, *, found: bool) -> MediaFlow | None:
    stb = _stb_of_media(flow)
    media = house.media[(flow.orig, flow.zone)] = MediaFlow(flow, time, seen=time)
    if stb is None or not _is_box(house, stb):
        return media
    port = flow.reply.sport or flow.orig.dport or 0
    film = house.live_film(stb, port) or house.live_film(stb, flow.orig.dport or 0)
    if film is None and (ended := _just_ended(house, stb, port, time)):
        media.film = ended
        return media
    if film is None:
        # A film that this monitor did not see begin.
        film = house.new_film(stb, port, time)
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


def _just_ended(house: Household, stb: bytes, port: int, time: float) -> Film | None:
    """Return the film whose packets may still be under way, or that an old listing still shows."""
    box = house.boxes.get(stb)
    for film in reversed(box.films if box else ()):
        if film.port == port:
            return film if film.ended is not None and time - film.ended < TRAILING else None
    return None


def _is_box(house: Household, stb: bytes) -> bool:
    return stb in house.boxes or house.roles.may_ask(stb)


def listed(house: Household, flow: Flow, time: float) -> None:
    """Take a media flow of a listing, with its counters."""
    media = house.media.get((flow.orig, flow.zone))
    if media is None:
        media = _begin(house, flow, time, found=True)
        if media is None:
            return
    if media.listed(flow, time):
        _came(house, media, time)


def _came(house: Household, media: MediaFlow, time: float) -> None:
    """Packets came since the last listing: give them to the film that they belong to now."""
    film = media.film
    if film is None or not film.live:
        stb = _stb_of_media(media.flow)
        port = media.flow.reply.sport or media.flow.orig.dport or 0
        newer = house.live_film(stb, port) if stb else None
        if newer is None:
            if film is None or time - (film.ended or time) < TRAILING:
                return
            newer = house.new_film(film.stb, film.port, time)
            newer.note(time, StepKind.FOUND, f"packets from {media.source} come again, unasked")
        media.film = film = newer
        film.media.append(media)
    _packets(film, media, time, exact=False)


def _packets(film: Film, media: MediaFlow, time: float, *, exact: bool) -> None:
    if film.pause_said and film.quiet_since is not None and time - film.quiet_since < TRAILING:
        return  # packets from before the pause, counted after it
    first = film.first_packet is None
    if film.first_packet is None:
        film.first_packet = time
        since = film.waiting_since if film.waiting_since is not None else film.asked
        after = ""
        if since is not None and time >= since:
            after = f"after {'' if exact else 'at most '}{figures.latency(time - since)} "
        was_found = any(step.kind is StepKind.FOUND for step in film.steps)
        film.take(time, Cue.FIRST_PACKET, None if was_found else f"{after}from {media.source}")
    elif len(film.media) > 1 and media.since > film.first_packet:
        film.hint(time, StepKind.SOURCE, f"the film comes from {media.source} now")
    gap = time - film.quiet_since if film.quiet_since is not None else 0.0
    if film.phase is not Phase.PLAYING:
        film.failure = None
    after = f" after {figures.duration(gap)}" if gap >= 1 else ""
    film.take(time, Cue.PACKETS, None if first else f"packets come again{after}")
    film.quiet_since = None


def _gone(house: Household, media: MediaFlow, time: float) -> None:
    film = media.film
    if film is None or media not in film.media:
        return
    film.media.remove(media)
    if not film.live or film.media:
        return
    if film.teardown_said or film.connection_closed:
        house.end(film, time)
    elif film.ports or film.client in house.controls:
        timeouts.silent(house, film, time)
    else:
        film.note(time, StepKind.CLOSED, "the media flow is gone from conntrack")
        house.end(film, time)


def forget_absent(house: Household, time: float) -> None:
    """Let go what two listings in a row did not show."""
    for key, media in list(house.media.items()):
        if media.seen < time - 0.05:
            media.misses += 1
            if media.misses > 1:
                del house.media[key]
                _gone(house, media, time)


def _stb_of_media(flow: Flow) -> bytes | None:
    """Return the box of a media flow: where the packets go after translation, else the master's sender."""
    if flow.reply.src != flow.orig.dst:
        return flow.reply.src
    return flow.master.src if flow.master is not None else flow.reply.src
