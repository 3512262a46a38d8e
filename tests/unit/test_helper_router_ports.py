"""Which UDP ports the router itself uses: what the kernel tells, and how often it is asked."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from nftrtsp.config import parse
from nftrtsp.errors import UnsupportedError
from nftrtsp.helper.port_policy import PortPolicy, Refusal
from nftrtsp.helper.router_ports import RouterPorts, listening, read_table
from nftrtsp.helper.ways import Ways

HEAD = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref\n"
)


def table(*local: str) -> str:
    rows = (
        f"{number:5}: {one} 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2\n"
        for number, one in enumerate(local)
    )
    return HEAD + "".join(rows)


def bound(family: socket.AddressFamily, address: str) -> tuple[socket.socket, int]:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    opened.bind((address, 0))
    return opened, opened.getsockname()[1]


def test_local_ports_are_read_of_ipv4_and_ipv6(tmp_path: Path) -> None:
    (tmp_path / "udp").write_text(table("00000000:CA6C", "0100007F:0035"))
    (tmp_path / "udp6").write_text(table("00000000000000000000000000000000:14E9"))
    assert listening(tmp_path) == {51820, 53, 5353}


def test_an_empty_table_has_no_ports() -> None:
    assert read_table(HEAD.encode()) == set()


def test_sockets_on_any_address_count_and_connected_ones_too() -> None:
    wildcard, one = bound(socket.AF_INET, "0.0.0.0")
    local, two = bound(socket.AF_INET, "127.0.0.1")
    sixth, three = bound(socket.AF_INET6, "::")
    local.connect(("127.0.0.1", one))
    try:
        assert {one, two, three} <= listening()
    finally:
        for opened in (wildcard, local, sixth):
            opened.close()
    assert not {one, two, three} & listening()


def test_a_kernel_without_ipv6_is_fine(tmp_path: Path) -> None:
    (tmp_path / "udp").write_text(table("00000000:CA6C"))
    assert listening(tmp_path) == {51820}


def test_ports_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="the UDP ports of the router cannot be read"):
        RouterPorts(tmp_path)()


def test_the_kernel_is_asked_once_a_second_and_what_it_said_last_counts_when_it_fails(
    tmp_path: Path,
) -> None:
    now = [100.0]
    ports = RouterPorts(tmp_path, lambda: now[0])
    (tmp_path / "udp").write_text(table("00000000:CA6C"))
    assert ports() == {51820}
    (tmp_path / "udp").write_text(table("00000000:0FA0"))
    now[0] += 0.9
    assert ports() == {51820}
    now[0] += 0.2
    assert ports() == {4000}
    (tmp_path / "udp").unlink()
    now[0] += 2
    assert ports() == {4000}


def test_the_policy_of_a_config_refuses_a_port_of_this_namespace() -> None:
    lan = {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]}
    config = parse({"iptv": {"interface": "vlan2"}, "lan": lan})
    opened, port = bound(socket.AF_INET, "0.0.0.0")
    try:
        refusal = PortPolicy.of(config).grant(Ways(), bytes((192, 168, 1, 200)), [port], 0.0)
    finally:
        opened.close()
    assert refusal == Refusal(f"port {port} is in use by the router itself", port)
