"""DHCP servers' files name the hosts of the LAN; what stands in them was made up by those hosts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nftrtsp.draft import leases
from nftrtsp.draft.leases import Lease

BOX, OTHER = IPv4Address("192.168.1.200"), IPv4Address("192.168.1.66")

FILES: dict[str, tuple[str, list[Lease]]] = {
    "var/lib/misc/dnsmasq.leases": (
        (
            "1700000000 02:00:00:00:00:01 192.168.1.200 stb-living 01:02:00:00:00:00:01\n"
            "1700000000 02:00:00:00:00:02 192.168.1.66 * *\n"
            "duid 00:01:00:01\n1700000000 1 fd00::1 v6 00:01\n"
        ),
        [Lease(BOX, "stb-living"), Lease(OTHER)],
    ),
    "var/lib/dhcp/dhcpd.leases": (
        (
            "# a comment\nlease 192.168.1.200 {\n  starts 4 2026/11/26 03:00:00;\n  binding state active;\n"
            '  hardware ethernet 02:00:00:00:00:01;\n  set vendor-class-identifier = "[IAL]";\n'
            '  client-hostname "stb-living";\n}\n'
            'lease 192.168.1.66 {\n  client-hostname "old";\n}\n'
            "lease 192.168.1.66 {\n  binding state free;\n}\n"
        ),
        [Lease(BOX, "stb-living", "[IAL]"), Lease(OTHER)],
    ),
    "var/lib/kea/kea-leases4.csv": (
        (
            "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state\n"
            "192.168.1.200,02:00:00:00:00:01,,3600,1700000000,1,0,0,stb-living,0\n"
            "192.168.1.66,02:00:00:00:00:02,,3600,1700000000,1,0,0,,0\n"
        ),
        [Lease(BOX, "stb-living"), Lease(OTHER)],
    ),
    "var/lib/systemd/network/dhcp-server-lease/br0": (
        (
            '{"Leases":[{"ClientId":[1],"Address":[192,168,1,200],"Hostname":"stb-living"},'
            '{"ClientId":[2],"Address":[192,168,1,66]},{"Address":"no"},7]}'
        ),
        [Lease(BOX, "stb-living"), Lease(OTHER)],
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_the_leases_of_each_server_are_read(tmp_path: Path, name: str) -> None:
    text, expected = FILES[name]
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text(text)
    assert leases.read(tmp_path) == {lease.address: lease for lease in expected}


def test_a_list_of_an_older_networkd_is_read_too() -> None:
    assert list(leases.networkd('[{"Address":[192,168,1,200],"Hostname":"a"}]')) == [Lease(BOX, "a")]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    os.mkfifo(tmp_path / "tmp" / "dhcp.leases")
    (tmp_path / "etc" / "pihole").mkdir(parents=True)
    (tmp_path / "etc" / "pihole" / "dhcp.leases").symlink_to("/dev/zero")
    assert leases.read(tmp_path) == {}


def test_without_a_dhcp_server_there_are_none(tmp_path: Path) -> None:
    assert leases.read(tmp_path) == {}


@pytest.mark.parametrize("parse", [leases.dnsmasq, leases.isc, leases.kea, leases.networkd])
@given(text=st.text() | st.sampled_from([text for text, _ in FILES.values()]).map(lambda text: text[::-1]))
def test_whatever_stands_in_a_file_is_leases_or_nothing(
    parse: Callable[[str], Iterator[Lease]], text: str
) -> None:
    assert all(isinstance(lease.address, IPv4Address) for lease in parse(text))
