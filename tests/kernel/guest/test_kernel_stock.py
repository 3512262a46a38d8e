"""Debian's own nf_conntrack_rtsp: it pins the film to the RTSP server's address, and we say so."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from nftrtsp.lab import registry

from .conftest import Router, module, router, until


@pytest.fixture(scope="module")
def stock() -> Iterator[Router]:
    with module("stock"), router("kernel") as made:
        yield made


def test_no_film_comes_from_an_unknown_server(stock: Router) -> None:
    film = stock.watch(0, 27336)
    (way,) = stock.ways(27336)
    assert way["any_source"] is False
    assert way["tuple"]["src"] == stock.lab.rtsp_server
    until(lambda: stock.provider.sent(film).datagrams > 20, "the film is sent")
    time.sleep(0.5 * registry.patience())
    assert film.report().datagrams == 0
    film.teardown()


def test_a_film_from_the_rtsp_server_itself_comes(stock: Router) -> None:
    film = stock.watch(1, 27337, servers="rtsp")
    film.wait(50)
    film.teardown()


def test_it_is_said_to_be_pinned(stock: Router) -> None:
    film = stock.watch(2, 27338, play=False)
    for helper in ("kernel", "auto"):
        stock.lab.write_config(helper=helper)
        status = " ".join(stock.lab.router.nftrtsp("status", check=False).stdout.split())
        assert "pins its expectations to the RTSP server's address" in status, helper
    doctor = stock.lab.router.nftrtsp("doctor", check=False)
    assert "pinned" in doctor.stdout + doctor.stderr
    film.teardown()
