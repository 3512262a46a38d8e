"""What the kernel's reverse path filter drops, and what doctor and diff say of it: the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stand import Stand, stand

pytestmark = pytest.mark.root

UNROUTED = "172.26.120.5"  # a media server that no route of the router leads to
SEEN = "add table ip seen; add chain ip seen in { type filter hook input priority 0; }; "
COUNT = "add rule ip seen in udp dport 4009 counter"
SEND = (
    "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
    f"s.bind(('{UNROUTED}', 4000)); s.sendto(b'film', ('10.214.0.2', 4009))"
)


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Stand]:
    with stand(tmp_path) as built:
        built.run("ip", "address", "add", f"{UNROUTED}/32", "dev", "eth0", inside=built.isp)
        built.nft(SEEN + COUNT)
        yield built


@pytest.mark.parametrize(
    ("value", "default", "passes"),
    [
        (0, [], True),
        (1, [], False),
        (1, ["via", "10.128.0.1", "dev", "vlan2"], True),
        (1, ["via", "192.168.1.200", "dev", "br0"], False),
        (2, [], False),
        (2, ["via", "192.168.1.200", "dev", "br0"], True),
        (2, ["unreachable"], False),
    ],
)
def test_a_film_from_a_server_without_a_route_is_dropped_exactly_where_it_is_said(
    router: Stand, value: int, default: list[str], passes: bool
) -> None:
    router.run("sysctl", "-qw", f"net.ipv4.conf.vlan2.rp_filter={value}")
    if default:
        kind = default[:1] if default == ["unreachable"] else []
        router.run("ip", "route", "add", *kind, "default", *default[len(kind) :])
    router.run("python3", "-c", SEND, inside=router.isp)
    (packets,) = re.findall(r"counter packets (\d+)", router.nft("list", "table", "ip", "seen"))
    assert bool(int(packets)) is passes

    found = [json.loads(line) for line in router.nftrtsp("doctor", "--json", code=1).splitlines()]
    (state,) = [each["state"] for each in found if each.get("check") == "rp_filter"]
    assert (state == "ok") is passes
    assert ("rp_filter: is" in router.nftrtsp("diff", code=1)) is not passes
