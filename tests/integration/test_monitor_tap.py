"""A film that reaches the router and is dropped there: no conntrack entry tells of it, the dashboard does."""

from __future__ import annotations

import time

import pytest

from nftrtsp.events.news import Strayed
from nftrtsp.events.recording import Recording
from nftrtsp.lab.network import Lab
from nftrtsp.monitor.replay import Replay
from tests.integration.demo_recording import prepare, record

pytestmark = pytest.mark.root

#: Another table, as another firewall would have it, that lets no film through.
OTHER = """
table inet other {
  chain forward {
    type filter hook forward priority 10
    iifname "vlan2" meta l4proto udp counter drop
  }
}
"""


def test_a_film_that_another_table_drops_is_seen_and_named() -> None:
    with Lab.build(stbs=1, media_servers=1, helper="pinhole") as lab:
        prepare(lab)
        lab.router.run(["nft", "-f", "-"], input=OTHER)
        file = lab.folder / "tap.nftr"
        with lab.provider(), lab.stbs[0].player() as player:
            recorder = record(lab, file)
            time.sleep(2)
            film = player.watch(27336)
            time.sleep(4)
            film.teardown()
            assert recorder.stdin is not None
            recorder.stdin.close()
            recorder.wait(10)
        strays = [news for _, news in Recording(file).read() if isinstance(news, Strayed)]
        replay = Replay(file)
        replay.go(1.0)
    assert {stray.port for stray in strays} == {27336}
    texts = [step.text for each in replay.latest.films for step in each.steps if step.failed]
    assert any("reach the router and do not get through to the box" in text for text in texts), texts
