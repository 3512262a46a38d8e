"""Real RTSP programs through the lab's router, with each of the helpers that the kernel takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from nftrtsp.lab.network import Lab
from tests.integration import peers

from .conftest import module

pytestmark = pytest.mark.skipif(bool(peers.missing()), reason=f"not in this guest: {peers.missing()}")


@pytest.fixture(scope="module", params=["kernel", "userspace", "pinhole"])
def lab(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, str]]:
    load = module("any-source") if request.param == "kernel" else contextlib.nullcontext()
    with load, peers.served(request.param) as made:
        yield made


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("client", peers.CLIENTS)
def test_the_client_gets_its_film(lab: tuple[Lab, str], client: str, transport: str) -> None:
    where, uri = lab
    assert peers.watch(where.stbs[0], peers.CLIENTS[client](uri, transport)) >= peers.PICTURES


def test_two_clients_get_their_films_at_once(lab: tuple[Lab, str]) -> None:
    where, uri = lab
    commands = [peers.ffmpeg(uri, "udp"), peers.gstreamer(uri, "udp")]
    assert min(peers.at_once(where, commands)) >= peers.PICTURES


def test_two_clients_that_insist_on_the_same_ports_get_their_films_at_once() -> None:
    with peers.served("userspace") as (where, uri):
        pictures = peers.at_once(where, [peers.ffmpeg(uri, "udp", port=27336)] * 2)
    assert min(pictures) >= peers.PICTURES
