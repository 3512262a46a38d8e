"""The table of a film's transitions, pair by pair, and that nothing goes past it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from nftrtsp.films.film import Film
from nftrtsp.films.phase import TRANSITIONS, Cue, Phase, StepKind

A, W, P, H, N, E = Phase.ASKING, Phase.WAITING, Phase.PLAYING, Phase.PAUSED, Phase.NO_FILM, Phase.ENDED

#: For each cue the phases that follow ASKING, WAITING, PLAYING, PAUSED, NO_FILM and ENDED.
WANTED = {
    Cue.SETUP: (A, W, P, H, A, E),
    Cue.OPENED: (W, W, P, H, N, E),
    Cue.PLAY: (A, W, P, W, N, E),
    Cue.PAUSE: (A, H, H, H, H, E),
    Cue.PAUSE_UNSEEN: (A, H, P, H, N, E),
    Cue.FIRST_PACKET: (P, P, P, P, P, E),
    Cue.PACKETS: (P, P, P, P, P, E),
    Cue.SILENCE: (H, H, H, H, H, E),
    Cue.FAILURE: (N, N, N, N, N, E),
    Cue.END: (E, E, E, E, E, E),
}

#: Cues of which nothing is told in a phase although they are told in others.
QUIET = {(P, Cue.PACKETS), (H, Cue.SILENCE), (E, Cue.PACKETS), (E, Cue.FIRST_PACKET), (E, Cue.SILENCE)}


def film_in(phase: Phase) -> Film:
    """Return a film that was brought into ``phase`` by cues."""
    way_there = {
        A: (),
        W: (Cue.OPENED,),
        P: (Cue.FIRST_PACKET,),
        H: (Cue.FIRST_PACKET, Cue.PAUSE),
        N: (Cue.FAILURE,),
        E: (Cue.END,),
    }
    film = Film(1, bytes(4), 27336, 0.0)
    for cue in way_there[phase]:
        film.take(0.0, cue)
    assert film.phase is phase
    return film


@pytest.mark.parametrize("cue", Cue)
@pytest.mark.parametrize("phase", Phase)
def test_each_cue_leads_each_phase_where_the_table_of_this_test_says(phase: Phase, cue: Cue) -> None:
    film = film_in(phase)
    film.take(1.0, cue, "said")
    assert film.phase is WANTED[cue][list(Phase).index(phase)]
    untold = cue in (Cue.FAILURE, Cue.END) or (phase, cue) in QUIET
    assert [step.text for step in film.steps] == ([] if untold else ["said"])


def test_the_table_is_whole() -> None:
    assert set(TRANSITIONS) == set(Phase)
    assert all(set(row) == set(Cue) for row in TRANSITIONS.values())
    assert all(turn.phase is E for turn in TRANSITIONS[E].values())


def test_a_step_is_told_by_the_kind_that_the_table_names() -> None:
    film = film_in(A)
    for time, cue in enumerate((Cue.SETUP, Cue.OPENED, Cue.PLAY, Cue.FIRST_PACKET, Cue.PAUSE, Cue.PACKETS)):
        film.take(float(time), cue, "")
    told = [step.kind for step in film.steps]
    assert told == [
        StepKind.SETUP,
        StepKind.WAY_OPEN,
        StepKind.PLAY,
        StepKind.FIRST_PACKET,
        StepKind.PAUSE,
        StepKind.PLAYING,
    ]


def test_nothing_sets_a_phase_but_the_one_function_that_asks_the_table() -> None:
    writers = [
        path.name
        for path in Path("nftrtsp").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("phase", "_phase")
        if isinstance(node.ctx, ast.Store)
    ]
    assert writers == ["film.py"]
