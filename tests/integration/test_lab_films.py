"""Films of the lab: dialogues, pacing, and that what is lost is counted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from nftrtsp.errors import LabError
from nftrtsp.lab.network import Lab
from nftrtsp.lab.player import INTERLEAVED, RTP_PAIR, Player, ProviderControl

pytestmark = pytest.mark.root

# A port forward by hand, as people have without a helper: these tests are about the lab, not about us.
_FORWARD = """
table ip by_hand {
  chain nat { type nat hook postrouting priority srcnat; oifname "vlan2" masquerade; }
  chain forward { type nat hook prerouting priority dstnat;
    iifname "vlan2" udp dport 27336-27337 dnat to 192.168.1.200; }
}
"""

_DROPS = """
table ip drops { chain c { type filter hook forward priority 0;
  udp dport 27336 numgen inc mod 50 0 counter drop; }; }
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.build(stbs=2) as lab:
        lab.router.run(["nft", "-f", "-"], input=_FORWARD)
        yield lab


@pytest.fixture(scope="module")
def provider(lab: Lab) -> Iterator[ProviderControl]:
    with lab.provider() as provider:
        yield provider


@pytest.fixture
def player(lab: Lab, provider: ProviderControl) -> Iterator[Player]:
    with lab.stbs[0].player() as player:
        yield player


def test_a_film_from_another_server_arrives_whole(player: Player, provider: ProviderControl) -> None:
    film = player.watch()
    film.wait(packets=2000)
    report = film.teardown()
    sent = provider.sent(film)
    assert report.packets == sent.packets > 2000
    assert (report.lost, report.continuity_errors, report.foreign) == (0, 0, 0)
    assert sent.peer == "10.214.0.2:27336"
    assert list(report.sources) == sent.sources
    assert sent.sources[0].startswith("172.26.83.13")


def test_the_film_is_sent_at_its_rate(player: Player, provider: ProviderControl) -> None:
    film = player.watch(mbps=4)
    time.sleep(1.5)
    film.teardown()
    sent = provider.sent(film)
    assert sent.bytes * 8 / sent.seconds == pytest.approx(4e6, rel=0.1)


def test_pause_is_silence_and_play_goes_on(player: Player, provider: ProviderControl) -> None:
    film = player.watch()
    film.wait()
    film.pause()
    time.sleep(0.1)
    before = film.report().packets
    time.sleep(0.3)
    assert film.report().packets == before
    film.play()
    film.wait(packets=500)
    film.seek(60.0)
    film.wait(packets=500)
    assert film.teardown().packets == provider.sent(film).packets


def test_what_a_media_server_does_not_send_is_counted_as_lost(
    player: Player, provider: ProviderControl
) -> None:
    film = player.watch(lose=10)
    film.wait(packets=3000)
    report = film.teardown()
    missing = provider.sent(film).packets - report.packets
    # A last one that is missing is proved by the provider's count only.
    assert missing // 7 - report.lost in (0, 1)
    assert report.lost == pytest.approx(report.datagrams / 9, abs=2)
    assert report.continuity_errors > 0


def test_what_the_router_drops_is_counted_as_lost(
    lab: Lab, player: Player, provider: ProviderControl
) -> None:
    film = player.watch()
    film.wait(packets=700)
    lab.router.run(["nft", "-f", "-"], input=_DROPS)
    film.wait(packets=3000)
    counted = lab.router.run(["nft", "list", "table", "ip", "drops"]).stdout
    lab.router.run(["nft", "delete", "table", "ip", "drops"])
    film.wait(packets=700)
    report = film.teardown()
    dropped = int(counted.partition("counter packets ")[2].split()[0])
    assert report.lost >= dropped > 0
    assert provider.sent(film).datagrams - report.datagrams == report.lost


def test_rtp_comes_with_reports_on_the_port_above(player: Player, provider: ProviderControl) -> None:
    film = player.watch(transport=RTP_PAIR)
    film.wait(packets=700)
    report = film.teardown()
    assert report.packets == provider.sent(film).packets
    assert report.rtcp >= 1


def test_a_film_may_come_inside_the_control_connection(player: Player, provider: ProviderControl) -> None:
    film = player.watch(transport=INTERLEAVED)
    film.wait(packets=700)
    report = film.teardown()
    assert report.packets == provider.sent(film).packets
    assert list(report.sources) == ["interleaved"]


def test_several_media_servers_send_one_film_in_turn(player: Player) -> None:
    film = player.watch(switch=0.2)
    film.wait(packets=3500)
    assert len({source.partition(":")[0] for source in film.teardown().sources}) == 3


def test_the_film_may_begin_before_setup_is_answered(player: Player) -> None:
    film = player.watch(early=1, play=False)
    assert film.setup_response is not None
    report = film.wait()
    assert report.first is not None
    assert report.first < film.setup_response.took + 0.05


def test_a_refused_setup_is_an_error_and_nothing_comes(player: Player) -> None:
    with pytest.raises(LabError, match="SETUP was answered with 453"):
        player.watch(setup_status=453)


def test_a_redirect_leads_to_the_other_server(player: Player, provider: ProviderControl) -> None:
    film = player.watch(redirect=1)
    film.wait()
    film.teardown()
    assert provider.requests()[-1]["server"] == "172.26.83.11:554"


def test_the_end_of_the_film_is_announced(player: Player) -> None:
    player.connect()
    film = player.watch(connection="main", announce=0.3)
    film.wait()
    time.sleep(0.5)
    assert player.connection()[1] == ["ANNOUNCE"]
    film.teardown()


def test_two_films_share_one_connection(player: Player, provider: ProviderControl) -> None:
    player.connect()
    one = player.watch(27336, connection="main")
    other = player.watch(27337, connection="main")
    one.wait()
    other.wait()
    one.teardown()
    other.wait()
    report = other.teardown()
    assert report.packets == provider.sent(other).packets
    assert report.foreign == 0


def test_a_session_without_requests_ends(player: Player, provider: ProviderControl) -> None:
    film = player.watch(timeout=1)
    film.wait()
    time.sleep(2.0)
    assert provider.sent(film).closed


def test_a_box_that_is_switched_off_tells_nobody(lab: Lab, provider: ProviderControl) -> None:
    with lab.stbs[0].player() as player:
        film = player.watch()
        film.wait()
        lab.stbs[0].switch_off()
        try:
            before = provider.sent(film).packets
            time.sleep(0.3)
            assert provider.sent(film).packets > before
        finally:
            lab.stbs[0].switch_on()
        film.wait()
        film.teardown()


@pytest.mark.parametrize("program", ["nftrtsp.lab.provider", "nftrtsp.lab.box"])
def test_programs_refuse_to_run_outside_a_lab(lab: Lab, program: str) -> None:
    for variables in ({}, {"NFTRTSP_LAB": lab.id}, {"NFTRTSP_LAB": "absent"}):
        refused = subprocess.run(
            [sys.executable, "-m", program],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert refused.returncode == 2
        assert "runs only inside a lab's network namespace" in refused.stderr
        assert refused.stdout == ""


def test_programs_refuse_a_namespace_that_is_no_lab_s(lab: Lab) -> None:
    refused = subprocess.run(
        ["unshare", "-n", sys.executable, "-m", "nftrtsp.lab.box"],
        env={**os.environ, "NFTRTSP_LAB": lab.id},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert refused.returncode == 2
    assert "is not one of the lab's" in refused.stderr


def test_programs_refuse_a_lab_namespace_with_a_link_of_another(lab: Lab) -> None:
    stb = lab.stbs[1]
    stb.run(["ip", "link", "add", "wan0", "type", "veth", "peer", "name", "wan1"])
    try:
        refused = stb.run([sys.executable, "-m", "nftrtsp.lab.box"], check=False, timeout=20)
    finally:
        stb.run(["ip", "link", "del", "wan0"])
    assert refused.returncode == 2
    assert "has a link that the lab did not make" in refused.stderr
    assert "Traceback" not in refused.stderr
