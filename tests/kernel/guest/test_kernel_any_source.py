"""The module that contrib/dkms makes of Debian's source: any-source; and the article's recipe beside us."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import dialogue
from .conftest import Router, module, router


@pytest.fixture(scope="module")
def any_source() -> Iterator[Router]:
    with module("any-source"), router("kernel") as made:
        yield made


def test_auto_takes_it_before_any_film_was_asked_for(any_source: Router) -> None:
    assert Path("/sys/module/nf_conntrack_rtsp/version").read_text().strip() == "0.7+5.3-any-source"
    any_source.lab.write_config(helper="auto")
    status = any_source.lab.router.nftrtsp("status", check=False).stdout
    any_source.lab.write_config(helper="kernel")
    assert "kernel" in status
    assert "is any-source" in status


def test_it_gives_three_boxes_their_films_from_unknown_servers(any_source: Router) -> None:
    dialogue.play_from_unknown_servers(any_source)


def test_it_shows_as_such(any_source: Router) -> None:
    film = any_source.watch(0, 27400)
    ways = any_source.ways(27400)
    assert [way["any_source"] for way in ways] in ([True], [])  # the module's expectation ends with its match
    film.wait()
    flows = [one for one in any_source.lines("flows") if one["orig"]["dport"] == 27400]
    assert [(one["role"], one["stb"]) for one in flows] == [("media", any_source.lab.stbs[0].address)]
    film.teardown()


def test_it_serves_rtp_over_a_pair_of_ports(any_source: Router) -> None:
    dialogue.play_over_a_pair(any_source)


ARTICLE = ["iptables", "-t", "raw", "-A", "PREROUTING", "-p", "tcp", "--dport", "554"]


def test_the_articles_iptables_recipe_beside_our_ruleset_gives_the_same_helper(any_source: Router) -> None:
    def helper_of_a_new_connection() -> str:
        port = any_source.players[0].connect("asked")
        # conntrack(8) knows nothing of us.
        flow = any_source.lab.router.run(["conntrack", "-L", "-p", "tcp", "--sport", str(port)]).stdout
        any_source.players[0].disconnect("asked")
        return flow.partition("helper=")[2].partition(" ")[0]

    ours = helper_of_a_new_connection()
    any_source.lab.router.run([*ARTICLE, "-j", "CT", "--helper", "rtsp"])
    both = helper_of_a_new_connection()
    film = any_source.watch(0, 27500)
    film.wait(50)
    film.teardown()
    any_source.lab.router.nftrtsp("remove", "--yes")
    any_source.lab.router.run(
        ["iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "vlan2", "-j", "MASQUERADE"]
    )
    theirs = helper_of_a_new_connection()
    assert (ours, both, theirs) == ("rtsp", "rtsp", "rtsp")
