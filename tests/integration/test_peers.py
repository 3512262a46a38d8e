"""Real RTSP programs through the lab's router, with the pinhole helper, on this machine's kernel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from nftrtsp.lab import registry
from nftrtsp.lab.network import Lab
from tests.integration import peers

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(peers.missing()), reason=f"not installed: {peers.missing()}"),
]


@contextmanager
def served(helper: str, *, running: bool = True) -> Iterator[tuple[Lab, str]]:
    """A lab whose provider is GStreamer, with ``helper`` at work unless it is not ``running``."""
    with Lab.build(stbs=2, media_servers=1, helper=helper) as lab:
        if running and helper != "kernel":
            process = lab.router.popen_nftrtsp("helper")
            end = time.monotonic() + 10 * registry.patience()
            while not (lab.run_dir / "helper.sock").exists():
                assert process.poll() is None, "the helper ended"
                assert time.monotonic() < end, "the helper does not publish"
                time.sleep(0.05)
        lab.router.nftrtsp("apply", "--yes")
        lab.router.run(["nft", "-f", "-"], input=peers.NO_PUNCHING)
        with peers.server(lab) as uri:
            yield lab, uri


@pytest.fixture(scope="module")
def lab() -> Iterator[tuple[Lab, str]]:
    with served("pinhole") as made:
        yield made


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("client", peers.CLIENTS)
def test_the_client_gets_its_film(lab: tuple[Lab, str], client: str, transport: str) -> None:
    where, uri = lab
    assert peers.watch(where.stbs[0], peers.CLIENTS[client](uri, transport)) >= peers.PICTURES


def test_two_clients_get_their_films_at_once(lab: tuple[Lab, str]) -> None:
    where, uri = lab
    commands = [peers.ffmpeg(uri, "udp"), peers.gstreamer(uri, "udp")]
    with ThreadPoolExecutor() as threads:
        pictures = list(threads.map(peers.watch, where.stbs, commands))
    assert min(pictures) >= peers.PICTURES


@pytest.mark.parametrize("client", peers.CLIENTS)
def test_without_the_helper_no_film_comes_over_udp(client: str) -> None:
    with served("pinhole", running=False) as (where, uri):
        assert peers.watch(where.stbs[0], peers.CLIENTS[client](uri, "udp", wait=6.0)) == 0
