"""The pinhole helper on Debian's kernels."""

from __future__ import annotations

from . import dialogue
from .conftest import Router


def test_three_boxes_get_their_films_from_unknown_servers(pinhole: Router) -> None:
    dialogue.play_from_unknown_servers(pinhole)
    dialogue.assert_nothing_is_open(pinhole)


def test_another_media_server_takes_over(pinhole: Router) -> None:
    dialogue.play_from_changing_servers(pinhole)


def test_rtp_over_a_pair_of_ports(pinhole: Router) -> None:
    dialogue.play_over_a_pair(pinhole)


def test_the_way_is_a_pinhole_of_that_box(pinhole: Router) -> None:
    film = pinhole.watch(0, 27400)
    (way,) = pinhole.ways(27400)
    assert way["kind"] == "pinhole"
    assert way["any_source"] is True
    assert way["stb"] == pinhole.lab.stbs[0].address
    film.wait()
    film.teardown()
