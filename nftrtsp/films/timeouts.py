"""What time alone tells of a household: how long a box waits, when silence is a pause."""

from __future__ import annotations

from ipaddress import IPv4Address

from nftrtsp.films.box import Box
from nftrtsp.films.film import Film
from nftrtsp.films.household import Household
from nftrtsp.films.phase import Cue, Phase, StepKind

WAIT_AFTER_PLAY = 5.0  # seconds; so long a film may take to come after PLAY
WAIT_AFTER_WAY = 10.0  # the same where nobody can see PLAY
#: So long without a packet is a pause, or a server that is gone, wherever it is told. Packets of a film come
#: every few ms; they are seen in listings a second apart, one of which may be late, and in conntrack's
#: timeouts, which are whole seconds.
QUIET = 4.0
ASKING = 30.0  # a connection that asks for nothing for so long is idle
SILENT_BOX = 90.0  # keep-alives come every 20-30 s: three missed
AFTER_FAILURE = 60.0  # so long a failure without a connection stays the box's state

#: Where only the RTSP server may send. While the module is loaded it has the name of the userspace helper.
PINNED_REMEDY = (
    'rtsp.helper = "pinhole", or "userspace" after `modprobe -r nf_nat_rtsp nf_conntrack_rtsp`, '
    "or a module that expects any source (contrib/dkms)"
)


def tick_film(house: Household, film: Film, now: float) -> None:
    """See whether a film has kept its box waiting, or has gone silent."""
    if film.phase is Phase.PLAYING:
        latest = max((media.active or media.since for media in film.media), default=film.began)
        if now - latest > QUIET:
            silent(house, film, latest)
        else:
            _listen_for_box(house, film, now)
    elif film.phase is Phase.WAITING:
        _waited(film, now)
    elif film.phase is Phase.ASKING and _unanswered(house, film, now):
        remedy = "is the RTSP server reachable? See `nftrtsp doctor`"
        text = f"the RTSP server has not answered SETUP for {WAIT_AFTER_PLAY:.0f} s"
        film.fail(now, StepKind.ANSWER, text, remedy)


def _unanswered(house: Household, film: Film, now: float) -> bool:
    late = film.asked is not None and now - film.asked > WAIT_AFTER_PLAY
    return house.helper_speaks and late and not film.answered


def silent(house: Household, film: Film, since: float) -> None:
    """No packet for a while: a pause, the end, or a server that is gone."""
    film.quiet_since = since
    if film.teardown_said or film.connection_closed:
        house.end(film, since)
    elif film.pause_said:
        film.take(since, Cue.SILENCE)
    elif house.helper_speaks and film.play_said:
        # The helper sees every PAUSE: there was none.
        text = "packets stopped without PAUSE: the media server, or the line to it, is gone"
        film.fail(since, StepKind.QUIET, text, "play the film again; if it stops again, ask the provider")
    else:
        film.take(since, Cue.SILENCE, "no packets: paused, or the media server stopped")


def _listen_for_box(house: Household, film: Film, now: float) -> None:
    control = house.controls.get(film.client)
    if control is not None and control.packets and now - control.heard > SILENT_BOX:
        text = f"the box has said nothing for {SILENT_BOX:.0f} s: switched off, or its cable is out?"
        film.hint(now, StepKind.QUIET, text, failed=True, remedy="look at the box")


def _waited(film: Film, now: float) -> None:
    since = film.waiting_since if film.waiting_since is not None else film.began
    limit = WAIT_AFTER_PLAY if film.play_said else WAIT_AFTER_WAY
    if now - since <= limit:
        return
    if film.pinned is not None:
        only = IPv4Address(film.pinned)
        text = f"no packet in {limit:.0f} s: the port is pinned to {only}, and films come from other servers"
        film.fail(since + limit, StepKind.NO_FILM, text, PINNED_REMEDY)
    else:
        text = f"the port is open, but no packet of the film came in {limit:.0f} s"
        remedy = "does the IPTV side deliver? Check routes and rp_filter with `nftrtsp doctor`"
        film.fail(since + limit, StepKind.NO_FILM, text, remedy)


def state_of(house: Household, box: Box, now: float) -> Phase | None:
    """Return the state of a box; None is idle."""
    film = box.film
    if film is not None:
        return film.phase
    last = box.films[-1] if box.films else None
    if last is not None and last.failure is not None and now - (last.ended or now) < AFTER_FAILURE:
        return Phase.NO_FILM
    for control in box.controls.values():
        if house.helperless(control, now):
            return Phase.NO_FILM
        if now - max(control.heard, control.opened) < ASKING:
            return Phase.ASKING
    return None
