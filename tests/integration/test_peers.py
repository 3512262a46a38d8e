"""Real RTSP programs through the lab's router, with the pinhole helper, on this machine's kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nftrtsp.lab.network import Lab
from tests.integration import peers

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(peers.missing()), reason=f"not installed: {peers.missing()}"),
]


@pytest.fixture(scope="module")
def lab() -> Iterator[tuple[Lab, str]]:
    with peers.served("pinhole") as made:
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


@pytest.mark.parametrize("client", peers.CLIENTS)
def test_without_the_helper_no_film_comes_over_udp(client: str) -> None:
    with peers.served("pinhole", running=False) as (where, uri):
        assert peers.watch(where.stbs[0], peers.CLIENTS[client](uri, "udp", wait=6.0)) == 0
