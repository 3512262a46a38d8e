"""Where a film stands, and what brings it from one phase to the next: ONE table.

The theory, once. A film is asked for (SETUP), a port is opened for it, its packets come, it pauses and goes
on, and it ends. Two parties tell of that, the kernel and the helper, and neither tells all: the kernel sees
no PLAY and no PAUSE, a helper that starts late has not seen the SETUP, and events get lost. So each cue may
come in each phase, and the table says for each pair what the phase is then and which step is told of it.

* ``NO_FILM`` is no end: packets that come after all make the film play.
* ``ENDED`` is the end: what comes later for the same port is another film.
* Who pauses before a packet came is not kept waiting: PAUSE stops the clock of ``WAITING``. After a failure
  it does not undo it, since a film that never came cannot pause.
* A second SETUP on a failed film is a new try (``ASKING``); in every other phase it changes nothing, for it
  asks for another stream of the same film.

:meth:`nftrtsp.films.film.Film.take` is the only place that sets a phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Phase(StrEnum):
    """Where a film stands; the words are those of the screen."""

    ASKING = "asking"
    WAITING = "waiting for film"
    PLAYING = "playing"
    PAUSED = "paused"
    NO_FILM = "no film"
    ENDED = "ended"


class StepKind(StrEnum):
    """What happened to a film, by the word of the screen."""

    FOUND = "found"
    SETUP = "SETUP"
    ANSWER = "answer"
    REWRITE = "rewrite"
    WAY_OPEN = "port open"
    WAY_REFUSED = "port refused"
    WAY_CLOSED = "port closed"
    PLAY = "PLAY"
    FIRST_PACKET = "first packet"
    PLAYING = "playing"
    SOURCE = "new source"
    PAUSE = "PAUSE"
    QUIET = "quiet"
    STRAY = "dropped"
    NO_FILM = "no film"
    TEARDOWN = "TEARDOWN"
    CLOSED = "closed"
    LOST = "events lost"


class Cue(StrEnum):
    """What happens to a film, whoever tells it."""

    SETUP = "SETUP"
    OPENED = "a port was opened for it"
    PLAY = "PLAY"
    PAUSE = "PAUSE"
    PAUSE_UNSEEN = "PAUSE before its first packet"
    FIRST_PACKET = "its first packet"
    PACKETS = "packets"
    SILENCE = "no packets for a while"
    FAILURE = "what it needs failed"
    END = "its end"


class Turn(NamedTuple):
    """The phase that follows, and the kind of step that is told; None: nothing is told."""

    phase: Phase
    step: StepKind | None


def _row(
    phase: Phase, changed: Mapping[Cue, Phase], told: Mapping[Cue, StepKind | None]
) -> Mapping[Cue, Turn]:
    """Return the row of ``phase``: without ``changed`` it stays, without ``told`` the usual step is told."""
    return {cue: Turn(changed.get(cue, phase), told.get(cue, _TOLD[cue])) for cue in Cue}


#: The step that a cue is told by; FAILURE and END are told by whoever knows why.
_TOLD: Mapping[Cue, StepKind | None] = {
    Cue.SETUP: StepKind.SETUP,
    Cue.OPENED: StepKind.WAY_OPEN,
    Cue.PLAY: StepKind.PLAY,
    Cue.PAUSE: StepKind.PAUSE,
    Cue.PAUSE_UNSEEN: StepKind.PAUSE,
    Cue.FIRST_PACKET: StepKind.FIRST_PACKET,
    Cue.PACKETS: StepKind.PLAYING,
    Cue.SILENCE: StepKind.QUIET,
    Cue.FAILURE: None,
    Cue.END: None,
}

_ALWAYS = {
    Cue.FIRST_PACKET: Phase.PLAYING,
    Cue.PACKETS: Phase.PLAYING,
    Cue.SILENCE: Phase.PAUSED,
    Cue.FAILURE: Phase.NO_FILM,
    Cue.END: Phase.ENDED,
}

TRANSITIONS: Mapping[Phase, Mapping[Cue, Turn]] = {
    Phase.ASKING: _row(Phase.ASKING, {**_ALWAYS, Cue.OPENED: Phase.WAITING}, {}),
    Phase.WAITING: _row(
        Phase.WAITING, {**_ALWAYS, Cue.PAUSE: Phase.PAUSED, Cue.PAUSE_UNSEEN: Phase.PAUSED}, {}
    ),
    # Packets are what playing is: nothing to tell.
    Phase.PLAYING: _row(Phase.PLAYING, {**_ALWAYS, Cue.PAUSE: Phase.PAUSED}, {Cue.PACKETS: None}),
    # Who is told of a pause need not be told that nothing comes.
    Phase.PAUSED: _row(Phase.PAUSED, {**_ALWAYS, Cue.PLAY: Phase.WAITING}, {Cue.SILENCE: None}),
    Phase.NO_FILM: _row(Phase.NO_FILM, {**_ALWAYS, Cue.SETUP: Phase.ASKING, Cue.PAUSE: Phase.PAUSED}, {}),
    Phase.ENDED: _row(Phase.ENDED, {}, {Cue.FIRST_PACKET: None, Cue.PACKETS: None, Cue.SILENCE: None}),
}
