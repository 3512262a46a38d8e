"""The userspace helper on Debian's own kernel, no module of anyone's."""

from __future__ import annotations

from nftrtsp.lab.player import INTERLEAVED

from . import dialogue
from .conftest import Router


def test_three_boxes_get_their_films_from_unknown_servers(userspace: Router) -> None:
    dialogue.play_from_unknown_servers(userspace)
    dialogue.assert_nothing_is_open(userspace)


def test_the_way_is_a_real_any_source_expectation_of_that_box(userspace: Router) -> None:
    film = userspace.watch(0, 27400)
    (way,) = userspace.ways(27400)
    assert way["kind"] == "expectation"
    assert way["any_source"] is True
    assert way["helper"] == "rtsp"
    assert way["stb"] == userspace.lab.stbs[0].address
    film.wait()
    flows = [one for one in userspace.lines("flows") if one["orig"]["dport"] == 27400]
    assert [(one["role"], one["stb"]) for one in flows] == [("media", userspace.lab.stbs[0].address)]
    film.teardown()


def test_another_media_server_takes_over(userspace: Router) -> None:
    dialogue.play_from_changing_servers(userspace)


def test_rtp_over_a_pair_of_ports(userspace: Router) -> None:
    dialogue.play_over_a_pair(userspace)


def test_two_boxes_that_ask_for_one_port_get_each_their_own_film(userspace: Router) -> None:
    films = [userspace.watch(stb, 27500) for stb in range(2)]
    for film in films:
        film.wait(50)
    for film in films:
        dialogue.stop(userspace, film)


def test_a_film_inside_tcp_passes(userspace: Router) -> None:
    film = userspace.watch(2, 0, transport=INTERLEAVED)
    film.wait(200)
    dialogue.stop(userspace, film)
