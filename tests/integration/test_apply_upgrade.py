"""A ruleset of an earlier version, live and with a film through it, becomes this version's by `apply`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stand import Stand, stand

pytestmark = pytest.mark.root

#: What this program made of the example site before it copied only what conntrack knows.
BEFORE = Path(__file__).parent / "data" / "before-trust.pinhole.nft"

#: Two datagrams every 5 ms until standard input ends; then how many.
FILM = """
import select, socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.bind(("", 4000))
count = 0
while not select.select([sys.stdin], [], [], 0.005)[0]:
    for _ in range(2):
        sender.sendto(count.to_bytes(4, "big") * 300, ("10.214.0.2", 27336))
        count += 1
print(count)
"""


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Stand]:
    with stand(tmp_path) as built:
        yield built


def test_a_film_loses_nothing_while_the_rules_become_those_of_this_version(router: Stand) -> None:
    router.nft("-f", str(BEFORE))
    router.nft("add element inet nftrtsp pinholes { 27336 timeout 1h : 192.168.1.200 . 27336 }")
    router.run("nft", "add table ip seen", inside=router.stb)
    router.run("nft", "add chain ip seen in { type filter hook input priority 0; }", inside=router.stb)
    router.run("nft", "add rule ip seen in udp dport 27336 counter", inside=router.stb)
    film = router.popen(sys.executable, "-c", FILM, inside=router.isp, stdin=-1)
    try:
        told = router.nftrtsp("apply", "--yes")
        assert "applied and verified" in told
        for rule in ("from-iptv-spoofed", "copy-starts", "to-iptv-invalid"):
            assert rule in told
        assert "map pinholes" not in told  # it stays, and with it the ways that are open
    finally:
        sent = int(film.communicate("", timeout=20)[0])
    seen = router.run("nft", "list chain ip seen in", inside=router.stb).stdout
    assert sent > 20  # it ran before, meanwhile and after; a quick machine applies in a fifth of a second
    assert f"counter packets {sent} " in seen
    assert "no difference" in router.nftrtsp("diff")
    assert "27336 timeout 1h expires" in router.nft("list map inet nftrtsp pinholes")
    kept = router.run("conntrack", "-L", "-p", "udp", "--orig-port-dst", "27336").stdout.split()
    assert int(kept[2]) > 3500  # the pause timeout, not conntrack's own
